"""The command line: without a command it serves, with one it asks the running server, or works in its stead."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from .. import log
from ..ambient import Ambient
from ..control import NAME, ask
from ..errors import DataDirectoryBusy, MCPAuthError, OperationError, SettingsError, WrongUsage
from ..host import systemd
from ..settings import DATABASE, Settings, read_environment
from . import show, trace
from .arguments import parser
from .secrets import read_password


def main(argv: Sequence[str]) -> int:
    """Exit status: 0 fine, 1 a problem was found, 2 wrong usage or settings."""
    try:
        arguments = parser().parse_args(argv)
        environ = read_environment(Path.cwd())
        settings = Settings.from_env(environ)
        # What only one of them needs is imported by that one: a command that asks the server should not take long.
        if arguments.operation is None:
            from . import serve

            return serve.start(settings, environ)
        if arguments.operation == "systemd":
            unit = systemd.unit(Path.cwd(), os.environ, _script())
            print(json.dumps({"unit": unit}) if arguments.json else unit)
            return 0
        log.configure("console", "warning")
        if arguments.operation == "try":
            from . import trying

            return trying.start(arguments, settings)
        if arguments.operation == "doctor":
            from . import doctor

            return doctor.start(arguments, settings, environ)
        status = asyncio.run(command(settings, arguments))
        sys.stdout.flush()  # While it can be noticed that nobody reads any more.
        return status
    except MCPAuthError as error:
        return _refuse(error, as_json="--json" in argv)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Who reads has read enough, as `head` does. Python would complain once more when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _refuse(error: MCPAuthError, *, as_json: bool) -> int:
    """With ``--json`` a program reads standard output, whatever happens."""
    if as_json:
        print(json.dumps({"error": str(error)}))
    else:
        print(f"mcpauth: {error}", file=sys.stderr)
        if isinstance(error, WrongUsage) and error.usage:
            print(error.usage, file=sys.stderr)
    return 2 if isinstance(error, WrongUsage | SettingsError | DataDirectoryBusy) else 1


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def _script() -> Path | None:
    """The server.py that was started; None when it is the installed command."""
    started = Path(sys.argv[0])
    return started.resolve() if started.name == "server.py" else None


async def command(settings: Settings, arguments: argparse.Namespace) -> int:
    given = {name: getattr(arguments, name) for name in arguments.passed}
    if arguments.operation == "trace":
        return await trace.show(arguments, partial(perform, settings), partial(ask, settings.data_dir))
    if arguments.password:
        given["password"] = read_password(arguments.password_stdin)
    answer, running = await perform(settings, arguments.operation, given)
    if arguments.json or arguments.operation == "config":
        print(json.dumps(answer, indent=None if arguments.json else 2))
    else:
        for line in show.lines(arguments.operation, answer, running):
            print(line)
    if arguments.operation == "status" and (not running or answer.get("configurationProblem")):
        return 1
    return 0


async def perform(settings: Settings, operation: str, given: dict[str, Any]) -> tuple[Any, bool]:
    """The answer, and whether a running server gave it."""
    data_dir = settings.data_dir
    if (data_dir / NAME).exists():
        try:
            return await ask(data_dir, operation, given), True
        except (ConnectionRefusedError, FileNotFoundError):
            pass  # Left behind by a server that was killed.
        except PermissionError:
            raise SettingsError(f"{data_dir / NAME} belongs to another user: run this as that user") from None
    if operation in ("config", "status") and not (data_dir / DATABASE).exists():
        # Nothing is made for somebody who only looks.
        if operation == "config":
            available = settings.enabled_providers or ("password",)
            return settings.summary(available, [one for one in available if settings.trusts(one)]), False
        raise OperationError(f"no server is running, and there is nothing in {data_dir} yet")
    return await _directly(settings, operation, given), False


async def _directly(settings: Settings, operation: str, given: dict[str, Any]) -> Any:
    """As the server would, under the same lock. Raises DataDirectoryBusy when one is starting or stopping."""
    from ..app import build_services
    from .serve import lock

    data_dir = settings.data_dir
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with lock(data_dir):
        services = await build_services(settings, Ambient())
        try:
            await services.sessions.load()
            await services.users.load()
            await services.trace.load()
            await services.look_for_tailscale()
            return await services.operations.run(operation, given)
        finally:
            await services.close()
