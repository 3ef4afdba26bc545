"""The headers that repeat parts of a modern request, for whoever routes by them: they must say what the body says."""

import base64
import binascii
import re
from collections.abc import Iterable

from ...errors import HeaderMismatch
from .. import frames
from .envelope import Envelope

# Of the methods that ask for something by name: where the name is.
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

SENTINEL = re.compile(r"=\?base64\?(?P<payload>.*)\?=")


class Headers:
    """Case-insensitive by name, each value as it came; one that came twice is never read as either of them."""

    def __init__(self, given: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in given:
            self._values.setdefault(name.lower(), []).append(value.strip(" \t"))

    def one(self, name: str) -> str | None:
        """Raises HeaderMismatch when there are several."""
        values = self._values.get(name.lower(), [])
        if len(values) > 1:
            raise HeaderMismatch(f"{name} is there more than once")
        return values[0] if values else None

    def decoded(self, name: str) -> str | None:
        """As ``one``, out of the Base64 that values take which are no plain ASCII."""
        value = self.one(name)
        return None if value is None else _decode(name, value)


def check(headers: Headers, method: str, envelope: Envelope) -> None:
    """Raises HeaderMismatch."""
    if headers.one("MCP-Protocol-Version") != envelope.version:
        raise HeaderMismatch("MCP-Protocol-Version is not the version that the request's _meta names")
    if headers.one("Mcp-Method") != method:
        raise HeaderMismatch("Mcp-Method is not the request's method")
    key = NAMED.get(method)
    if key is not None and headers.decoded("Mcp-Name") != frames.text(envelope.params.get(key)):
        raise HeaderMismatch(f'Mcp-Name is not the request\'s "{key}"')


def _decode(name: str, value: str) -> str:
    sentinel = SENTINEL.fullmatch(value)
    if sentinel is None:
        return value
    payload = sentinel["payload"]
    try:
        decoded = base64.b64decode(payload, validate=True)
        # One text has one form only: what decodes to the same by luck (other padding bits) is refused.
        if base64.b64encode(decoded).decode() == payload:
            return decoded.decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        pass
    raise HeaderMismatch(f"{name} is no proper Base64 of UTF-8")
