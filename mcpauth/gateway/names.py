"""The names under which tools and prompts are published at /mcp: unique, and never given to another."""

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Container, Iterable
from itertools import count

from .. import log
from ..ambient import Ambient
from ..store.published_names import Owner, PublishedKind, PublishedNameStore

logger = logging.getLogger(__name__)

LENGTH = 64
# A name is kept for good, so a server that thinks of new ones all the time must come to an end.
PER_BACKEND = 5000


class PublishedNames:
    def __init__(self, store: PublishedNameStore, ambient: Ambient) -> None:
        self.tools, self.prompts = Names("tool", store, ambient), Names("prompt", store, ambient)

    async def load(self) -> None:
        await self.tools.load()
        await self.prompts.load()


class Names:
    """All of one kind in memory; a new one is on disk before anybody hears of it."""

    def __init__(self, kind: PublishedKind, store: PublishedNameStore, ambient: Ambient) -> None:
        self._kind: PublishedKind = kind
        self._store, self._ambient = store, ambient
        self._owners: dict[str, Owner] = {}
        self._names: dict[Owner, str] = {}
        self._of_backend: Counter[str] = Counter()
        self._full: set[str] = set()  # who was told of
        self._publishing = asyncio.Lock()

    async def load(self) -> None:
        self._remember(await self._store.list(self._kind))

    def owner(self, published: str) -> Owner | None:
        return self._owners.get(published)

    async def publish(self, wanted: Iterable[Owner], backends: Container[str] = ()) -> dict[Owner, str]:
        """The name of each; none of those beyond what a backend may have.

        Of two that are new and would be called the same, the first gets the bare name. None of a new one says that it
        is of another of the ``backends``.
        """
        wanted = list(dict.fromkeys(wanted))
        new = [owner for owner in wanted if owner not in self._names and owner[0] not in self._full]
        if new:
            # Cancelled between disk and memory, the next one would publish them again, and fail.
            await asyncio.shield(self._add(new, backends))
        return {owner: self._names[owner] for owner in wanted if owner in self._names}

    async def _add(self, wanted: list[Owner], backends: Container[str]) -> None:
        async with self._publishing:
            new: dict[str, Owner] = {}
            taken = set(self._owners)
            of_backend = self._of_backend.copy()
            for owner in wanted:
                if owner in self._names:
                    continue
                if of_backend[owner[0]] >= PER_BACKEND:
                    self._note_full(owner[0])
                    continue
                name = choose(*owner, taken, backends)
                taken.add(name)
                of_backend[owner[0]] += 1
                new[name] = owner
            if new:
                await self._store.add(self._kind, new, self._ambient.now())
                self._remember(new)

    def _remember(self, names: dict[str, Owner]) -> None:
        self._owners |= names
        self._names |= {owner: name for name, owner in names.items()}
        self._of_backend.update(backend for backend, _ in names.values())

    def _note_full(self, backend: str) -> None:
        if backend not in self._full:
            self._full.add(backend)
            about = log.fields(backend=backend, kind=self._kind, limit=PER_BACKEND)
            logger.warning("names_used_up", extra=about)


def choose(backend: str, name: str, taken: Container[str], backends: Container[str] = ()) -> str:
    """Bare while that is free and names no other backend, then with its own name, at last with a digest of both."""
    bare = re.sub(r"[^A-Za-z0-9_-]", "_", name) or "unnamed"
    digest = _digest(backend, name)
    said, mark, _ = bare.partition("__")
    is_anothers = mark != "" and said != backend and said in backends
    for published in (f"{backend}__{bare}",) if is_anothers else (bare, f"{backend}__{bare}"):
        published = published if len(published) <= LENGTH else _cut(published, digest)
        if published not in taken:
            return published
    attempts = (_cut(f"{backend}__{bare}", _digest(backend, name, str(number))) for number in count())
    return next(published for published in attempts if published not in taken)


def _digest(*about: str) -> str:
    return hashlib.sha256("\0".join(about).encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _cut(name: str, digest: str) -> str:
    return f"{name[: LENGTH - len(digest) - 1]}_{digest}"
