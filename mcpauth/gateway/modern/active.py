"""The modern requests that are on their way at one address."""

from typing import Protocol

from ...errors import GatewayError, RequestCancelled, TooMuchUnderWay

# Of one grant at one address. A client has one subscription for each of its windows, and may lose a few.
REQUESTS, SUBSCRIPTIONS = 256, 64


class Pending(Protocol):
    grant_id: str
    endless: bool  # a subscription

    def cancel(self, error: GatewayError) -> None: ...

    def hang_up(self) -> None:
        """We are stopping: what never ends by itself ends now and in good order."""
        ...


class Active:
    def __init__(self) -> None:
        self._pending: set[Pending] = set()

    def add(self, pending: Pending) -> None:
        """Raises TooMuchUnderWay."""
        if len(self._pending) >= SUBSCRIPTIONS:
            theirs = [one for one in self._pending if one.grant_id == pending.grant_id]
            if pending.endless and sum(one.endless for one in theirs) >= SUBSCRIPTIONS:
                raise TooMuchUnderWay(f"this client has {SUBSCRIPTIONS} subscriptions here; end one of them first")
            if len(theirs) >= REQUESTS:
                raise TooMuchUnderWay(f"this client has {REQUESTS} requests under way here; wait for their answers")
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
