"""How long an answer may be kept, as its headers say (RFC 9111 §4.2, §5.2.2)."""

from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from ..models.documents import Freshness


def freshness(headers: Mapping[str, str]) -> Freshness:
    directives = _directives(headers.get("Cache-Control", ""))
    storable = "no-store" not in directives
    if "no-cache" in directives or not storable:
        return Freshness(0, storable)
    given = directives.get("max-age")
    if given is not None:
        ttl = _seconds(given)
    elif "Expires" in headers:
        ttl = _between(headers.get("Date", ""), headers["Expires"])
    else:
        return Freshness(None, storable)
    return Freshness(max(0, ttl - _seconds(headers.get("Age", "0"))), storable)


def _directives(text: str) -> dict[str, str]:
    parts = (part.partition("=") for part in text.lower().split(","))
    return {name.strip(): value.strip().strip('"') for name, _, value in parts}


def _seconds(text: str) -> int:
    return int(text[:9]) if text.isascii() and text.isdigit() else 0


def _between(date: str, expires: str) -> int:
    """RFC 9111 §5.3: what cannot be read has expired."""
    first, last = _date(date), _date(expires)
    return int((last - first).total_seconds()) if first and last else 0


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    # Without a zone it is not the date of RFC 9110.
    return date if date.tzinfo else None
