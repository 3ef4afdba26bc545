"""What a modern request says of itself in ``params._meta``."""

from collections.abc import Mapping

import msgspec

from ...errors import InvalidParameters, UnsupportedVersion
from .. import frames
from ..eras import CAPABILITIES, LOG_LEVEL, VERSION
from ..frames import Frame
from .caller import NO_HEADERS

DECLARED = 64 * 1024


class Envelope(msgspec.Struct):
    """``params`` are the request's own, once decoded; ``capabilities`` are what the client declares of itself.

    ``headers`` are not of the body: those of the client's that nothing here knows.
    """

    params: Frame
    meta: Frame
    version: str
    capabilities: msgspec.Raw
    headers: Mapping[str, str] = NO_HEADERS

    def require(self, served: list[str]) -> None:
        """Raises UnsupportedVersion."""
        if self.version not in served:
            raise UnsupportedVersion(served, self.version)


def read(frame: Frame) -> Envelope:
    """Raises InvalidParameters, naming what is missing."""
    params = frames.members(frame.get("params"))
    meta = frames.members(params.get("_meta"))
    if VERSION not in meta or CAPABILITIES not in meta:
        missing = " and ".join(key for key in (VERSION, CAPABILITIES) if key not in meta)
        raise InvalidParameters(f"params._meta must have {missing}")
    version = frames.text(meta[VERSION])
    if version is None:
        raise InvalidParameters(f"{VERSION} must be a string")
    capabilities = bytes(meta[CAPABILITIES])
    if capabilities[:1] != b"{":
        raise InvalidParameters(f"{CAPABILITIES} must be an object")
    if len(capabilities) > DECLARED:
        raise InvalidParameters(f"{CAPABILITIES} may have {DECLARED // 1024} KiB at most")
    # A copy: sessions remember it, and would keep the whole message with it.
    return Envelope(params, meta, version, msgspec.Raw(capabilities))


def without_logs(frame: Frame) -> Frame:
    """The request, without the wish for log messages."""
    params = frames.members(frame.get("params"))
    meta = frames.members(params.get("_meta"))
    if meta.pop(LOG_LEVEL, None) is None:
        return frame
    return {**frame, "params": frames.raw({**params, "_meta": meta})}
