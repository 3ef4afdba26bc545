"""The headers that repeat parts of a modern request, for whoever routes by them: they must say what the body says."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping

from ...errors import HeaderMismatch
from .. import frames
from ..eras import VERSION
from ..frames import Frame
from .caller import NO_HEADERS
from .envelope import Envelope

# Of the methods that ask for something by name: where the name is.
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}

# Said of every request by its body, and what only the older era has.
OURS = {"mcp-protocol-version", "mcp-method", "mcp-name", "mcp-session-id"}

# What a header can carry as it is.
PLAIN = re.compile(r"[!-~](?:[ -~]*[!-~])?")
SENTINEL = re.compile(r"=\?base64\?(?P<payload>.*)\?=")


class Headers:
    """Those of MCP, case-insensitive by name; one that came twice is never read as either of them."""

    def __init__(self, given: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        self._repeated: set[str] = set()
        for name, value in given:
            if name[0] in "Mm" and name[:4].lower() == "mcp-":
                name = name.lower()
                if name in self._values:
                    self._repeated.add(name)
                self._values[name] = value.strip(" \t")

    def one(self, name: str) -> str | None:
        """Raises HeaderMismatch when there are several."""
        key = name.lower()
        if key in self._repeated:
            raise HeaderMismatch(f"{name} is there more than once")
        return self._values.get(key)

    def decoded(self, name: str) -> str | None:
        """As ``one``, out of the Base64 that values take which are no plain ASCII."""
        value = self.one(name)
        return None if value is None else _decode(name, value)

    def others(self) -> Mapping[str, str]:
        """`Mcp-*` that nothing here knows, in lower case: for a server that may. Raises HeaderMismatch."""
        unknown = self._values.keys() - OURS
        if not unknown:
            return NO_HEADERS
        found = {name: self.one(name) for name in unknown}
        return {name: value for name, value in found.items() if value is not None and PLAIN.fullmatch(value)}


def repeating(frame: Frame) -> dict[str, str]:
    """What a request is sent with; nothing for one that is not of this era."""
    params = frames.members(frame.get("params"))
    version = frames.text(frames.members(params.get("_meta")).get(VERSION))
    method = frames.text(frame["method"])
    if version is None or method is None:
        return {}
    found = {"MCP-Protocol-Version": encoded(version), "Mcp-Method": encoded(method)}
    name = frames.text(params.get(NAMED.get(method, "")))
    if name is not None:
        found["Mcp-Name"] = encoded(name)
    return found


def encoded(value: str) -> str:
    """In Base64 when it is no plain ASCII, or would be taken for Base64."""
    if PLAIN.fullmatch(value) and not (value[0] == "=" and SENTINEL.fullmatch(value)):
        return value
    return f"=?base64?{base64.b64encode(value.encode()).decode()}?="


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
    sentinel = SENTINEL.fullmatch(value) if value[:1] == "=" else None
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
