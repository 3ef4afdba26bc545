"""Results of ours to modern requests, and what we change in a backend's."""

from collections.abc import Callable
from typing import Any

import msgspec

from .. import frames, tools
from ..frames import Frame
from ..listing import KINDS
from ..tools import Tool

# Methods whose results clients may keep for a while.
CACHED = {"server/discover", "resources/read", *(kind.method for kind in KINDS)}

COMPLETE: dict[str, Any] = {"resultType": "complete"}
# Another principal may see other things, and what we keep may have changed.
UNCACHED: dict[str, Any] = {**COMPLETE, "ttlMs": 0, "cacheScope": "private"}


def tool_error(to: msgspec.Raw, reason: str) -> Frame:
    return frames.result(to, {**COMPLETE, **tools.failed(reason)})


def empty_list(to: msgspec.Raw, what: str) -> Frame:
    return frames.result(to, {**UNCACHED, what: []})


def private(frame: Frame) -> Frame:
    """A result that whoever asked may keep for themselves alone: others may be allowed other things here."""
    if "result" not in frame or b"public" not in bytes(frame["result"]):
        return frame
    result = frames.members(frame["result"])
    if frames.text(result.get("cacheScope")) != "public":
        return frame
    return {**frame, "result": frames.raw({**result, "cacheScope": frames.raw("private")})}


def filtered(frame: Frame, keep: Callable[[Tool], bool]) -> Frame:
    """The answer to tools/list with the tools to ``keep``: another principal may see others."""
    if "result" not in frame:
        return frame
    frame = tools.filtered(frame, keep)
    return {**frame, "result": frames.raw({**frames.members(frame["result"]), "cacheScope": frames.raw("private")})}
