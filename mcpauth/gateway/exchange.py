"""One request's way back: frames from a reader that cannot wait, to a consumer that takes its time."""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from .frames import Frame

# Frames a consumer may lag behind before the reader is asked to hold; then down to the second.
HIGH, LOW = 16, 4


class Exchange:
    """An async iterator of the frames that belong to one request; ``finish`` puts the last."""

    __slots__ = ("_ended", "_frames", "_hold", "_waiter", "full", "request_id", "token")

    def __init__(self, request_id: msgspec.Raw, hold: Callable[["Exchange"], None]) -> None:
        self.request_id = request_id
        self.token: msgspec.Raw | None = None
        self.full = False
        self._hold = hold
        self._frames: deque[Frame] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._ended = False

    def put(self, frame: Frame) -> None:
        self._frames.append(frame)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if len(self._frames) >= HIGH and not self.full:
            self.full = True
            self._hold(self)

    def finish(self, frame: Frame) -> None:
        self._ended = True
        self.put(frame)

    def __aiter__(self) -> "Exchange":
        return self

    async def __anext__(self) -> Frame:
        if not self._frames:
            if self._ended:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        frame = self._frames.popleft()
        if self.full and len(self._frames) <= LOW:
            self.full = False
            self._hold(self)
        return frame
