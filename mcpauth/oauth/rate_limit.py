"""So many in so long, for each key; kept in memory."""

from collections import OrderedDict, deque

MOST_KEYS = 10_000


class RateLimit:
    """At most ``most`` events in ``window`` seconds for each key."""

    def __init__(self, most: int, window: int) -> None:
        self._most, self._window = most, window
        self._events: OrderedDict[str, deque[int]] = OrderedDict()

    def wait(self, key: str, now: int) -> int:
        """Seconds until another event is allowed for ``key``; 0 when it is now."""
        events = self._events.get(key)
        if events is None:
            return 0
        while events and events[0] <= now - self._window:
            events.popleft()
        if not events:
            del self._events[key]
            return 0
        return 0 if len(events) < self._most else events[0] + self._window - now

    def add(self, key: str, now: int) -> None:
        self._events.setdefault(key, deque()).append(now)
        self._events.move_to_end(key)
        if len(self._events) > MOST_KEYS:
            self._events.popitem(last=False)

    def take_back(self, key: str) -> None:
        """The last event of ``key`` did not count after all."""
        if events := self._events.get(key):
            events.pop()
