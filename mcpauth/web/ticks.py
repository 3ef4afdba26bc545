"""The tick boxes of the consent page: what they show, and what they come back with."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..gateway.catalogue import BackendState
from ..models.records import Grant

# The box beside those of the servers: what is added later too.
LATER = "*"

Servers = Mapping[str, frozenset[str] | None]


def show(offers: Sequence[BackendState], before: Grant | None) -> list[dict[str, Any]]:
    """The servers for the page, ticked as in the grant ``before``; all of them when there is none."""
    return [_server(offer, before) for offer in offers]


def _server(offer: BackendState, before: Grant | None) -> dict[str, Any]:
    servers = None if before is None else before.servers
    had = servers is None or offer.name in servers
    tools = None if servers is None else servers.get(offer.name)
    return {
        "name": offer.name,
        "title": offer.name,
        "state": offer.state if offer.state == "ok" else offer.reason or "has not answered yet",
        "ticked": had,
        "tools": [
            {
                "name": tool.name,
                "title": tool.title,
                "description": tool.description,
                "read_only": tool.read_only,
                "destructive": tool.destructive,
                # Of a server that is ticked only now, all are.
                "ticked": tools is None or tool.name in tools,
            }
            for tool in offer.tools
        ],
    }


def later(before: Grant | None) -> bool:
    """Whether the box for what is added later is ticked."""
    return before is None or before.servers is None


def is_wider(servers: Sequence[Mapping[str, Any]], before: Grant | None) -> bool:
    """Whether the page shows something that is not ticked."""
    boxes = [box["ticked"] for server in servers for box in (server, *server["tools"])]
    return not all([*boxes, later(before)])


def read(
    offers: Sequence[BackendState], servers: Sequence[str], tools: Sequence[str], shown: Sequence[str]
) -> Servers | None:
    """What was ticked; None for everything, with what is added later.

    Held against what the page showed (``shown``), not against what the server lists by now: of a server with
    all the shown tools ticked, the whole is meant, of any other exactly the ticked ones.
    """
    ticked: dict[str, frozenset[str] | None] = {}
    for offer in offers:
        if offer.name in servers:
            prefix = f"{offer.name}/"
            boxes = {one.removeprefix(prefix) for one in shown if one.startswith(prefix)}
            chosen = frozenset(name for name in boxes if prefix + name in tools)
            ticked[offer.name] = None if chosen == boxes else chosen
    whole = all(ticked.get(offer.name, frozenset()) is None for offer in offers)
    return None if LATER in servers and whole else ticked
