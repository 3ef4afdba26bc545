"""JSON-RPC frames: the envelope is decoded, what it carries stays as the bytes that came.

A frame is a dict of the envelope's members, each the raw JSON of its value. Unknown members and unknown
methods therefore pass through untouched, and a body of 16 MiB is not parsed into Python objects.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ..errors import GatewayError, InvalidMessage, ParseError

Frame = dict[str, msgspec.Raw]

# What one message may weigh, in either direction; how many there may be in a batch.
LIMIT, BATCH = 16 * 1024 * 1024, 100
# An id, or a progress token, of a server's.
LONGEST_ID = 1000

# Brackets of a message that may be nested too deeply to be decoded, and what its parts may need more of the stack.
DEEP, SPARE = 500, 100

MEMBERS = frozenset({"jsonrpc", "id", "method", "params", "result", "error"})
# What nearly every message has of members: no two of them are alike, so no more need be asked of one that has no other.
USUAL = MEMBERS | {
    "name", "arguments", "uri", "cursor", "_meta", "progressToken", "requestId",
    "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities", "io.modelcontextprotocol/logLevel",
}  # fmt: skip

_VERSION = msgspec.Raw(b'"2.0"')
_decoder = msgspec.json.Decoder(Frame)
_batch = msgspec.json.Decoder(list[msgspec.Raw])
_text = msgspec.json.Decoder(str)
_integer = msgspec.json.Decoder(int)
_identifier: msgspec.json.Decoder[int | str] = msgspec.json.Decoder(int | str)
_encoder = msgspec.json.Encoder()
_encode = _encoder.encode


def decode(body: bytes) -> Frame:
    """One message. Raises ParseError for what is not JSON, InvalidMessage for what is no JSON-RPC."""
    try:
        if not body.isascii():
            body.decode()  # What stays raw is not looked at again.
        if len(body) > 2 * DEEP and body.count(b"[") + body.count(b"{") > DEEP:
            frame = _decode_below(body, SPARE)
        else:
            frame = _decoder.decode(body)
    except msgspec.ValidationError:
        raise InvalidMessage("the body must be one JSON-RPC message, an object") from None
    except RecursionError:
        raise ParseError("the body is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ParseError("the body is not JSON") from None
    if frame.get("jsonrpc") != _VERSION:
        raise InvalidMessage('"jsonrpc" must be "2.0"')
    if look_alike(frame, MEMBERS):
        raise InvalidMessage("a member is called almost as one that JSON-RPC has")
    return frame


def _decode_below(body: bytes, frames: int) -> Frame:
    """With less of the stack left than there will be for its parts: none of them is nested too deeply then."""
    return _decoder.decode(body) if frames == 0 else _decode_below(body, frames - 1)


def messages(body: bytes) -> list[Frame]:
    """A server's message, or a batch of them. Only 2025-03-26 has batches, and there everybody must take them."""
    if body.lstrip()[:1] != b"[":
        return [_memorable(decode(body))]
    try:
        parts = _batch.decode(body)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidMessage("the message is no JSON-RPC") from None
    if len(parts) > BATCH:
        raise InvalidMessage(f"a batch may have {BATCH} messages at most")
    return [_memorable(decode(bytes(part))) for part in parts]


def _memorable(frame: Frame) -> Frame:
    """What a server asks is remembered by its id: as part of the message that would keep all of it."""
    if "method" in frame and "id" in frame:
        if len(frame["id"]) > LONGEST_ID:
            raise InvalidMessage(f"an id may have {LONGEST_ID} bytes at most")
        frame["id"] = frame["id"].copy()
    return frame


def weight(frame: Frame) -> int:
    """Nearly what it has in bytes."""
    return sum(map(len, frame.values()))


def look_alike(given: Frame, names: frozenset[str]) -> bool:
    """Whether a member would be taken for one of the ``names`` by those who read without regard to case.

    Some servers do, and might act by another member than the one that was judged.
    """
    if given.keys() <= USUAL and names <= USUAL:
        return False
    others = given.keys() - names
    return bool(others) and not {name.casefold() for name in names}.isdisjoint(map(str.casefold, others))


def encode(frame: Mapping[str, Any]) -> bytes:
    """One line: raw values that came with line breaks between their tokens are made compact."""
    line = _encode(frame)
    if b"\n" in line or b"\r" in line:
        # Inside a string JSON has no raw line break, so these are white space and may go.
        line = msgspec.json.format(line, indent=-1)
    return line


def encode_line(frame: Mapping[str, Any]) -> bytearray:
    """``encode`` with the line's end, made in place: a body is not copied for one byte more."""
    line = bytearray()
    _encoder.encode_into(frame, line)
    if b"\n" in line or b"\r" in line:
        line = bytearray(msgspec.json.format(bytes(line), indent=-1))
    line += b"\n"
    return line


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def value(member: msgspec.Raw) -> Any:
    return msgspec.json.decode(member)


def members(member: msgspec.Raw | None) -> Frame:
    """The members of an object, each raw; none of what is absent or is no object."""
    if member is None:
        return {}
    try:
        return _decoder.decode(member)
    except msgspec.DecodeError:
        return {}


def text(member: msgspec.Raw | None) -> str | None:
    """The string, or None of what is absent or is no string."""
    if member is None:
        return None
    try:
        return _text.decode(member)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def integer(member: msgspec.Raw | None) -> int | None:
    """The integer, or None of what is absent or is none: 1e999 is a number to JSON, but to nobody else."""
    if member is None:
        return None
    try:
        return _integer.decode(member)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def identifier(member: msgspec.Raw) -> int | str:
    """An id by type and value: 1 and "1" differ, "a" and its escaped form do not."""
    try:
        return _identifier.decode(member)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidMessage('"id" must be a string or an integer') from None


def request_id(frame: Frame) -> msgspec.Raw | None:
    """The id of a message that has one. Raises InvalidMessage for what cannot be one."""
    if "id" not in frame:
        return None
    identifier(frame["id"])
    return frame["id"]


def request(number: int | str, method: str, params: Any) -> Frame:
    return {"jsonrpc": _VERSION, "id": raw(number), "method": raw(method), "params": raw(params)}


def notification(method: str, params: Any = None) -> Frame:
    frame = {"jsonrpc": _VERSION, "method": raw(method)}
    return frame if params is None else {**frame, "params": raw(params)}


def result(to: msgspec.Raw, value: Any) -> Frame:
    return {"jsonrpc": _VERSION, "id": to, "result": raw(value)}


def is_ping(frame: Frame) -> bool:
    """Whether the sender asks if there is somebody: whoever hears it answers, for it is not about the client behind."""
    return "id" in frame and text(frame.get("method")) == "ping"


def failure(to: msgspec.Raw | None, error: GatewayError) -> Frame:
    about: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.data is not None:
        about["data"] = error.data
    return {"jsonrpc": _VERSION, "id": raw(None) if to is None else to, "error": raw(about)}


def error_code(frame: Frame) -> int | None:
    """Of a response that is an error."""
    if "error" not in frame:
        return None
    return integer(members(frame["error"]).get("code"))
