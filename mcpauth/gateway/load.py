"""How much waits here for one grant: of what its client has sent, and of what it does not read."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakKeyDictionary, WeakSet

import msgspec

from ..errors import TooMuchUnderWay
from . import frames

# Of all messages of one grant together; those that are not large are bounded by their number.
BYTES = 64 * 1024 * 1024
LARGE = 16 * 1024
# The same of what it has not read; of this the answers to batches that are not complete.
UNREAD, GATHERED = 64 * 1024 * 1024, 32 * 1024 * 1024
# Of what servers have said in calls that wait for the client's answer.
SUSPENDED = 32 * 1024 * 1024
# Requests of one grant of which it is not known yet who answers them: there may be a server that is long in starting.
UNDECIDED = 256


T = TypeVar("T")


class Held:
    """A message, for as long as somebody has this."""

    def __init__(self, grant_id: str, size: int) -> None:
        self.grant_id, self.size = grant_id, size


class Suspended:
    """Calls of one grant that wait for the client: those that came first are given up when all weigh too much."""

    def __init__(self) -> None:
        self._calls: dict[object, tuple[int, Callable[[], None]]] = {}

    def keep(self, call: object, size: int, give_up: Callable[[], None]) -> None:
        """Once more, when its size has changed."""
        self._calls[call] = size, give_up
        while sum(size for size, _ in self._calls.values()) > SUSPENDED:
            _, oldest = self._calls.pop(next(iter(self._calls)))
            oldest()

    def release(self, call: object) -> None:
        self._calls.pop(call, None)


class Unread:
    """What waits for one grant's client to read it. Answers for which there is no room wait in the order they came."""

    def __init__(self) -> None:
        self.size = 0
        self.gathered = 0
        self.suspended = Suspended()
        self._waiting: dict[Callable[[], None], int] = {}
        self._looking = False

    @property
    def full(self) -> bool:
        return self.size >= UNREAD

    def has_room(self, size: int) -> bool:
        """However large it is, when there is nothing else."""
        return self.size == 0 or self.size + size <= UNREAD

    def add(self, size: int) -> None:
        self.size += size

    def less(self, size: int) -> None:
        self.size -= size
        if self._waiting and not self._looking:
            # In the next turn of the loop: whoever takes it from here may count it again elsewhere in this one.
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def wait(self, size: int, let_in: Callable[[], None]) -> None:
        """For so much room; then it is counted, and ``let_in`` is called. Once more: for more room."""
        self._waiting[let_in] = size

    def forget(self, let_in: Callable[[], None]) -> None:
        self._waiting.pop(let_in, None)

    def fitting(self, message: bytes, request_id: msgspec.Raw) -> bytes:
        """The response, or another in its place when there is no room for it. Somebody counts it from now on."""
        if len(message) <= LARGE or not self.full:
            return message
        return frames.encode(frames.failure(request_id, too_much_unread()))

    def _look(self) -> None:
        self._looking = False
        for let_in, size in list(self._waiting.items()):
            if not self.has_room(size):
                break
            del self._waiting[let_in]
            self.size += size
            let_in()


class Load:
    def __init__(self) -> None:
        self._held: WeakSet[Held] = WeakSet()
        self._until: WeakKeyDictionary[object, Held] = WeakKeyDictionary()
        self._unread: dict[str, Unread] = {}
        self._undecided: Counter[str] = Counter()

    def hold(self, grant_id: str, size: int, before: Held | None = None) -> Held:
        """One more message, or what has come of one that was smaller ``before``. Raises TooMuchUnderWay."""
        others = sum(one.size for one in self._held if one.grant_id == grant_id and one is not before)
        if others + size > BYTES:
            raise TooMuchUnderWay(
                f"more than {BYTES // 1024**2} MiB of this client's messages are under way; wait for their answers"
            )
        held = Held(grant_id, size)
        self._held.add(held)
        return held

    def until(self, answer: object, held: Held) -> None:
        """It is held for as long as the ``answer`` is there."""
        self._until[answer] = held

    def refuse_many(self, grant_id: str) -> None:
        """Raises TooMuchUnderWay when no more may be undecided."""
        if self._undecided[grant_id] >= UNDECIDED:
            raise TooMuchUnderWay(
                f"{UNDECIDED} requests of this client wait for a server that is starting; wait for their answers"
            )

    async def undecided(self, grant_id: str, answering: Awaitable[T]) -> T:
        self._undecided[grant_id] += 1
        try:
            return await answering
        finally:
            self._undecided[grant_id] -= 1
            self._undecided += Counter()  # without those that have none

    def unread(self, grant_id: str) -> Unread:
        found = self._unread.get(grant_id)
        if found is None:
            found = self._unread[grant_id] = Unread()
        return found

    def end_grant(self, grant_id: str) -> None:
        self._unread.pop(grant_id, None)


def too_much_unread() -> TooMuchUnderWay:
    return TooMuchUnderWay(
        f"this answer was dropped: {UNREAD // 1024**2} MiB of others wait for this client to read them; read them first"
    )
