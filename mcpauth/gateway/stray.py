"""What a server says that nobody waits for is read slowly: others have their turn."""

import asyncio

# After so many messages, so long is read nothing.
MESSAGES, PAUSE = 100, 0.01


class Stray:
    """Counts them, on however many streams they come."""

    def __init__(self) -> None:
        self._count = 0
        self._until = 0.0

    def heard(self, count: int) -> float | None:
        """For so many seconds nothing more is to be read where these came; None, if it may go on."""
        self._count += count
        if self._count < MESSAGES:
            return None
        pauses, self._count = divmod(self._count, MESSAGES)
        now = asyncio.get_running_loop().time()
        self._until = max(self._until, now) + pauses * PAUSE
        return self._until - now
