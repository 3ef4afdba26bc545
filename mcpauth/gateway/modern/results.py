"""Results of ours to modern requests, and what we change in a backend's."""

from collections.abc import Callable
from typing import Any

import msgspec

from .. import frames, tools
from ..frames import Frame
from ..tools import Tool

COMPLETE: dict[str, Any] = {"resultType": "complete"}
# Another principal may see other things, and what we keep may have changed.
UNCACHED: dict[str, Any] = {**COMPLETE, "ttlMs": 0, "cacheScope": "private"}


def tool_error(to: msgspec.Raw, reason: str) -> Frame:
    return frames.result(to, {**COMPLETE, **tools.failed(reason)})


def empty_list(to: msgspec.Raw, what: str) -> Frame:
    return frames.result(to, {**UNCACHED, what: []})


def filtered(frame: Frame, keep: Callable[[Tool], bool]) -> Frame:
    """The answer to tools/list with the tools to ``keep``: another principal may see others."""
    if "result" not in frame:
        return frame
    frame = tools.filtered(frame, keep)
    return {**frame, "result": frames.raw({**frames.members(frame["result"]), "cacheScope": frames.raw("private")})}
