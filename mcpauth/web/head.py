"""The lines of heads, each taken apart or put together once, however often it comes.

That was a sixth of what a request costs in Tornado: clients send nearly the same with each of theirs.
"""

from functools import lru_cache
from typing import Any

from tornado.httputil import HTTP_WHITESPACE, HTTPHeaders, HTTPInputError, _normalize_header

# Of the lines: how many are kept, and how long one may be. Tokens and cookies are longer.
KEPT, LONGEST = 4096, 64
# A head with more lines than that is nobody's who comes again.
USUAL = 100
# Tornado keeps names, however long they are.
LONGEST_NAME = 256


class Headers(HTTPHeaders):
    """``Mapping.get`` learns from an exception that something is not there, and most of what we ask for is not."""

    def __init__(self) -> None:
        self._as_list: dict[str, list[str]] = {}
        self._combined_cache: dict[str, str] = {}

    def take(self, name: str, value: str) -> None:
        """As ``add`` does it, of a field that was found good already."""
        if name in self._as_list:
            self._as_list[name].append(value)
        else:
            self._as_list[name] = [value]

    def get(self, name: str, default: Any = None) -> Any:
        values = self._as_list.get(_normalize_header(name))
        return default if values is None else ",".join(values)


def read(lines: str) -> Headers:
    """By Tornado's own rules. Raises HTTPInputError."""
    headers = Headers()
    longest = LONGEST if lines.count("\n") <= USUAL else 0
    for line in lines.split("\n"):
        field = _kept_field(line) if len(line) <= longest else _field(line)
        if field is not None:
            headers.take(*field)
    return headers


def written(headers: HTTPHeaders) -> list[bytes]:
    """Raises ValueError for a field that would be more lines than one."""
    return [
        _kept_line(name, value) if len(value) <= LONGEST else _line(name, value) for name, value in headers.get_all()
    ]


def _field(line: str) -> tuple[str, str] | None:
    """One field, or none.

    ``parse_line`` would look for the end of the line first: for a token that takes longer than all the rest.
    """
    line = line.removesuffix("\r")
    if not line:
        return None
    name, colon, value = line.partition(":")
    if not colon or len(name) > LONGEST_NAME:
        raise HTTPInputError("no colon in header line, or late")
    headers = HTTPHeaders()
    try:
        headers.add(name, value.strip(HTTP_WHITESPACE))
    except HTTPInputError:
        raise HTTPInputError(f"the header {name!a} has a name or a value that cannot be") from None  # It is secret.
    return next(iter(headers.get_all()))


def _line(name: str, value: str) -> bytes:
    line = f"{name}: {value}".encode("latin1")
    if b"\r" in line or b"\n" in line:
        raise ValueError(f"a line break in the header {name}")
    return line + b"\r\n"


_kept_field, _kept_line = lru_cache(KEPT)(_field), lru_cache(KEPT)(_line)
