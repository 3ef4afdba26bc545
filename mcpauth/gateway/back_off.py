"""A child that keeps ending is not started again without a pause."""

from ..ambient import Ambient
from ..errors import BackendUnavailable

PAUSES = (1, 2, 5, 15, 30, 60)
# Neither one that ran for so long, nor one after so long a peace, follows from those before it.
STABLE, PEACE = 60, 600


class BackOff:
    def __init__(self, ambient: Ambient) -> None:
        self._ambient = ambient
        self._times = self._retry_at = 0
        self._reason = ""

    def check(self) -> None:
        """Raises BackendUnavailable, saying when there is another attempt."""
        wait = self._retry_at - self._ambient.now()
        if 0 < wait <= PAUSES[-1]:  # A clock that was set back does not make it longer.
            raise BackendUnavailable(f"{self._reason}; it is started again in {wait} s")

    def ended(self, reason: str, *, lived: int, answered: bool) -> None:
        """One that had answered something may be started again at once, the first time."""
        now = self._ambient.now()
        if lived >= STABLE or now - self._retry_at >= PEACE:
            self._times = 0
        self._times += 1
        pauses = (0, *PAUSES) if answered else PAUSES
        self._retry_at = now + pauses[min(self._times, len(pauses)) - 1]
        self._reason = reason
