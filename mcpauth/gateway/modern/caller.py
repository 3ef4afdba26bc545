"""Who a modern request is from: what decides which child may serve it, and what a remote server is told."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

import msgspec

from .. import frames
from ..load import Unread

Share = Literal["session", "user", "all"]


NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class Caller(NamedTuple):
    """``headers`` are the client's, of those that nothing here knows: a remote server may."""

    subject: str
    grant_id: str
    unread: Unread
    capabilities: msgspec.Raw
    headers: Mapping[str, str] = NO_HEADERS

    def key(self, share: Share) -> tuple[str | bytes, ...]:
        """The same for callers who may have one child together.

        A modern session is a grant and what its client declares. Where more is shared, what a client declares is
        no matter: every request says it anew.
        """
        match share:
            case "all":
                return ()
            case "user":
                return (self.subject,)
            case "session":
                return (self.grant_id, normal(self.capabilities))


def normal(declared: msgspec.Raw) -> bytes:
    """The same for what means the same; what is too odd to be decoded means only itself."""
    try:
        return msgspec.json.encode(frames.value(declared), order="deterministic")
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return bytes(declared)
