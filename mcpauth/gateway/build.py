"""The gateway that data/mcp.json describes."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

from .. import log
from ..ambient import Ambient
from ..store.database import Database
from ..store.published_names import PublishedNameStore
from . import configuration
from .backend import Backend
from .configuration import AnyServer, Configuration, RemoteServer, StdioServer
from .files.backend import FilesBackend
from .gateway import Gateway
from .http import HttpBackend
from .names import PublishedNames
from .reaper import Reaper
from .served import Served
from .stdio import StdioBackend

logger = logging.getLogger(__name__)


def read_configuration(data_dir: Path) -> Configuration:
    """Of the file, created when there is none. What the owner should know of it goes to the log."""
    path = data_dir / configuration.FILE
    if not path.exists():
        configuration.create_default(data_dir)
    given = configuration.read(path)
    for note in given.notes:
        logger.warning("configuration_noted", extra=log.fields(note=note))
    return given


def build(
    given: Configuration,
    *,
    data_dir: Path,
    database: Database,
    ambient: Ambient,
    environ: Mapping[str, str] = os.environ,
) -> Gateway:
    reaper = Reaper()

    def backend(name: str, server: AnyServer) -> Backend:
        if isinstance(server, StdioServer):
            return StdioBackend(name, server, ambient, environ, reaper=reaper)
        if isinstance(server, RemoteServer):
            return HttpBackend(name, server, environ)
        index = data_dir / f"files-{name}.index.sqlite3"
        return FilesBackend(name, server.root, write=server.write, index=index, data_dir=data_dir, ambient=ambient)

    backends = [Served(backend(name, server), server.tools) for name, server in given.servers.items()]
    return Gateway(backends, PublishedNames(PublishedNameStore(database), ambient), ambient, reaper)
