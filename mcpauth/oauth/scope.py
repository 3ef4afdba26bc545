"""Scopes: what a client may ask for, and what it gets (RFC 6749 §3.3)."""

from collections.abc import Iterable

MEANINGS = {
    "mcp": "Use the servers and tools that you tick",
    "mcp:read": "Use only those tools that change nothing",
    "user:email": "See your name and email address",
    "offline_access": "Stay connected when you are away",
}

# Protected-resource metadata and challenges name the least that is needed; clients copy them as they are.
RESOURCE_SCOPES = ("mcp",)
SERVER_SCOPES = ("mcp", "mcp:read", "user:email", "offline_access")


def meaning(scope: str) -> str:
    """What ``scope`` means, in words for the consent page."""
    return MEANINGS.get(scope) or f"Use the server {scope.removeprefix('mcp:')}"


def effective(scopes: str) -> list[str]:
    """Of those, what adds something: ``mcp`` implies the other ``mcp…`` ones, which many clients ask for beside it."""
    held = scopes.split()
    return [one for one in held if one == "mcp" or "mcp" not in held or not is_mcp(one)]


def is_mcp(scope: str) -> bool:
    return scope == "mcp" or scope.startswith("mcp:")


def all_of(backends: Iterable[str]) -> list[str]:
    """Every scope there is."""
    return [*SERVER_SCOPES, *(f"mcp:{backend}" for backend in backends)]


def resolve(requested: str, backends: Iterable[str]) -> str:
    """What is asked for, of what there is: unknown scopes are dropped, and some ``mcp…`` is always there."""
    known = all_of(backends)
    asked = set(requested.split())
    wanted = [scope for scope in known if scope in asked]
    if not any(map(is_mcp, wanted)):
        wanted.insert(0, "mcp")
    return " ".join(wanted)


def narrow(requested: str, granted: str, backends: Iterable[str]) -> str:
    """What a refresh gets: asked for and granted; all that was granted when no ``mcp…`` scope is left."""
    asked, held = set(requested.split()), granted.split()
    kept = [scope for scope in held if scope in asked]
    if "mcp" in held:
        # It implies the others, so a part of it may be asked for by its own name.
        kept += [scope for scope in all_of(backends) if is_mcp(scope) and scope in asked and scope not in held]
    if not any(map(is_mcp, kept)):
        return granted
    return " ".join(kept)


def covers(granted: str, scopes: Iterable[str]) -> bool:
    """Whether everything in ``scopes`` was granted, ``mcp`` implying the other ``mcp…`` scopes."""
    held = set(granted.split())
    return all(scope in held or ("mcp" in held and is_mcp(scope)) for scope in scopes)
