"""What happens to those who have waited for too long; nearly nobody does, so there is one timer for all of them."""

import asyncio
from collections.abc import Callable

Act = Callable[[], None]


class Overdue:
    """All wait equally long: ``ttl`` seconds. A timer for each would cost every request more than its answer."""

    def __init__(self, ttl: float) -> None:
        self._ttl = ttl
        self._waiting: dict[Act, float] = {}  # when they are overdue, the first in front
        self._timer: asyncio.TimerHandle | None = None

    def add(self, act: Act) -> None:
        """Call ``act`` when the time has come, unless it is dropped before."""
        loop = asyncio.get_running_loop()
        self._waiting[act] = loop.time() + self._ttl
        if self._timer is None:
            self._timer = loop.call_later(self._ttl, self._look)

    def drop(self, act: Act) -> None:
        self._waiting.pop(act, None)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = None
        for act, due in list(self._waiting.items()):
            if due > loop.time():
                self._timer = loop.call_at(due, self._look)
                break
            del self._waiting[act]
            act()
