"""Which grants have ended of late: for what was on its way before it could be found and ended with them."""

REMEMBERED = 1000


class Endings:
    """``count`` changes with each of them."""

    def __init__(self) -> None:
        self.count = 0
        self._last: dict[str, int] = {}  # of each grant the newest, in their order

    def note(self, grant_id: str) -> None:
        self.count += 1
        self._last.pop(grant_id, None)
        self._last[grant_id] = self.count
        if len(self._last) > REMEMBERED:
            del self._last[next(iter(self._last))]

    def since(self, grant_id: str, count: int) -> bool:
        """Whether the grant has ended, or may have, since there were ``count``."""
        return count != self.count and (self._last.get(grant_id, 0) > count or self.count - count > REMEMBERED)
