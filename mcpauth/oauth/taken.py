"""A step as the web saw it, and what of it may be shown and kept."""

import re
from typing import NamedTuple

from ..models.records import StepKind

LONGEST, LONGEST_CLIENT_ID = 200, 512

# What keys look like: programs whose fields were mixed up send them in places that are shown.
KEYS = re.compile(
    # Behind something else, which may be escaped, and escaped again.
    r"(?:(?<![\w-])|(?<=%[0-9A-Fa-f]{2})|(?<=%25[0-9A-Fa-f]{2}))"
    r"(?:[\w-]{43}|[0-9a-fA-F]{64})(?![\w-])|eyJ[\w-]{8,}\.[\w.-]*"
)
# A query that was made part of the path.
QUERY = re.compile(r"(\?|%3F).*", re.IGNORECASE | re.DOTALL)


class Taken(NamedTuple):
    """A step as the web saw it."""

    kind: StepKind
    status: int
    method: str
    path: str
    address: str
    user_agent: str
    error: str | None
    client_id: str | None
    client_name: str | None
    attempt: str | None
    session_id: str | None

    @property
    def what(self) -> str:
        return f"{self.method} {self.path}"


def cleaned(taken: Taken) -> Taken:
    """With nothing in it that may not be shown and kept."""
    return taken._replace(
        method=_clean(taken.method),
        path=_clean(QUERY.sub("", taken.path)),
        user_agent=_clean(taken.user_agent),
        error=_clean(taken.error or "") or None,
        client_id=_clean(taken.client_id or "", LONGEST_CLIENT_ID) or None,
        client_name=_clean(taken.client_name or "") or None,
    )


def _clean(text: str, longest: int = LONGEST) -> str:
    """No key, nothing that drives a terminal, not too much."""
    cut = KEYS.sub("[secret]", text)[:longest]
    return cut if cut.isprintable() else "".join(c for c in cut if c.isprintable())
