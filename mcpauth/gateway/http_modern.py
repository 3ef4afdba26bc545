"""Streamable HTTP of 2026-07-28, towards a remote server: every request is a POST of its own."""

import asyncio
import logging

from .. import log
from ..errors import BackendUnavailable, GatewayError
from . import frames
from .exchange import Exchange
from .frames import Frame
from .http_session import ANSWER, Room, follow
from .http_upstream import JSON, Upstream, is_stream, media_type
from .load import Unread
from .modern import headers, parameters
from .modern.parameters import ByTool
from .sse import EventSource

logger = logging.getLogger(__name__)


class ModernRequests:
    """All that are on their way to one server. What comes on a request's connection is the request's alone.

    So ids and tokens stay the client's own. Each is sent, and its answer read, by a task: cancelling that closes
    the connection, which is how the server learns that nobody waits any more.
    """

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._tasks: dict[Exchange, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, frame: Frame, said: dict[str, str], unread: Unread) -> Exchange:
        room = Room()
        exchange = Exchange(frame["id"], room)
        exchange.unread = unread
        task = asyncio.create_task(self._serve(frame, said, exchange, room))
        self._tasks[exchange] = task
        task.add_done_callback(lambda _: self._tasks.pop(exchange))
        return exchange

    def cancel(self, exchange: Exchange, error: GatewayError) -> None:
        """Nothing of one that was answered: what is left of its stream is read, and the connection kept."""
        answered = exchange.ended
        exchange.fail(error)
        if exchange in self._tasks and not answered:
            self._tasks[exchange].cancel()

    async def close(self) -> None:
        error = self._upstream.unavailable("was left: mcpauth is stopping, or it has changed")
        tasks = list(self._tasks.values())
        for exchange in list(self._tasks):
            self.cancel(exchange, error)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, frame: Frame, said: dict[str, str], exchange: Exchange, room: Room) -> None:
        try:
            await self._ask(frame, said, exchange, room)
        except BackendUnavailable as error:
            self._log("backend_request_failed", error.message)
            exchange.fail(error)
        except Exception:
            logger.exception("request_failed", extra=log.fields(backend=self._upstream.name))
            exchange.fail(BackendUnavailable("unexpected error, see the server's log"))

    async def _ask(self, frame: Frame, said: dict[str, str], exchange: Exchange, room: Room) -> None:
        sent = {**said, "Accept": ANSWER, "Content-Type": JSON}
        turn = self._upstream.turns.of(exchange.unread)
        with await self._upstream.send("POST", sent, frames.encode(frame)) as response, turn:
            if is_stream(response):
                events = self._upstream.events(response, EventSource(), turn)
                await follow(events, lambda data: self._hear(data, exchange), room, lambda: exchange.ended)
                if not exchange.ended:
                    raise self._upstream.unavailable("ended its answer before it was complete")
                return
            # The error of a request that was refused is for whoever asked; that of our credentials is not.
            refused = 400 <= response.status < 500 and response.status not in (401, 403)
            if media_type(response) == JSON and (refused or response.status == 200):
                self._hear(await self._upstream.body(response, turn), exchange)
                await room.wait()
            if not exchange.ended:
                raise await self._upstream.failure(response, turn)

    def _hear(self, data: bytes, exchange: Exchange) -> int:
        """How many messages that nobody waits for there are in it: it is one message, or none."""
        try:
            frame = frames.decode(data)
        except GatewayError as error:
            self._log("backend_message_skipped", error.message)
            return 1
        if exchange.ended:
            return 1
        if "method" not in frame and ("result" in frame or "error" in frame):
            # Errors about the request as such may come without its id.
            exchange.finish({**frame, "id": exchange.request_id})
        elif "method" in frame and "id" not in frame:
            exchange.put(frame)
        else:
            # In this era a server asks by its result, and there is no way to answer one that asks anyway.
            self._log("backend_message_skipped", "it is neither a notification nor the response")
            return 1
        return 0

    def _log(self, event: str, reason: str) -> None:
        logger.warning(event, extra=log.bounded(backend=self._upstream.name, reason=reason))


class ModernHttpSession:
    """One caller's way to the server. ``said`` are the headers of the client's that go on to it."""

    def __init__(self, requests: ModernRequests, said: dict[str, str], tools: ByTool, unread: Unread) -> None:
        self._requests, self._said, self._tools, self._unread = requests, said, tools, unread

    def request(self, frame: Frame) -> Exchange:
        said = {**self._said, **parameters.repeating(self._tools, frame), **headers.repeating(frame)}
        return self._requests.begin(frame, said, self._unread)

    def cancel(self, exchange: Exchange, error: GatewayError) -> None:
        self._requests.cancel(exchange, error)
