"""How much of what a client has sent waits here: nothing else bounds what one grant can make the process hold."""

from weakref import WeakKeyDictionary, WeakSet

from ..errors import TooMuchUnderWay

# Of all messages of one grant together; those that are not large are bounded by their number.
BYTES = 64 * 1024 * 1024
LARGE = 16 * 1024


class Held:
    """A message, for as long as somebody has this."""

    def __init__(self, grant_id: str, size: int) -> None:
        self.grant_id, self.size = grant_id, size


class Load:
    def __init__(self) -> None:
        self._held: WeakSet[Held] = WeakSet()
        self._until: WeakKeyDictionary[object, Held] = WeakKeyDictionary()

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
