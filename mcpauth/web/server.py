"""The HTTP server: so many connections, and no more, and none that only waits."""

import asyncio
import logging
import socket
from typing import Any, cast

from tornado.httpserver import HTTPServer, _HTTPRequestContext
from tornado.iostream import IOStream

from .. import log
from .connection import ServerConnection
from .stream import AT_ONCE, TransportStream

logger = logging.getLogger(__name__)

LARGEST_HEADERS = 64 * 1024

# How long a request's head, and then its body, may take to come, and how long nothing of an answer may be taken; and
# how often that is looked at.
WAITING_TTL, LOOKING = 120.0, 30.0


class LimitedServer(HTTPServer):
    """Closes what comes above ``most`` connections: without descriptors it could not even refuse."""

    def initialize(self, app: Any, *, most: int) -> None:  # type: ignore[override]
        super().initialize(app, max_header_size=LARGEST_HEADERS)
        # ``watch`` does it for all; Tornado's own costs every request a timer.
        self.conn_params.header_timeout = None
        self._most, self._full = most, False
        self._buffer = memoryview(bytearray(AT_ONCE))

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        if len(self._connections) >= self._most:
            if not self._full:
                self._full = True
                logger.warning("connections_refused", extra=log.bounded())
            connection.close()
            return
        self._full = False
        stream = TransportStream(connection, self._buffer)
        context = _HTTPRequestContext(cast(IOStream, stream), address, self.protocol)
        serving = ServerConnection(stream, self.conn_params, context)
        self._connections.add(serving)
        serving.start_serving(self)

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOKING)
            self.close_waiting(WAITING_TTL)

    def close_waiting(self, ttl: float) -> None:
        """Close the connections that have waited for longer than ``ttl`` seconds for their client.

        One that does not read would keep the room for answers from others of its grant.
        """
        for connection in list(self._connections):
            if isinstance(connection, ServerConnection):
                unread = connection.is_unread_for(ttl)
                if unread or connection.waits_longer_than(ttl):
                    connection.stream.close()
