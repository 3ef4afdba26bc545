"""What clients publish, kept as long as its headers say, and beyond that while its source is away (RFC 9111)."""

import asyncio
import json
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeVar
from urllib.parse import urlsplit

from .. import log
from ..ambient import Ambient
from ..errors import DocumentError
from ..models.documents import Copy, Fetched
from ..store.fetched_documents import FetchedDocumentStore
from .rate_limit import RateLimit

logger = logging.getLogger(__name__)

# However often it changes by its headers, it is asked for once a minute at most.
SHORTEST, DEFAULT, LONGEST = 60, 3600, 86400
# A source that failed is left alone for so long, where there is something to use instead.
BACK_OFF = 60
MOST_FROM_HOST, MOST_FOR_PARTY, WINDOW = 30, 20, 60
MOST_IN_MEMORY, MOST_STORED = 256, 500

T = TypeVar("T")


class Fetcher(Protocol):
    async def fetch(self, uri: str) -> Fetched:
        """Raises DocumentError."""


class Document(NamedTuple, Generic[T]):
    """``fetched_at`` 0: it was never fetched; this is what was given to be used instead."""

    content: T
    fetched_at: int


class RemoteDocuments(Generic[T]):
    """``read(uri, given)`` judges what was fetched, or raises DocumentError. Only good documents are kept.

    ``stale_ttl``: how long a copy serves while no newer one can be had; None: for as long as it is there.
    """

    def __init__(
        self,
        read: Callable[[str, Any], T],
        fetcher: Fetcher,
        store: FetchedDocumentStore,
        ambient: Ambient,
        *,
        stale_ttl: int | None = None,
    ) -> None:
        self._read, self._fetcher, self._store, self._ambient = read, fetcher, store, ambient
        self._stale_ttl = stale_ttl
        self._held: OrderedDict[str, Copy] = OrderedDict()
        self._failed: OrderedDict[str, int] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Copy]] = {}
        self._by_host, self._by_party = RateLimit(MOST_FROM_HOST, WINDOW), RateLimit(MOST_FOR_PARTY, WINDOW)

    async def get(
        self,
        uri: str,
        *,
        party: str | None = None,
        instead: T | None = None,
        max_age: int | None = None,
        wait: bool = True,
    ) -> Document[T]:
        """The document at ``uri``, fetched when there is no fresh copy. Raises DocumentError.

        ``party`` is who makes us fetch. ``instead`` is used where there is neither document nor copy.
        A copy older than ``max_age`` is not fresh, whatever its headers said. Without ``wait`` the next one gets
        what is fetched now, where there is something to use meanwhile.
        """
        now = self._ambient.now()
        copy = await self._copy(uri)
        if copy is not None:
            age = now - copy.fetched_at
            if copy.fresh_until > now and (max_age is None or age <= max_age):
                return self._open(uri, copy)
            if self._stale_ttl is not None and age > self._stale_ttl:
                copy = None
        old = self._open(uri, copy) if copy is not None else None
        if old is None and instead is not None:
            old = Document(instead, 0)
        if old is not None and uri in self._failed and self._failed[uri] > now - BACK_OFF:
            return old
        try:
            flight = self._flight(uri, party)
            if old is not None and not wait:
                return old
            return self._open(uri, await asyncio.shield(flight))
        except DocumentError:
            if old is None:
                raise
            return old

    async def close(self) -> None:
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _copy(self, uri: str) -> Copy | None:
        held = self._held.get(uri)
        if held is not None:
            self._held.move_to_end(uri)
            return held
        copy = await self._store.find(uri)
        if copy is not None and uri not in self._held:
            self._hold(uri, copy)
        # A newer one may have come meanwhile.
        return self._held.get(uri, copy)

    def _hold(self, uri: str, copy: Copy) -> None:
        self._held[uri] = copy
        if len(self._held) > MOST_IN_MEMORY:
            self._held.popitem(last=False)

    def _open(self, uri: str, copy: Copy) -> Document[T]:
        return Document(self._read(uri, json.loads(copy.body)), copy.fetched_at)

    def _flight(self, uri: str, party: str | None) -> asyncio.Task[Copy]:
        """One request for all who wait for the same document, whoever of them leaves meanwhile."""
        flight = self._flights.get(uri)
        if flight is None:
            self._count(uri, party)
            flight = asyncio.create_task(self._ask(uri))
            self._flights[uri] = flight
            flight.add_done_callback(lambda done: self._landed(uri, done))
        return flight

    def _landed(self, uri: str, flight: asyncio.Task[Copy]) -> None:
        del self._flights[uri]
        if not flight.cancelled():
            flight.exception()  # Heard, even when nobody waits any more.

    def _count(self, uri: str, party: str | None) -> None:
        """Nobody makes us flood a host, or everybody else's turn."""
        now = self._ambient.now()
        host = urlsplit(uri).hostname or ""
        waits = [self._by_host.wait(host, now), self._by_party.wait(party, now) if party is not None else 0]
        if max(waits):
            raise DocumentError("too much was asked of its host in a short time; try again in a minute", 429)
        self._by_host.add(host, now)
        if party is not None:
            self._by_party.add(party, now)

    async def _ask(self, uri: str) -> Copy:
        try:
            fetched = await self._fetcher.fetch(uri)
            try:
                given = json.loads(fetched.body)
            except (ValueError, RecursionError):
                raise DocumentError("it is not JSON") from None
            self._read(uri, given)
        except DocumentError as error:
            self._failed[uri] = self._ambient.now()
            self._failed.move_to_end(uri)
            if len(self._failed) > MOST_IN_MEMORY:
                self._failed.popitem(last=False)
            logger.info("document_refused", extra=log.bounded(host=urlsplit(uri).hostname, reason=error.for_owner))
            raise
        self._failed.pop(uri, None)
        now = self._ambient.now()
        ttl, storable = fetched.freshness
        copy = Copy(fetched.body, now, now + min(max(DEFAULT if ttl is None else ttl, SHORTEST), LONGEST))
        self._hold(uri, copy)
        if storable:
            await self._store.save(uri, copy, MOST_STORED)
        return copy
