"""The names under which tools are published at /mcp: unique, and never given to another tool."""

import asyncio
import hashlib
import re
from collections.abc import Container, Iterable
from itertools import count

from ..ambient import Ambient
from ..store.published_names import PublishedNameStore, Tool

LENGTH = 64


class PublishedNames:
    """All of them in memory; a new one is on disk before anybody hears of it."""

    def __init__(self, store: PublishedNameStore, ambient: Ambient) -> None:
        self._store, self._ambient = store, ambient
        self._owners: dict[str, Tool] = {}
        self._names: dict[Tool, str] = {}
        self._publishing = asyncio.Lock()

    async def load(self) -> None:
        self._remember(await self._store.list())

    def owner(self, name: str) -> Tool | None:
        return self._owners.get(name)

    async def publish(self, tools: Iterable[Tool]) -> list[str]:
        """The name of each. Of two that are new and would be called the same, the first gets the bare name."""
        tools = list(tools)
        new = [tool for tool in dict.fromkeys(tools) if tool not in self._names]
        if new:
            # Cancelled between disk and memory, the next one would publish them again, and fail.
            await asyncio.shield(self._add(new))
        return [self._names[tool] for tool in tools]

    async def _add(self, tools: list[Tool]) -> None:
        async with self._publishing:
            new: dict[str, Tool] = {}
            taken = set(self._owners)
            for tool in tools:
                if tool not in self._names:
                    name = choose(*tool, taken)
                    taken.add(name)
                    new[name] = tool
            if new:
                await self._store.add(new, self._ambient.now())
                self._remember(new)

    def _remember(self, names: dict[str, Tool]) -> None:
        self._owners |= names
        self._names |= {tool: name for name, tool in names.items()}


def choose(backend: str, tool: str, taken: Container[str]) -> str:
    """Bare while that is free, then with the backend's name, at last with a digest of both."""
    bare = re.sub(r"[^A-Za-z0-9_-]", "_", tool) or "tool"
    digest = _digest(backend, tool)
    for name in (bare, f"{backend}__{bare}"):
        name = name if len(name) <= LENGTH else _cut(name, digest)
        if name not in taken:
            return name
    attempts = (_cut(f"{backend}__{bare}", _digest(backend, tool, str(number))) for number in count())
    return next(name for name in attempts if name not in taken)


def _digest(*about: str) -> str:
    return hashlib.sha256("\0".join(about).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _cut(name: str, digest: str) -> str:
    return f"{name[: LENGTH - len(digest) - 1]}_{digest}"
