"""The HTTP server: so many connections, and no more."""

import logging
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from .. import log

logger = logging.getLogger(__name__)

LARGEST_HEADERS = 64 * 1024


class LimitedServer(HTTPServer):
    """Closes what comes above ``most`` connections: without descriptors it could not even refuse."""

    def initialize(self, app: Any, *, most: int) -> None:  # type: ignore[override]
        super().initialize(app, max_header_size=LARGEST_HEADERS, idle_connection_timeout=120)
        self._most, self._open, self._full = most, 0, False

    def handle_stream(self, stream: IOStream, address: Any) -> None:
        if self._open >= self._most:
            if not self._full:
                self._full = True
                logger.warning("connections_refused", extra=log.bounded())
            stream.close()
            return
        self._full = False
        self._open += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        self._open -= 1
        super().on_close(server_conn)
