"""/sse and /messages: HTTP+SSE, for clients that know nothing newer. Off unless the owner switches it on."""

from ..errors import GatewayError
from ..gateway.event_log import Event
from ..gateway.gateway import Gateway
from ..gateway.sse_connections import SseConnection, SseConnections
from .event_stream import EventStreamHandler
from .gate import Gate
from .guarded import GuardedHandler


class SseHandler(EventStreamHandler):
    """The stream, which begins with the address for the client's messages."""

    SUPPORTED_METHODS = ("GET", "OPTIONS")  # type: ignore[assignment]

    def initialize(self, gateway: Gateway, gate: Gate, connections: SseConnections) -> None:  # type: ignore[override]
        super().initialize(gateway, gate)
        self._connections = connections
        self._connection: SseConnection | None = None

    async def get(self) -> None:
        if self.is_refused():
            return
        self._connection = connection = self._connections.open(self._principal)
        try:
            self._begin_stream(None)
            self.write(f"event: endpoint\ndata: /messages?session_id={connection.connection_id}\n\n")
            self._keep_alive()
            async for message in connection:
                await self._write_event(Event(None, message))
            self.finish()
        finally:
            connection.close()
            self._stop_timer()

    def on_connection_close(self) -> None:
        super().on_connection_close()
        if self._connection is not None:
            self._connection.close()


class MessagesHandler(GuardedHandler):
    SUPPORTED_METHODS = ("POST", "OPTIONS")  # type: ignore[assignment]

    def initialize(self, gateway: Gateway, gate: Gate, connections: SseConnections) -> None:  # type: ignore[override]
        super().initialize(gateway, gate)
        self._connections = connections

    async def post(self) -> None:
        if self.is_refused():
            return
        connection_id = self.get_query_argument("session_id", "")
        try:
            await self._connections.take(self._principal, connection_id, self.take_body())
        except GatewayError as error:
            self.refuse_with(error)
            return
        self.set_status(202)
        self.finish("Accepted")
