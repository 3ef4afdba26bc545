"""That a resource has changed, as it is told to whoever follows it."""

from collections.abc import Iterable

UPDATED = "notifications/resources/updated"


def concerns(uri: str, followed: Iterable[str]) -> bool:
    """Whether it is one of those, or a part of one."""
    return any(uri == own or uri.startswith(own.rstrip("/") + "/") for own in followed)
