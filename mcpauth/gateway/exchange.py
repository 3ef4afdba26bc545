"""One request's way back: frames from a reader that cannot wait, to a consumer that takes its time."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from ..errors import GatewayError
from .frames import Frame, weight
from .load import LARGE, Unread, too_much_unread

# Frames a consumer may lag behind before the reader is asked to hold; then down to the second.
HIGH, LOW = 16, 4
# What the frames may weigh that wait for a consumer, where they are several.
HEAVY = 4 * 1024 * 1024
# So long do those who share a stream wait for one of them, in so many seconds; and until they look again who waits.
PATIENCE, WINDOW, GLANCE = 1.0, 10.0, 0.1


class Interrupted(Exception):
    """To whoever waits for a frame: there is something else to look at first. Nothing of the exchange is lost."""


class Exchange:
    """An async iterator of the frames that belong to one request; ``finish`` puts the last, ``fail`` what is raised.

    What is large counts among all that is ``unread`` of one grant. A frame for which there is no room is not given
    out before there is, and the reader has to hold until then.
    """

    __slots__ = (
        "_counted",
        "_ended",
        "_error",
        "_frames",
        "_hold",
        "_inside",
        "_outside",
        "_waiter",
        "full",
        "logs",
        "owner",
        "request_id",
        "slow",
        "token",
        "unread",
        "whole",
        "whose",
    )

    def __init__(self, request_id: msgspec.Raw, hold: Callable[["Exchange"], None]) -> None:
        self.request_id = request_id
        self.token: msgspec.Raw | None = None
        self.owner: object = None  # of those who share the stream
        self.whose = ""  # for whom those who share the stream wait
        self.logs = False  # it asks for log messages
        self.unread: Unread | None = None  # of its grant; None of what is asked for nobody
        self.whole = False  # nothing of it may be left out
        self.full = False
        self.slow = False  # nobody waits for its consumer: what it has no room for is gone, but not the last frame
        self._hold = hold
        self._frames: deque[Frame] = deque()
        self._waiter: asyncio.Future[bool] | None = None
        self._ended = False
        self._error: GatewayError | None = None
        self._inside: int | None = None  # how many of the frames may be given out; None: all
        self._counted = self._outside = 0  # the bytes of large frames that may, and of those that may not

    def __del__(self) -> None:
        if self._counted and self.unread is not None:
            self.unread.less(self._counted)

    def put(self, frame: Frame) -> None:
        if self.slow and not self._ended:
            return
        self._frames.append(frame)
        if self.unread is not None and (size := weight(frame)) > LARGE:
            self._count(size, self.unread)
        self._wake()
        if len(self._frames) > 1 and not self.full and not self.slow and self._has_much():
            self.full = True
            self._hold(self)

    def finish(self, frame: Frame) -> None:
        self._ended = True
        self.put(frame)

    def fail(self, error: GatewayError) -> None:
        """What was let in is given out first. Of one that has ended nothing changes but what was not."""
        if self._inside is not None:
            self._drop(error)
            self.full = False
            self._hold(self)
        if not self._ended:
            self._ended, self._error = True, error
        self._wake()

    @property
    def ended(self) -> bool:
        """Whether nothing more is put into it."""
        return self._ended

    @property
    def has_no_room(self) -> bool:
        """Whether some of it waits until more is read of what its grant has."""
        return self._inside is not None

    @property
    def idle(self) -> bool:
        """Whether whoever reads now has to wait."""
        return not self._ended and (not self._frames or self._inside == 0)

    def interrupt(self) -> bool:
        """Whether somebody waits, who is Interrupted then."""
        if self._waiter is None or self._waiter.done():
            return False
        self._waiter.set_result(True)
        return True

    def __aiter__(self) -> "Exchange":
        return self

    async def __anext__(self) -> Frame:
        while not self._frames or self._inside == 0:
            if self._ended and not self._frames:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            if await self._news():
                raise Interrupted
        frame = self._frames.popleft()
        if self._counted and self.unread is not None and (size := weight(frame)) > LARGE:
            self._counted -= size
            self.unread.less(size)
        if self._inside is not None:
            self._inside -= 1
        elif len(self._frames) <= LOW:
            self._go_on()
        return frame

    def overtake(self) -> None:
        """Its consumer takes too long for those who share the stream."""
        if self.full:
            self.slow, self.full = True, False
            if self._inside is not None:
                self._drop(too_much_unread())
            self._hold(self)

    def _has_much(self) -> bool:
        return len(self._frames) >= HIGH or sum(map(weight, self._frames)) > HEAVY

    def _go_on(self) -> None:
        self.slow = False
        if self.full:
            self.full = False
            self._hold(self)

    def _count(self, size: int, unread: Unread) -> None:
        """A large frame, which was put last."""
        if self._inside is None and unread.has_room(size):
            unread.add(size)
            self._counted += size
            return
        if self._inside is None:
            self._inside = len(self._frames) - 1
        self._outside += size
        unread.wait(self._outside, self._let_in)
        if not self.full:
            self.full = True
            self._hold(self)

    def _let_in(self) -> None:
        self._counted += self._outside
        self._outside = 0
        if len(self._frames) <= LOW:
            self._go_on()
        self._inside = None
        self._wake()

    def _drop(self, error: GatewayError) -> None:
        """What was not let in; where the last frame was among it, ``error`` takes its place."""
        while len(self._frames) > (self._inside or 0):
            self._frames.pop()
        self._inside, self._outside = None, 0
        self.slow = len(self._frames) > LOW
        if self.unread is not None:
            self.unread.forget(self._let_in)
        if self._ended:
            self._error = error
        self._wake()

    async def _news(self) -> bool:
        """Whether it is something else that there is to look at."""
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


class Pace:
    """``hold`` for the exchanges of one stream: it is read no faster than the slowest of them is."""

    __slots__ = ("_full", "_go_on", "_stop")

    def __init__(self, stop: Callable[[], None], go_on: Callable[[], None]) -> None:
        self._stop, self._go_on = stop, go_on
        self._full: set[Exchange] = set()

    def __call__(self, exchange: Exchange) -> None:
        if exchange.full:
            self._full.add(exchange)
            self._stop()
        else:
            self._full.discard(exchange)
            if not self._full:
                self._go_on()


class _Patience:
    """What is left of it for one of those who share a stream."""

    __slots__ = ("left", "until")

    def __init__(self, until: float) -> None:
        self.until, self.left = until, PATIENCE


class SharedPace(Pace):
    """The same for a stream of several clients, who wait for one of them a moment and not longer.

    ``alone`` says whether nothing else waits; ``late`` is called with the one that was overtaken. All that are the
    same one's have the moment together.
    """

    __slots__ = ("_alone", "_late", "_patience", "_waiting")

    def __init__(
        self,
        stop: Callable[[], None],
        go_on: Callable[[], None],
        alone: Callable[[Exchange], bool],
        late: Callable[[Exchange], None],
    ) -> None:
        super().__init__(stop, go_on)
        self._alone, self._late = alone, late
        self._waiting: dict[Exchange, tuple[float, _Patience, asyncio.TimerHandle]] = {}
        self._patience: dict[str, _Patience] = {}

    def __call__(self, exchange: Exchange) -> None:
        super().__call__(exchange)
        if exchange.full:
            self._wait(exchange)
        elif exchange in self._waiting:
            began, patience, timer = self._waiting.pop(exchange)
            timer.cancel()
            if not self._alone(exchange):
                patience.left -= asyncio.get_running_loop().time() - began

    def _wait(self, exchange: Exchange) -> None:
        loop = asyncio.get_running_loop()
        patience = self._patience_with(exchange.whose, loop.time())
        if patience.left > 0 or self._alone(exchange):
            timer = loop.call_later(max(patience.left, GLANCE), self._waited, exchange)
            self._waiting[exchange] = loop.time(), patience, timer
        else:
            self._overtake(exchange)

    def _waited(self, exchange: Exchange) -> None:
        _, patience, _ = self._waiting.pop(exchange)
        if self._alone(exchange):
            self._wait(exchange)
        else:
            patience.left = 0.0
            self._overtake(exchange)

    def _overtake(self, exchange: Exchange) -> None:
        exchange.overtake()
        self._late(exchange)

    def _patience_with(self, whose: str, now: float) -> _Patience:
        patience = self._patience.get(whose)
        if patience is None or patience.until <= now:
            self._patience = {one: patience for one, patience in self._patience.items() if patience.until > now}
            patience = self._patience[whose] = _Patience(now + WINDOW)
        return patience
