"""What can be said on the command line."""

import argparse
from typing import TYPE_CHECKING, NoReturn

from .. import __version__
from ..errors import WrongUsage

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction["Parser"]


METAVARS = {
    "client_id": "CLIENT_ID",
    "session_id": "SESSION_ID",
    "name": "NAME",
    "after": "TIME",
    "lifetime": "TIME",
}
USER = "a name, or an account such as github:octocat"
HELP = {
    "client_id": "see: client list",
    "session_id": "see: session list",
    "after": "seconds from now, or 30m, 12h, 7d, or never",
    "lifetime": "seconds, or 30m, 12h, 7d, or default",
}


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUsage(message, self.format_usage().rstrip())


def parser() -> argparse.ArgumentParser:
    root = Parser(
        prog="mcpauth",
        description="Put a home machine's MCP servers on the internet. Without a command: serve.",
        epilog="Settings are environment variables, or lines of .env: see the README.",
    )
    root.add_argument("--version", action="version", version=f"mcpauth {__version__}")
    root.set_defaults(operation=None)
    commands = root.add_subparsers(metavar="COMMAND")

    _add(commands, "config", "print what the settings come to")
    _add(commands, "status", "how the server is: addresses, servers, users, sessions, warnings")
    _doctor(_add(commands, "doctor", "look whether apps can connect, and say what to do where they cannot"))
    _trace(commands)
    _try(_add(commands, "try", "connect to the server as a well-known client would, step by step"))
    _users(_group(commands, "user", "who may sign in"))
    _clients(_group(commands, "client", "the apps that connect (clients)"))
    _sessions(_group(commands, "session", "who is signed in and connected now"))
    _add(commands, "rotate-keys", "sign access tokens with a new key; nobody has to sign in again")
    _add(commands, "systemd", "print a systemd unit for this installation, with today's PATH")
    return root


def _group(commands: "Commands", name: str, about: str) -> "Commands":
    group = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
    return group.add_subparsers(required=True, metavar="COMMAND")


def _add(
    commands: "Commands", operation: str, about: str, passed: tuple[str, ...] = (), *, password: bool = False
) -> argparse.ArgumentParser:
    """A command that asks for ``operation``, with the arguments that are ``passed`` to it."""
    one = commands.add_parser(operation.split()[-1], help=about, description=about[0].upper() + about[1:] + ".")
    one.add_argument("--json", action="store_true", help="print JSON, for programs")
    if password:
        one.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    one.set_defaults(operation=operation, passed=passed, password=password)
    return one


def _doctor(one: argparse.ArgumentParser) -> None:
    one.add_argument("--offline", action="store_true", help="ask nothing beyond this computer")
    one.add_argument(
        "--resolver",
        dest="resolvers",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a name server on the internet to ask, instead of well-known ones; may be given several times",
    )


def _try(one: argparse.ArgumentParser) -> None:
    which = one.add_mutually_exclusive_group(required=True)
    which.add_argument("--as", dest="client", metavar="CLIENT", help="which one; --list has them")
    which.add_argument("--list", action="store_true", help="list the clients that can be played")
    one.add_argument("--way", metavar="WAY", help="another of the ways in which it connects; the first is usual")
    one.add_argument("--url", metavar="URL", help="the MCP URL, when it is not the running server's PUBLIC_URL/mcp")
    one.add_argument("--no-browser", dest="browser", action="store_false", help="only print where to sign in")


def _users(commands: "Commands") -> None:
    _add(commands, "user list", "list the users")
    add = _add(commands, "user add", "add somebody who signs in with a password", ("name", "role"), password=True)
    add.add_argument("name", metavar="NAME")
    add.add_argument(
        "--owner", dest="role", action="store_const", const="owner", default="member", help="an owner, not a member"
    )
    approve = _add(commands, "user approve", "let somebody in who is waiting", ("name",))
    approve.add_argument("name", metavar="NAME", help=USER)
    remove = _add(commands, "user remove", "remove a user and everything they allowed", ("name",))
    remove.add_argument("name", metavar="NAME", help=USER)
    role = _add(commands, "user role", "make somebody an owner, a member, or pending", ("name", "role"))
    role.add_argument("name", metavar="NAME", help=USER)
    role.add_argument("role", choices=("owner", "member", "pending"))
    new = _add(commands, "user password", "give somebody a new password", ("name",), password=True)
    new.add_argument("name", metavar="NAME", help=USER)


def _about(command: argparse.ArgumentParser, *names: str) -> argparse.ArgumentParser:
    for name in names:
        command.add_argument(name, metavar=METAVARS[name], help=HELP.get(name))
    return command


def _clients(commands: "Commands") -> None:
    _add(commands, "client list", "list the clients")
    add = _add(
        commands, "client add", "register a client that cannot do it by itself", ("name", "redirect_uris", "public")
    )
    add.add_argument("--name", required=True, help="what it is called")
    add.add_argument(
        "--redirect-uri",
        dest="redirect_uris",
        action="append",
        required=True,
        metavar="URI",
        help="where its answers go; may be given several times",
    )
    add.add_argument("--public", action="store_true", help="without a secret, for an app on a person's own computer")
    add.epilog = "Example: mcpauth client add --name Notes --redirect-uri https://notes.example/callback"
    for operation, about, more in (
        ("client remove", "remove a client and all its access", ()),
        ("client approve", "let in a client that waits, or is not known", ()),
        ("client refuse", "keep a client out, and end what it has", ()),
        ("client rename", "call a client something else", ("name",)),
        ("client pause", "let a client do nothing until it is resumed", ()),
        ("client resume", "let a paused client go on", ()),
        ("client lifetime", "how long its access tokens are good, for one that does not refresh them", ("lifetime",)),
        ("client expire", "say when the connections that a client has now end", ("after",)),
        ("client end", "end the connections of a client; it stays registered", ()),
    ):
        names = ("client_id", *more)
        _about(_add(commands, operation, about, names), *names)


def _sessions(commands: "Commands") -> None:
    several = _add(commands, "session list", "list the live sessions", ("user",))
    several.add_argument("--user", metavar="NAME", help="those of one user")
    for operation, about, more in (
        ("session rename", "tell this connection from others of the same client", ("name",)),
        ("session pause", "let a connection do nothing until it is resumed", ()),
        ("session resume", "let a paused connection go on", ()),
        ("session expire", "say when a connection ends", ("after",)),
    ):
        names = ("session_id", *more)
        _about(_add(commands, operation, about, names), *names)
    about = "end sessions; a client then has to be approved again"
    end = _add(commands, "session end", about, ("session_id", "user", "client_id", "everything"))
    which = end.add_mutually_exclusive_group(required=True)
    which.add_argument("session_id", metavar="SESSION_ID", nargs="?")
    which.add_argument("--user", metavar="NAME", help="all of one user")
    which.add_argument("--client", dest="client_id", metavar="CLIENT_ID", help="all of one client")
    which.add_argument("--all", dest="everything", action="store_true", help="all of everybody")


def _trace(commands: "Commands") -> None:
    about = "how each connection attempt went, and what to do about those that failed"
    one = _add(commands, "trace", about, ("story_id",))
    one.add_argument("story_id", metavar="ID", nargs="?", help="show every step of this one")
    one.add_argument("--follow", action="store_true", help="go on, and print each as it changes, until Ctrl-C")
