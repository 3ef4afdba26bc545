"""A response that is a stream of events (HTML Living Standard 9.2), kept alive, at the pace of whoever reads it."""

import asyncio

from tornado.iostream import StreamClosedError

from ..gateway.event_log import RETRY, Event
from ..gateway.gateway import Gateway
from .gate import Gate
from .guarded import GuardedHandler

KEEP_ALIVE = 15.0

EVENT_STREAM = "text/event-stream"


class EventStreamHandler(GuardedHandler):
    def initialize(self, gateway: Gateway, gate: Gate) -> None:
        super().initialize(gateway, gate)
        self._gone = self._streaming = self._flushing = False
        self._timer: asyncio.TimerHandle | None = None

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._gone = True
        self._stop_timer()

    def _begin_stream(self, primer: str | None) -> None:
        """The event ``primer`` has no message: it only lets the client come back from the beginning on."""
        self._streaming = True
        self.set_header("Content-Type", EVENT_STREAM)
        self.set_header("Cache-Control", "no-cache, no-transform")
        self.set_header("X-Accel-Buffering", "no")
        if primer is not None:
            self.write(f"id: {primer}\nretry: {RETRY}\ndata: \n\n")

    async def _write_event(self, event: Event) -> None:
        """The next one waits until this one is on its way."""
        if self._gone:
            return
        if event.event_id is not None:
            self.write(f"id: {event.event_id}\n")
        self.write(b"event: message\ndata: ")
        self.write(event.message)
        self.write(b"\n\n")
        self._flushing = True
        try:
            await self.count_unread(len(event.message), self.flush())
        except StreamClosedError:
            self._gone = True
        finally:
            self._flushing = False

    def _keep_alive(self) -> None:
        """A comment now and then: proxies cut what is silent."""
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._keep_alive)
        # While a flush is waited for, another one would take its place and it would never end.
        if not self._flushing and not self._gone:
            self.write(b": keep-alive\n\n")
            self.flush()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
