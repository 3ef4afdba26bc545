"""What client and server have told each other in a legacy MCP session: what a new backend session must hear again."""

from typing import Self

import msgspec

from ..errors import InvalidMessage, InvalidParameters
from . import declared, frames
from .frames import Frame
from .listing import ANNOUNCED

# Of what a client may begin with, of all that is kept on disk of one session, and of what its client follows.
LARGEST, SIZE = 1024 * 1024, 256 * 1024
SUBSCRIPTIONS, URIS = 1000, 64 * 1024

# Requests that change what a backend session is, beyond their answer.
SUBSCRIBE, UNSUBSCRIBE, SET_LEVEL = "resources/subscribe", "resources/unsubscribe", "logging/setLevel"
LASTING = frozenset({SUBSCRIBE, UNSUBSCRIBE, SET_LEVEL})


class _Kept(msgspec.Struct):
    initialize: Frame
    greeting: Frame
    log_level: str | None
    subscribed: dict[str, str]


_kept = msgspec.json.Decoder(_Kept)


class Handshake:
    """``initialize`` is the client's own frame, ``greeting`` what the client was told: version and capabilities.

    ``subscribed`` has the backend of each resource that the client follows.
    """

    def __init__(self, initialize: Frame) -> None:
        """Raises InvalidMessage of one that is too large to be remembered."""
        if sum(map(len, initialize.values())) > LARGEST:
            raise InvalidMessage(f"initialize may have {LARGEST // 1024**2} MiB at most")
        # Copies: a part of a message keeps all of it.
        self.initialize = {name: value.copy() for name, value in initialize.items()}
        self.greeting: Frame = {}
        self.log_level: str | None = None
        self.subscribed: dict[str, str] = {}

    @classmethod
    def decode(cls, text: str) -> Self:
        kept = _kept.decode(text)
        handshake = cls(kept.initialize)
        handshake.greeting, handshake.log_level, handshake.subscribed = kept.greeting, kept.log_level, kept.subscribed
        return handshake

    def encode(self) -> str | None:
        """None of what is too large to be kept."""
        kept = _Kept(self.initialize, self.greeting, self.log_level, self.subscribed)
        text = msgspec.json.encode(kept)
        return text.decode() if len(text) <= SIZE else None

    @property
    def declared(self) -> msgspec.Raw:
        """What the client declares of itself."""
        return declared.by(self.initialize)

    @property
    def version(self) -> str:
        return frames.text(self.greeting.get("protocolVersion")) or ""

    @property
    def capabilities(self) -> Frame:
        return frames.members(self.greeting.get("capabilities"))

    def told(self, greeting: Frame) -> None:
        """The client has this answer to initialize."""
        self.greeting = {key: greeting[key] for key in ("protocolVersion", "capabilities") if key in greeting}

    def agrees(self, greeting: Frame) -> bool:
        """Whether the client was told what ``greeting`` says, where it matters."""
        return agree(self.greeting, greeting)

    def make_room(self, uri: str) -> None:
        """Raises InvalidParameters when the client may not follow one more."""
        if uri not in self.subscribed and (
            len(self.subscribed) >= SUBSCRIPTIONS or sum(map(len, self.subscribed)) + len(uri) > URIS
        ):
            raise InvalidParameters("this session has as many subscriptions as it may have")

    def changes(self) -> list[Frame]:
        """What the client is told when any of the server's lists may have changed."""
        return [
            frames.notification(kind.list_changed)
            for kind in ANNOUNCED.values()
            if bytes(frames.members(self.capabilities.get(kind.capability)).get("listChanged", b"")) == b"true"
        ]


def agree(one: Frame, other: Frame) -> bool:
    """Whether two servers are the same to a client, by what they said to initialize, or to server/discover."""
    return all(_same(one.get(key), other.get(key)) for key in ("protocolVersion", "capabilities"))


def _same(one: msgspec.Raw | None, other: msgspec.Raw | None) -> bool:
    """Whether both mean the same; of what is too odd to be decoded, whether it is written the same."""
    if one is None or other is None:
        return one is other
    try:
        return bytes(one) == bytes(other) or bool(frames.value(one) == frames.value(other))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
