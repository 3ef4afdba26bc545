"""What was fetched of what clients publish of themselves."""

from typing import NamedTuple


class Freshness(NamedTuple):
    """``ttl`` None: the answer does not say. Not ``storable``: it must not be written to disk."""

    ttl: int | None
    storable: bool


class Fetched(NamedTuple):
    body: str
    freshness: Freshness


class Copy(NamedTuple):
    """A document as it was fetched."""

    body: str
    fetched_at: int
    fresh_until: int
