"""HTTP with SSE of 2024-11-05, towards a remote server: one GET stream, and an address for what we say."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from yarl import URL

from ..errors import BackendUnavailable
from . import frames
from .frames import Frame
from .http_session import HttpSession, Room
from .http_upstream import EVENT_STREAM, JSON, Upstream, is_stream
from .in_flight import Sent
from .load import Unread
from .sse import EventSource


class SseSession(HttpSession):
    """As with a child process, everything comes the same way: the slowest reader slows the stream."""

    def __init__(
        self,
        upstream: Upstream,
        listener: Callable[[Frame], None],
        ended: Callable[[HttpSession], None],
        unread: Unread | None = None,
    ) -> None:
        super().__init__(upstream, listener, ended, unread)
        self._shared = Room()
        self._address: URL

    async def start(self) -> None:
        endpoint = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(endpoint))
        try:
            self._address = await endpoint
        except BaseException:
            await self.close()
            raise

    def _room(self) -> Room:
        return self._shared

    async def _ask(self, sent: Sent, room: Room) -> None:
        await self._tell(sent.frame)

    async def _tell(self, frame: Mapping[str, Any]) -> None:
        headers = {"Accept": JSON, "Content-Type": JSON}
        with await self._upstream.send("POST", headers, frames.encode(frame), self._address) as response:
            if not 200 <= response.status < 300:
                raise self._upstream.refusal(response)

    async def _listen(self, endpoint: asyncio.Future[URL]) -> None:
        try:
            await self._read(endpoint)
            error = self._upstream.unavailable("ended its stream")
        except BackendUnavailable as unavailable:
            error = unavailable
        except Exception:
            error = self._unexpected()
        if not endpoint.done():
            endpoint.set_exception(error)
            return
        self._log("backend_stream_ended", error.message)
        self._end(error)
        self._closed()

    async def _read(self, endpoint: asyncio.Future[URL]) -> None:
        with await self._upstream.send("GET", {"Accept": EVENT_STREAM}) as response:
            if not is_stream(response):
                raise self._upstream.refusal(response)
            events = self._upstream.events(response, EventSource())
            async for event in events:
                if event.name == "endpoint" and not endpoint.done():
                    endpoint.set_result(self._beneath(event.data))
                elif stray := self._hear(event.data, None) if event.name == "message" else 1:
                    await events.breathe(stray)
                await self._shared.wait()

    def _heard(self, frame: Frame, sent: Sent | None) -> bool:
        # Nothing in it tells which request it is about: with one in flight, it is that one.
        return self._in_flight.heard(frame, self._in_flight.only)

    def _beneath(self, given: bytes) -> URL:
        """Our credentials go there: it must be the server that they are for."""
        base = self._upstream.url
        try:
            address = base.join(URL(given.decode()))
            if address.origin() == base.origin() and address.user is None:
                return address
        except ValueError:
            pass
        raise self._upstream.unavailable("wants its messages sent to another server; that is refused")
