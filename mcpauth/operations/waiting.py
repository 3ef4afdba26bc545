"""What the owner is told of a client that waits: by commands, and on pages."""

from typing import Any


def told(waiting: dict[str, Any]) -> str:
    """What a client that waits says of itself comes last: a stranger wrote it."""
    hosts = f", and its answers go to {waiting['hosts']}" if waiting["hosts"] else ""
    return (
        f"{waiting['asked_by'] or 'Somebody'} wants to connect an app that you have not let in yet. "
        f"It calls itself \u201c{waiting['name']}\u201d{hosts}."
    )
