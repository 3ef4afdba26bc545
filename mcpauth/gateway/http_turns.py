"""Large answers of a remote server to one grant are read a few at a time: what is not read yet is not here."""

import asyncio
from weakref import WeakKeyDictionary

from .load import Unread

# So many at once; one is large from here on, for nobody knows how large it will be.
AT_ONCE, LARGE = 4, 64 * 1024


class Turns:
    def __init__(self) -> None:
        self._free: WeakKeyDictionary[Unread, asyncio.Semaphore] = WeakKeyDictionary()

    def of(self, unread: Unread | None) -> "Turn":
        """For one request; None: for nobody's, which does not wait."""
        return Turn(self._free, unread)


class Turn:
    """To be left when the answer was let in, or nobody wants it any more."""

    def __init__(self, free: WeakKeyDictionary[Unread, asyncio.Semaphore], unread: Unread | None) -> None:
        self._free, self._unread = free, unread
        self._taken: asyncio.Semaphore | None = None

    async def take(self) -> None:
        if self._unread is not None and self._taken is None:
            free = self._free.setdefault(self._unread, asyncio.Semaphore(AT_ONCE))
            await free.acquire()
            self._taken = free

    def leave(self) -> None:
        if self._taken is not None:
            self._taken.release()
            self._taken = None

    def __enter__(self) -> "Turn":
        return self

    def __exit__(self, *error: object) -> None:
        self.leave()
