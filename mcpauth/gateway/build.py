"""The gateway that data/mcp.json describes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..ambient import Ambient
from ..errors import SettingsError
from ..store.database import Database
from ..store.mcp_sessions import McpSessionStore
from ..store.published_names import PublishedNameStore
from . import configuration
from .backend import Backend
from .children import Children
from .configuration import AnyServer, Configuration, RemoteServer, StdioServer
from .configuration_file import ConfigurationFile
from .files.backend import FilesBackend
from .gateway import Gateway
from .http import HttpBackend
from .http_headers import HeaderError
from .names import PublishedNames
from .reaper import Reaper
from .served import Served
from .stdio import StdioBackend


class Built(NamedTuple):
    """``file`` changes the gateway while it is watched."""

    gateway: Gateway
    file: ConfigurationFile


def read_configuration(data_dir: Path) -> Configuration:
    """Of the file, created when there is none."""
    path = data_dir / configuration.FILE
    if not path.exists():
        configuration.create_default(data_dir)
    return configuration.read(path)


def build(
    given: Configuration,
    *,
    data_dir: Path,
    database: Database,
    ambient: Ambient,
    environ: Mapping[str, str] = os.environ,
) -> Built:
    reaper = Reaper(ambient.identifier())
    backends = Backends(data_dir, ambient, environ, reaper)
    names = PublishedNames(PublishedNameStore(database), ambient)
    gateway = Gateway(backends.of(given), names, McpSessionStore(database), ambient, reaper)

    def take(changed: Configuration) -> None:
        gateway.serve(backends.of(changed))

    return Built(gateway, ConfigurationFile(data_dir / configuration.FILE, given, take))


class Backends:
    """Makes them; an entry that has not changed keeps the one that it has."""

    def __init__(self, data_dir: Path, ambient: Ambient, environ: Mapping[str, str], reaper: Reaper) -> None:
        self._data_dir, self._ambient, self._environ, self._reaper = data_dir, ambient, environ, reaper
        self._children = Children(ambient)
        self._made: dict[str, tuple[AnyServer, Served]] = {}

    def of(self, given: Configuration) -> list[Served]:
        """Raises SettingsError; then nothing has changed."""
        made: dict[str, tuple[AnyServer, Served]] = {}
        for name, server in given.servers.items():
            before = self._made.get(name)
            if before is not None and before[0] == server:
                made[name] = before
            else:
                try:
                    made[name] = server, Served(self._make(name, server), server.tools)
                except HeaderError as error:
                    raise SettingsError(f"{given.place(name, 'headers', error.name)}: {error.what}") from None
        self._made, self._children.limits = made, given.limits
        return [served for _, served in made.values()]

    def _make(self, name: str, server: AnyServer) -> Backend:
        if isinstance(server, StdioServer):
            return StdioBackend(
                name, server, self._ambient, self._environ, reaper=self._reaper, children=self._children
            )
        if isinstance(server, RemoteServer):
            return HttpBackend(name, server, self._environ)
        return FilesBackend(
            name,
            server.root,
            write=server.write,
            index=self._data_dir / f"files-{name}.index.sqlite3",
            data_dir=self._data_dir,
            ambient=self._ambient,
        )
