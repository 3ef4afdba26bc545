"""Sessions of a backend that modern callers share: opened when needed, ended when nobody has used them for long."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from ... import log
from ...ambient import Ambient
from ...errors import BackendUnavailable
from .caller import Share

logger = logging.getLogger(__name__)

# A session's client may declare different capabilities, but not without end.
PER_USER = 8

Key = tuple[str | bytes, ...]


class Sharing(Protocol):
    """Somebody who may have a session together with others: those whose keys are the same."""

    @property
    def subject(self) -> str: ...

    @property
    def grant_id(self) -> str: ...

    def key(self, share: Share) -> Key: ...


class Shared(Protocol):
    @property
    def over(self) -> bool: ...

    @property
    def busy(self) -> bool:
        """Whether a request is in flight."""
        ...

    @property
    def works(self) -> bool:
        """Whether one is that will have an answer: who only listens keeps it, and does not use it."""
        ...

    async def close(self, reason: str = ...) -> None: ...


S = TypeVar("S", bound=Shared)
C = TypeVar("C", bound=Sharing)


class _Entry(Generic[S]):
    def __init__(self, caller: Sharing, session: S, used_at: int) -> None:
        self.caller, self.session, self.used_at = caller, session, used_at


class SharedSessions(Generic[S, C]):
    """In the order of their last use."""

    def __init__(
        self, name: str, open_one: Callable[[C], Awaitable[S]], share: Share, idle_stop: int, ambient: Ambient
    ) -> None:
        self._name, self._open_one = name, open_one
        self._share, self._idle_stop, self._ambient = share, idle_stop, ambient
        self._entries: dict[Key, _Entry[S]] = {}
        self._opening: dict[Key, tuple[C, asyncio.Task[S]]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def join(self, caller: C) -> S:
        """One that is running. Raises BackendUnavailable."""
        key = caller.key(self._share)
        entry = self._entries.pop(key, None)
        if entry is None or entry.session.over:
            return await self._opened(key, caller)
        entry.used_at = self._ambient.now()
        self._entries[key] = entry
        return entry.session

    def runs(self, caller: C) -> bool:
        """Whether there is one for the caller, or soon will be."""
        key = caller.key(self._share)
        entry = self._entries.get(key)
        return key in self._opening or (entry is not None and not entry.session.over)

    def stop_idle(self) -> None:
        now = self._ambient.now()
        for entry in list(self._entries.values()):
            if entry.session.busy:
                if entry.session.works:
                    entry.used_at = now
            elif entry.session.over or entry.used_at + self._idle_stop <= now:
                self._dismiss(entry, "it was idle")

    def end_grant(self, grant_id: str) -> None:
        """Whose sessions are no other grant's end with it."""
        if self._share == "session":
            for entry in list(self._entries.values()):
                if entry.caller.grant_id == grant_id:
                    self._dismiss(entry, "its grant has ended")
            for caller, opening in self._opening.values():
                if caller.grant_id == grant_id:
                    opening.cancel()

    async def close(self) -> None:
        """Those that were being opened are not; the backend itself ends those that run."""
        openings = [opening for _, opening in self._opening.values()]
        for opening in openings:
            opening.cancel()
        await asyncio.gather(*openings, *self._closing, return_exceptions=True)
        self._entries.clear()

    async def _opened(self, key: Key, caller: C) -> S:
        """A new one; whoever comes while it is being opened waits for the same."""
        if key in self._opening:
            _, opening = self._opening[key]
        else:
            self._make_room(caller)
            opening = asyncio.create_task(self._open(key, caller))
            self._opening[key] = caller, opening
            opening.add_done_callback(lambda task: self._has_opened(key, task))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled():
                raise BackendUnavailable(f"{self._name} was stopped before it was ready") from None
            raise

    def _has_opened(self, key: Key, opening: asyncio.Task[S]) -> None:
        del self._opening[key]
        if not opening.cancelled():
            opening.exception()  # Whoever waited for it may have left.

    async def _open(self, key: Key, caller: C) -> S:
        session = await self._open_one(caller)
        self._entries[key] = _Entry(caller, session, self._ambient.now())
        return session

    def _make_room(self, caller: C) -> None:
        theirs = [entry for entry in self._entries.values() if entry.caller.subject == caller.subject]
        opening = sum(other.subject == caller.subject for other, _ in self._opening.values())
        if len(theirs) + opening < PER_USER:
            return
        idle = next((entry for entry in theirs if not entry.session.busy), None)
        if idle is None:
            raise BackendUnavailable(f"{PER_USER} processes of {self._name} are busy for you; try again later")
        self._dismiss(idle, "it made room for another")

    def _dismiss(self, entry: _Entry[S], why: str) -> None:
        logger.info("backend_stopped", extra=log.fields(backend=self._name, reason=why))
        del self._entries[entry.caller.key(self._share)]
        task = asyncio.create_task(entry.session.close(why))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
