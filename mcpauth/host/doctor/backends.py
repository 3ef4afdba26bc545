"""mcp.json: whether it is as it should be, and whether what it names is there."""

import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import SettingsError
from ...gateway import configuration
from ...gateway.configuration import AnyServer, FilesServer, StdioServer
from ...models.findings import Finding

CHECK = "mcp.json"


def look(data_dir: Path, environ: Mapping[str, str], running: bool) -> list[Finding]:
    """A running server may have another PATH than this process, and tells by itself which programs it finds."""
    path = data_dir / configuration.FILE
    if not path.exists():
        return [Finding.fine(CHECK, "not there yet: it is made at the first start, with a folder of yours to serve")]
    try:
        given = configuration.read(path)
    except SettingsError as error:
        return [Finding.problem(CHECK, str(error), f"correct it: {shlex.quote(str(path))}; it is taken at once")]
    found = [Finding.warning(CHECK, note, "nothing breaks by it; correct it when you can") for note in given.notes]
    if not given.servers:
        found.append(Finding.warning(CHECK, "no servers are in it: apps will find no tools", f"add one to {path}"))
    if not found:
        count = f"{len(given.servers)} servers" if len(given.servers) != 1 else "1 server"
        found.append(Finding.fine(CHECK, f"{count}: {', '.join(given.servers)}"))
    return found if running else [*found, *_missing(given.servers, environ)]


def _missing(servers: Mapping[str, AnyServer], environ: Mapping[str, str]) -> Iterator[Finding]:
    for name, server in servers.items():
        check = f"server {name}"
        if isinstance(server, StdioServer):
            yield _program(check, server, environ)
        elif isinstance(server, FilesServer) and not server.root.is_dir():
            yield Finding.problem(check, f"there is no folder {server.root}", "make it, or change root in mcp.json")


def _program(check: str, server: StdioServer, environ: Mapping[str, str]) -> Finding:
    """As it would be found: in the PATH that the program itself gets, or beside its folder."""
    cwd = server.cwd or Path.home()
    if not cwd.is_dir():
        return Finding.problem(check, f"there is no folder {cwd} to start it in", "make it, or change cwd in mcp.json")
    path = server.env.get("PATH", environ.get("PATH", ""))
    command = str(cwd / server.command) if "/" in server.command else server.command
    if shutil.which(command, path=path) is None:
        return Finding.problem(
            check,
            f"{server.command} is not found",
            f"install it, or write where it is into mcp.json: command -v {shlex.quote(server.command)}",
        )
    return Finding.fine(check, f"{server.command} is found")
