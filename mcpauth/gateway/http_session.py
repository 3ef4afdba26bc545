"""What MCP sessions with a remote server have in common, whatever the revision of the transport."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from .. import log
from ..errors import BackendUnavailable, GatewayError
from . import frames
from .backend import ENDED, RETIRED
from .exchange import Exchange, Pace
from .frames import Frame
from .http_upstream import EVENT_STREAM, JSON, Events, Upstream
from .in_flight import InFlight, Sent
from .load import Unread
from .sse import Event

logger = logging.getLogger(__name__)

# Of what kinds the answer to a POST may be.
ANSWER = f"{JSON}, {EVENT_STREAM}"

# For the answer to a notification, and to our good-bye.
ACCEPTING, LEAVING = 30.0, 2.0
# Pings of a server that are being answered; one that sends more than it takes the answers of is owed no more.
PINGS = 8
# How long a stream may last after its response: one that was read to its end leaves its connection to the next.
LINGER = 1.0


class Room:
    """``hold`` for those whose answers come on one connection: it waits while they are too far behind."""

    __slots__ = ("_event", "_pace")

    def __init__(self) -> None:
        self._event: asyncio.Event | None = None  # nearly nobody is ever behind

    def __call__(self, exchange: Exchange) -> None:
        if self._event is None:
            self._event = asyncio.Event()
            self._event.set()
            self._pace = Pace(self._event.clear, self._event.set)
        self._pace(exchange)

    async def wait(self) -> None:
        if self._event is not None:
            await self._event.wait()


class HttpSession:
    """Each request is sent, and its answer read, by a task of its own: cancelling that closes its connection."""

    runs = True

    def __init__(
        self,
        upstream: Upstream,
        listener: Callable[[Frame], None],
        ended: Callable[["HttpSession"], None],
        unread: Unread | None = None,
    ) -> None:
        self._upstream, self._forget = upstream, ended
        self._in_flight = InFlight(listener, unread)
        self._tasks: dict[int, asyncio.Task[None]] = {}  # by the request's number
        self._listening: asyncio.Task[None] | None = None
        self._ponging: set[asyncio.Task[None]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._over: BackendUnavailable | None = None
        self._retired = False
        # Of one that asks what the server offers: the catalogue tells how that went.
        self.quiet = False

    # What the revisions do differently.

    async def start(self) -> None:
        """Raises BackendUnavailable."""

    def _room(self) -> Room:
        """For the stream that will have the answer to a new request."""
        return Room()

    async def _ask(self, sent: Sent, room: Room) -> None:
        """Send it and hear its answer, or see to it that it will be heard."""
        raise NotImplementedError

    async def _tell(self, frame: Frame) -> None:
        """Send what has no answer."""
        raise NotImplementedError

    async def _leave(self) -> None:
        """Say good-bye."""

    # What they have in common.

    @property
    def serves(self) -> bool:
        return self._over is None and not self._retired

    def client_is_away(self) -> None:
        """Nothing runs."""

    @property
    def busy(self) -> bool:
        return len(self._in_flight) > 0

    def retire(self) -> None:
        """Take no new request."""
        self._retired = True

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        if self._over is not None:
            raise BackendUnavailable(self._over.message)
        if self._retired:
            raise BackendUnavailable(RETIRED)
        room = self._room()
        sent = self._in_flight.add(frame, room)
        task = asyncio.create_task(self._serve(sent, room))
        self._tasks[sent.number] = task
        task.add_done_callback(lambda _: self._tasks.pop(sent.number))
        return sent.exchange

    async def notify(self, frame: Frame) -> None:
        """Whether it arrives makes no difference to the client, which could do nothing about it."""
        abandoned = None
        if frames.text(frame.get("method")) == "notifications/cancelled":
            cancelled = self._in_flight.cancel(frame)
            if cancelled is None:
                return
            abandoned, frame = cancelled
        if self._over is None:
            try:
                async with asyncio.timeout(ACCEPTING):
                    await self._tell(frame)
            except TimeoutError:
                self._log("backend_notification_lost", "not accepted in time")
            except BackendUnavailable as error:
                self._log("backend_notification_lost", error.message)
        if abandoned in self._tasks:
            self._tasks[abandoned].cancel()

    async def close(self, reason: str = ENDED) -> None:
        await asyncio.shield(self._closed(reason))

    def _closed(self, reason: str = ENDED) -> asyncio.Task[None]:
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(reason))
        return self._closing

    async def _close(self, reason: str) -> None:
        self._end(BackendUnavailable(reason))
        tasks = [task for task in (*self._tasks.values(), *self._ponging, self._listening) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with contextlib.suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(LEAVING):
                await self._leave()
        self._forget(self)

    def _end(self, error: BackendUnavailable) -> None:
        """Every request that waits, and every later one, gets ``error``, or what ended the session before."""
        self._over = self._over or error
        self._in_flight.fail_all(self._over)

    async def _serve(self, sent: Sent, room: Room) -> None:
        try:
            await self._ask(sent, room)
        except BackendUnavailable as error:
            self._log("backend_request_failed", error.message)
            self._in_flight.fail(sent.number, error)
        except Exception:
            self._in_flight.fail(sent.number, self._unexpected())

    def _hear(self, data: bytes, sent: Sent | None) -> int:
        """One message, or a batch of them; what is none is skipped. How much of it is about no request."""
        stray = 0
        try:
            for frame in frames.messages(data):
                if frames.is_ping(frame):
                    self._pong(frame)
                    stray += 1
                else:
                    stray += not self._heard(frame, sent)
        except GatewayError as error:
            self._log("backend_message_skipped", error.message)
            return 1
        return stray

    def _heard(self, frame: Frame, sent: Sent | None) -> bool:
        """After its response nobody reads the request's stream any more."""
        waiting = sent is not None and sent.number in self._in_flight
        return self._in_flight.heard(frame, sent.exchange if sent is not None and waiting else None, alone=True)

    def _pong(self, ping: Frame) -> None:
        if self._over is None and len(self._ponging) < PINGS:
            task = asyncio.create_task(self.notify(frames.result(ping["id"], {})))
            self._ponging.add(task)
            task.add_done_callback(self._ponging.discard)

    def _unexpected(self) -> BackendUnavailable:
        """To be called while the exception is handled."""
        logger.exception("request_failed", extra=log.fields(backend=self._upstream.name))
        return BackendUnavailable("unexpected error, see the server's log")

    def _log(self, event: str, reason: str) -> None:
        level = logging.DEBUG if self.quiet else logging.WARNING
        logger.log(level, event, extra=log.bounded(backend=self._upstream.name, reason=reason))


async def follow(events: Events, hear: Callable[[bytes], int], room: Room, answered: Callable[[], bool]) -> None:
    """Hear a request's stream to its end; a little beyond the response at most.

    ``hear`` says how many of the messages it was given nobody waits for.
    """

    async def take(event: Event) -> None:
        if stray := hear(event.data) if event.name == "message" else 1:
            await events.breathe(stray)
        await room.wait()

    async for event in events:
        await take(event)
        if answered() and not events.complete:
            break
    else:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER):
            async for event in events:
                await take(event)
