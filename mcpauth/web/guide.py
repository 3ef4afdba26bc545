"""How each client is connected, for the start page: the lines of its profile, read for a template."""

import re
from collections.abc import Iterator, Sequence

from ..oauth.client_profiles import ClientProfile

COPIED = "$ "
MARKED = re.compile(r"\*([^*]+)\*|`([^`]+)`")


def is_copied(line: str) -> bool:
    return line.startswith(COPIED)


def copied(line: str, mcp_url: str) -> str:
    return line.removeprefix(COPIED).replace("{url}", mcp_url)


def steps(profile: ClientProfile) -> Sequence[str]:
    """The numbered ones."""
    return [line for line in profile.guide if profile.numbered and not is_copied(line)]


def lines(profile: ClientProfile) -> Sequence[str]:
    """All others."""
    return [line for line in profile.guide if not profile.numbered or is_copied(line)]


def parts(line: str) -> Iterator[tuple[str, str]]:
    """The text with what is *bold* and what is `code` in it."""
    position = 0
    for match in MARKED.finditer(line):
        yield "text", line[position : match.start()]
        yield ("bold", match[1]) if match[1] else ("code", match[2])
        position = match.end()
    yield "text", line[position:]
