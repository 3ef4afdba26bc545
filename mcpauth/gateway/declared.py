"""What clients declare of themselves, where servers let their lists depend on it."""

from typing import Any

import msgspec

from . import frames
from .bridge.questions import may_be_asked
from .bridge.tasks import APPS
from .frames import Frame

Declared = dict[str, Any]

# What this gateway carries for clients that declare it, and nothing of it.
EVERYTHING: Declared = {
    "roots": {},
    "sampling": {"tools": {}},
    "elicitation": {"form": {}, "url": {}},
    "extensions": {APPS: {"mimeTypes": ["text/html;profile=mcp-app"]}},
}
NOTHING: Declared = {}

_QUESTIONS: tuple[tuple[str, Frame], ...] = (
    ("roots/list", {}),
    ("sampling/createMessage", {}),
    ("elicitation/create", {}),
    ("elicitation/create", {"mode": frames.raw("url")}),
)


def by(initialize: Frame) -> msgspec.Raw:
    """What it declares."""
    return frames.members(initialize.get("params")).get("capabilities", frames.raw(NOTHING))


def everything(capabilities: msgspec.Raw) -> bool | None:
    """Whether it can be asked whatever there is to ask, and shows apps; False of one that can do nothing of that.

    None of others.
    """
    can = {may_be_asked(capabilities, method, params) for method, params in _QUESTIONS}
    can.add(APPS in frames.members(frames.members(capabilities).get("extensions")))
    return can.pop() if len(can) == 1 else None
