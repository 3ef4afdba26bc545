"""The tick boxes of the consent page: what they show, and what they come back with."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..gateway.inquiry import BackendState
from ..gateway.tools import Tool
from ..models.records import Grant

# The box beside those of the servers: what is added later too.
LATER = "*"

# No app takes a longer name of a tool, so none gets a box.
NAME = 128
PLAIN = re.compile(r"[A-Za-z0-9_.-]*")
# Bytes of the form: what all boxes may have together, and what one is reckoned with, if its name is plain. It is room
# for some thousands of tools, and what one server lists is never too much for the others.
ROOM, BOX = 2_000_000, 200
MOST = ROOM // BOX

# What one server may say on the page: letters of a title, and of all descriptions together.
TITLE, DESCRIPTIONS = 128, 1024 * 1024

# Of a tool that was shown, the page sends back so many digits.
DIGITS = 8

Servers = Mapping[str, frozenset[str] | None]


def show(offers: Sequence[BackendState], before: Grant | None) -> list[dict[str, Any]]:
    """The servers for the page, ticked as in the grant ``before``; all of them when there is none."""
    boxes = _boxes(offers)
    return [_server(offer, boxes[offer.name], before) for offer in offers]


def _boxes(offers: Sequence[BackendState]) -> dict[str, list[Tool]]:
    """The tools that get a box of their own. Where there is no room for all, the servers with most get none."""
    boxes = {offer.name: [tool for tool in offer.tools if _is_usable(tool.name)] for offer in offers}
    sizes = {server: sum(_size(tool.name) for tool in tools) for server, tools in boxes.items()}
    left = ROOM
    for server in sorted(sizes, key=lambda server: sizes[server]):
        left -= sizes[server]
        if left < 0:
            boxes[server] = []
    return boxes


def _is_usable(name: str) -> bool:
    """Whether apps may be able to call it; what cannot be printed, a form does not send back as it was."""
    return 0 < len(name) <= NAME and name.isprintable()


def _size(name: str) -> int:
    return BOX if PLAIN.fullmatch(name) else BOX + 3 * len(name.encode())


def _server(offer: BackendState, boxes: Sequence[Tool], before: Grant | None) -> dict[str, Any]:
    servers = None if before is None else before.servers
    had = servers is None or offer.name in servers
    tools = None if servers is None else servers.get(offer.name)
    return {
        "name": offer.name,
        "title": offer.name,
        "state": offer.state if offer.state == "ok" else offer.reason or "has not answered yet",
        # Without boxes it is all or nothing, and a part of it was not all.
        "ticked": had and (tools is None or bool(boxes)),
        "shown": f"{offer.name}/{''.join(_digits(tool.name) for tool in boxes)}",
        "note": _note(offer, boxes),
        "tools": [
            {
                "name": tool.name,
                "title": _cut(tool.title, TITLE),
                "description": _cut(tool.description, DESCRIPTIONS // len(boxes)),
                "read_only": tool.read_only,
                "destructive": tool.destructive,
                # Of a server that is ticked only now, all are.
                "ticked": tools is None or tool.name in tools,
            }
            for tool in boxes
        ],
    }


def _note(offer: BackendState, boxes: Sequence[Tool]) -> str:
    """What the person should know of the tools without a box."""
    without = len(offer.tools) - len(boxes)
    if not without:
        return ""
    if boxes:
        return f"{without} more, with names that apps do not take, come only with all of these."
    crowd = any(_is_usable(tool.name) for tool in offer.tools)
    why = f"{without} are too many to choose from" if crowd else "apps do not take their names"
    return f"All of its tools or none: {why}."


def _digits(tool: str) -> str:
    return hashlib.sha256(tool.encode()).hexdigest()[:DIGITS]


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}\u2026"


def later(before: Grant | None) -> bool:
    """Whether the box for what is added later is ticked."""
    return before is None or before.servers is None


def is_wider(servers: Sequence[Mapping[str, Any]], before: Grant | None) -> bool:
    """Whether the page shows something that is not ticked."""
    boxes = [box["ticked"] for server in servers for box in (server, *server["tools"])]
    return not all([*boxes, later(before)])


def read(
    offers: Sequence[BackendState],
    servers: Collection[str],
    tools: Sequence[str],
    shown: Sequence[str],
    before: Grant | None = None,
) -> Servers | None:
    """What was ticked; None for everything, with what is added later.

    Held against what the page showed (``shown``), not against what the server lists by now: of a server with
    all the shown tools ticked, the whole is meant, of any other exactly the ticked ones. These alone, too, where they
    were ticked in the grant ``before``: that the others are not shown any more is nobody's choice.
    """
    boxes = {server: digits for server, _, digits in (one.partition("/") for one in shown)}
    chosen: dict[str, set[str]] = {}
    for server, _, tool in (one.partition("/") for one in tools):
        chosen.setdefault(server, set()).add(tool)
    had: Servers = {} if before is None or before.servers is None else before.servers
    ticked = {
        offer.name: _chosen(chosen.get(offer.name, set()), boxes.get(offer.name, ""), had.get(offer.name))
        for offer in offers
        if offer.name in servers
    }
    whole = all(ticked.get(offer.name, frozenset()) is None for offer in offers)
    return None if LATER in servers and whole else ticked


def _chosen(tools: set[str], shown: str, had: frozenset[str] | None) -> frozenset[str] | None:
    """Of the tools those that were ``shown``; None when those are all, and not only a part that they ``had``."""
    digits = {shown[begin : begin + DIGITS] for begin in range(0, len(shown), DIGITS)}
    chosen = frozenset(tool for tool in tools if _digits(tool) in digits)
    if had and chosen and chosen <= had:
        return chosen
    return None if len(chosen) * DIGITS == len(shown) else chosen
