"""`requestState`: what a client brings back to go on with a call that waits for it."""

import hashlib

import msgspec
from cryptography.fernet import Fernet, InvalidToken

from ...ambient import Ambient
from ...errors import InvalidParameters
from .. import frames
from ..frames import Frame
from ..modern.caller import Caller, normal

# How long a server's call waits for the client.
TTL = 300

# What may be another in the retry of the same request.
OWN = {"_meta", "inputResponses", "requestState"}


class CallAgain(InvalidParameters):
    """Nothing waits for this any more: the client begins anew, and nothing runs a second time."""

    def __init__(self) -> None:
        super().__init__("requestState is not known (any more): call again, without requestState and inputResponses")


class RequestStates:
    """Encrypted and authenticated; bound to a time, to who may bring it back, and to the request it is for.

    The key is this process's own, as are the calls that wait.
    """

    def __init__(self, ambient: Ambient) -> None:
        self._fernet, self._ambient = Fernet(Fernet.generate_key()), ambient

    def seal(self, handle: str, bound_to: bytes) -> str:
        return self._fernet.encrypt_at_time(bound_to + handle.encode(), self._ambient.now()).decode()

    def unseal(self, state: str, bound_to: bytes) -> str:
        """The handle. Raises CallAgain."""
        try:
            opened = self._fernet.decrypt_at_time(state, TTL, self._ambient.now())
        except (InvalidToken, ValueError):
            raise CallAgain from None
        if not opened.startswith(bound_to):
            raise CallAgain
        return opened.removeprefix(bound_to).decode()


def binding(caller: Caller, frame: Frame) -> bytes:
    """A digest of who asks, and for what."""
    params = frames.members(frame.get("params"))
    asked = {key: value for key, value in params.items() if key not in OWN}
    parts = [caller.subject, caller.grant_id, frames.text(frame["method"]), normal(frames.raw(asked))]
    return hashlib.sha256(msgspec.json.encode(parts)).digest()
