"""Which generation of the protocol a request speaks."""

from . import frames
from .frames import Frame

LEGACY = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
NEWEST_LEGACY = LEGACY[-1]
MODERN = ("2026-07-28",)

# The keys of `_meta` that are the protocol's own.
VERSION = "io.modelcontextprotocol/protocolVersion"
CLIENT = "io.modelcontextprotocol/clientInfo"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"
SERVER = "io.modelcontextprotocol/serverInfo"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"

# What a subscription begins with.
ACKNOWLEDGED = "notifications/subscriptions/acknowledged"


def is_modern_version(protocol_version: str | None) -> bool:
    """Of the MCP-Protocol-Version header."""
    return protocol_version is not None and protocol_version not in LEGACY


def is_modern(frame: Frame, protocol_version: str | None, session_id: str | None) -> bool:
    """By the MCP-Protocol-Version header; without header and session, by what only modern clients send."""
    if protocol_version is not None:
        return is_modern_version(protocol_version)
    if session_id is not None:
        return False
    return frames.text(frame.get("method")) == "server/discover" or has_envelope(frame)


def has_envelope(frame: Frame) -> bool:
    return VERSION in frames.members(frames.members(frame.get("params")).get("_meta"))
