"""mcp.json: whether it is as it should be, and whether what it names is there."""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from os.path import isdir
from pathlib import Path

from ...errors import SettingsError
from ...gateway import configuration
from ...gateway.configuration import AnyServer, Configuration, FilesServer, RemoteServer, StdioServer
from ...gateway.http_headers import HeaderError, expand
from ...models.findings import Finding

CHECK = "mcp.json"


def look(data_dir: Path, environ: Mapping[str, str], running: bool, refused: str | None = None) -> list[Finding]:
    """A running server may have another environment than this process, and tells by itself what it lacks.

    ``refused`` is why it has not taken what the file says now.
    """
    path = data_dir / configuration.FILE
    if not path.exists():
        return [Finding.fine(CHECK, "not there yet: it is made at the first start, with a folder of yours to serve")]
    try:
        given = configuration.read(path)
    except SettingsError as error:
        return [_mistake(str(error), path, running)]
    if refused is not None:
        return [_mistake(refused, path, running)]
    if not running and (mistake := _header(given, environ)):
        return [mistake]
    found = [Finding.warning(CHECK, note, f"correct it in {path}") for note in given.notes]
    if not given.servers:
        none, fix = "no servers are in it", f"add one to {path}"
        if given.switched_off:
            none, fix = "all servers in it are switched off", f"switch one on in {path}"
        found.append(Finding.warning(CHECK, f"{none}: apps will find no tools", fix))
    if not found:
        count = f"{len(given.servers)} servers" if len(given.servers) != 1 else "1 server"
        found.append(Finding.fine(CHECK, f"{count}: {', '.join(given.servers)}"))
    if given.switched_off:
        found.append(Finding.fine(CHECK, f"switched off: {', '.join(given.switched_off)}"))
    return found if running else [*found, *_missing(given.servers, environ)]


def lacks(data_dir: Path, failed: Mapping[str, str]) -> dict[str, Finding]:
    """What is not there of servers that ``failed`` in the running server, which says why to clients too: without paths.

    That a program is not found is its word alone.
    """
    try:
        servers = configuration.read(data_dir / configuration.FILE).servers
    except SettingsError:
        return {}
    found: dict[str, Finding] = {}
    for name, reason in failed.items():
        check, server = f"server {name}", servers.get(name)
        if server is not None and (missing := _folder(check, server)):
            found[name] = missing
        elif isinstance(server, StdioServer) and reason.startswith(f"{server.command} is not found"):
            found[name] = _not_found(check, server)
    return found


def _mistake(what: str, path: Path, running: bool) -> Finding:
    meanwhile = "; the server goes on with what it said before" if running else ""
    return Finding.problem(CHECK, what + meanwhile, f"correct it: {shlex.quote(str(path))}; it is taken at once")


def _header(given: Configuration, environ: Mapping[str, str]) -> Finding | None:
    """Of the remote servers' headers, the first that the server would not start with."""
    for name, server in given.servers.items():
        try:
            expand(server.headers if isinstance(server, RemoteServer) else {}, environ)
        except HeaderError as error:
            what = f"{given.place(name, 'headers', error.name)}: {error.what}"
            return Finding.problem(CHECK, what, "do that, or change the header in mcp.json; then start the server")
    return None


def _missing(servers: Mapping[str, AnyServer], environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, server in servers.items():
        check = f"server {name}"
        if missing := _folder(check, server):
            yield missing
        elif isinstance(server, StdioServer):
            yield _program(check, server, environ)


def _folder(check: str, server: AnyServer) -> Finding | None:
    """Not by ``Path.is_dir``, which raises where it may not look, or where there can be no folder."""
    if isinstance(server, StdioServer) and not isdir(cwd := _cwd(server)):
        return Finding.problem(check, f"there is no folder {cwd} to start it in", "make it, or change cwd in mcp.json")
    if isinstance(server, FilesServer) and not isdir(server.root):
        return Finding.problem(check, f"there is no folder {server.root}", "make it, or change root in mcp.json")
    return None


def _cwd(server: StdioServer) -> Path:
    return server.cwd or Path.home()


def _program(check: str, server: StdioServer, environ: Mapping[str, str]) -> Finding:
    """As it would be found: in the PATH that the program itself gets, or beside its folder."""
    path = server.env.get("PATH", environ.get("PATH", ""))
    command = str(_cwd(server) / server.command) if "/" in server.command else server.command
    if shutil.which(command, path=path) is None:
        return _not_found(check, server)
    return Finding.fine(check, f"{server.command} is found")


def _not_found(check: str, server: StdioServer) -> Finding:
    return Finding.problem(
        check,
        f"{server.command} is not found",
        f"install it, or write where it is into mcp.json: command -v {shlex.quote(server.command)}",
    )
