"""Where a page of a merged list ends: a place in the list of one backend, opaque to clients."""

import base64
import binascii

import msgspec

from ..errors import InvalidParameters
from . import frames
from .listing import Kind

LONGEST = 200


class Place(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    member: str
    backend: str
    position: int


_decoder = msgspec.json.Decoder(Place)


def write(kind: Kind, backend: str, position: int) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(Place(kind.member, backend, position))).decode()


def read(kind: Kind, cursor: msgspec.Raw | None) -> tuple[str, int] | None:
    """Backend and position; None where the list begins. Raises InvalidParameters for what was never given out."""
    if cursor is None or bytes(cursor) == b"null":
        return None
    text = frames.text(cursor)
    if text is not None and len(text) <= LONGEST:
        try:
            place = _decoder.decode(base64.b64decode(text, altchars=b"-_", validate=True))
        except (msgspec.DecodeError, binascii.Error, ValueError):
            place = None
        if place is not None and place.member == kind.member and place.position >= 0:
            return place.backend, place.position
    raise InvalidParameters("unknown cursor: list from the beginning")
