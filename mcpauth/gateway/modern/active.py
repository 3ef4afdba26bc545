"""The modern requests that are on their way at one address."""

from typing import Protocol

from ...errors import GatewayError, RequestCancelled


class Pending(Protocol):
    grant_id: str

    def cancel(self, error: GatewayError) -> None: ...

    def hang_up(self) -> None:
        """We are stopping: what never ends by itself ends now and in good order."""
        ...


class Active:
    def __init__(self) -> None:
        self._pending: set[Pending] = set()

    def add(self, pending: Pending) -> None:
        self._pending.add(pending)

    def ended(self, pending: Pending) -> None:
        self._pending.discard(pending)

    def end_grant(self, grant_id: str) -> None:
        for pending in list(self._pending):
            if pending.grant_id == grant_id:
                pending.cancel(RequestCancelled("what was allowed to this client has ended"))

    def hang_up(self) -> None:
        for pending in list(self._pending):
            pending.hang_up()
