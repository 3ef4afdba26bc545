"""Which generation of the protocol a request speaks."""

from . import frames
from .frames import Frame

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
NEWEST_LEGACY = LEGACY[-1]

ENVELOPE = "io.modelcontextprotocol/protocolVersion"


def is_modern(frame: Frame, protocol_version: str | None, session_id: str | None) -> bool:
    """By the MCP-Protocol-Version header; without header and session, by what only modern clients send."""
    if protocol_version is not None:
        return protocol_version not in LEGACY
    if session_id is not None:
        return False
    if frames.text(frame.get("method")) == "server/discover":
        return True
    return ENVELOPE in frames.members(frames.members(frame.get("params")).get("_meta"))
