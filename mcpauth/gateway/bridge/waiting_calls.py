"""Calls that wait for their client to come back with what the server asked for."""

from collections.abc import Callable
from typing import NamedTuple

from ...ambient import Ambient
from ...errors import RequestCancelled
from ..frames import Frame
from ..modern.caller import Caller
from .legacy_call import LegacyCall
from .request_state import TTL, CallAgain, RequestStates, binding

# Of one grant; of more, the oldest is given up.
PER_GRANT = 16


class _Waiting(NamedTuple):
    call: LegacyCall
    until: int


class WaitingCalls:
    """Each is taken once, and not for long; in the order of their coming."""

    def __init__(self, ambient: Ambient) -> None:
        self._ambient, self._states = ambient, RequestStates(ambient)
        self._waiting: dict[str, _Waiting] = {}

    def put(self, call: LegacyCall) -> str:
        """The `requestState` that the client has to bring back."""
        if call.frame is not None:
            # It may be large, and is not needed any more.
            call.bound_to, call.frame = binding(call.caller, call.frame), None
        handle = self._ambient.identifier()
        self._waiting[handle] = _Waiting(call, self._ambient.now() + TTL)
        call.grown = lambda: self._weigh(handle)
        theirs = [key for key, one in self._waiting.items() if one.call.caller.grant_id == call.caller.grant_id]
        for key in theirs[:-PER_GRANT]:
            self._give_up(key, "too many calls wait for the client")
        call.grown()
        return self._states.seal(handle, call.bound_to)

    def take(self, caller: Caller, frame: Frame, state: str | None) -> LegacyCall:
        """The one that goes on. Raises CallAgain."""
        handle = self._states.unseal(state or "", binding(caller, frame))
        if handle not in self._waiting:
            raise CallAgain
        call = self._released(handle)
        if call.failure is not None:
            raise CallAgain
        return call

    def expire(self) -> None:
        now = self._ambient.now()
        self._give_up_all("the client did not come back in time", lambda one: one.until < now)

    def end_grant(self, grant_id: str) -> None:
        ended = "what was allowed to this client has ended"
        self._give_up_all(ended, lambda one: one.call.caller.grant_id == grant_id)

    def close(self) -> None:
        self._give_up_all("the server is stopping", lambda one: True)

    def _give_up_all(self, why: str, which: Callable[[_Waiting], bool]) -> None:
        for handle in [handle for handle, one in self._waiting.items() if which(one)]:
            self._give_up(handle, why)

    def _give_up(self, handle: str, why: str) -> None:
        self._released(handle).cancel(RequestCancelled(why))

    def _released(self, handle: str) -> LegacyCall:
        call = self._waiting.pop(handle).call
        call.grown = lambda: None
        call.caller.unread.suspended.release(handle)
        return call

    def _weigh(self, handle: str) -> None:
        call = self._waiting[handle].call
        why = "the calls that wait for the client are too large together"
        call.caller.unread.suspended.keep(handle, call.weight, lambda: self._give_up(handle, why))
