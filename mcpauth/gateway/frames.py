"""JSON-RPC frames: the envelope is decoded, what it carries stays as the bytes that came.

A frame is a dict of the envelope's members, each the raw JSON of its value. Unknown members and unknown
methods therefore pass through untouched, and a body of 16 MiB is not parsed into Python objects.
"""

from typing import Any

import msgspec

from ..errors import InvalidMessage, ParseError

Frame = dict[str, msgspec.Raw]

_decoder = msgspec.json.Decoder(Frame)
_encode = msgspec.json.encode


def decode(body: bytes) -> Frame:
    """One message. Raises ParseError for what is not JSON, InvalidMessage for what is no JSON-RPC."""
    try:
        frame = _decoder.decode(body)
    except msgspec.ValidationError:
        raise InvalidMessage("the body must be one JSON-RPC message, an object") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("the body is not JSON") from None
    if bytes(frame.get("jsonrpc", b"")) != b'"2.0"':
        raise InvalidMessage('"jsonrpc" must be "2.0"')
    return frame


def encode(frame: Frame) -> bytes:
    """One line: raw values that came with line breaks between their tokens are made compact."""
    line = _encode(frame)
    if b"\n" in line or b"\r" in line:
        # Inside a string JSON has no raw line break, so these are white space and may go.
        line = msgspec.json.format(line, indent=-1)
    return line


def raw(value: Any) -> msgspec.Raw:
    return msgspec.Raw(_encode(value))


def value(member: msgspec.Raw) -> Any:
    return msgspec.json.decode(member)
