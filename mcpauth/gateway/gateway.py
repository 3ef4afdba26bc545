"""MCP messages of admitted principals, on their way to the backends: the one part that the web sees."""

import asyncio
from collections.abc import Awaitable, Collection, Coroutine, Iterable, Sequence
from typing import Any

import msgspec

from ..ambient import Ambient
from ..errors import (
    ClientPaused,
    GatewayError,
    InvalidMessage,
    LegacyResourceNotFound,
    RequestCancelled,
    ResourceNotFound,
    UnknownBackend,
)
from ..models.principal import Principal
from ..store.mcp_sessions import McpSessionStore
from . import frames
from .answer import Answer, Pending, refused
from .catalogue import Catalogue
from .endings import Endings
from .eras import is_modern, is_modern_version
from .event_log import Reader
from .inquiry import BackendState
from .leaving import LEAVING, leave
from .legacy_messages import Endpoint, LegacyMessages
from .listing import KINDS, Kind
from .load import LARGE, Held, Load, too_much_unread
from .mcp_session import McpSession
from .mcp_sessions import McpSessions
from .merged import Merged
from .modern.headers import Headers
from .modern.merged import ModernMerged
from .modern.single import ModernSingle
from .names import PublishedNames
from .reaper import Reaper
from .served import Served
from .single import Single
from .together import Together, legacy_half, modern_half
from .uri_owners import UriOwners

SWEEP = 30.0


class Gateway:
    def __init__(
        self,
        backends: Sequence[Served],
        names: PublishedNames,
        mcp_sessions: McpSessionStore,
        ambient: Ambient,
        reaper: Reaper | None = None,
    ) -> None:
        self._reaper = reaper
        self.endings, self.load = Endings(), Load()
        self._backends = {served.name: served for served in backends}
        self._names = names
        self._catalogue = Catalogue(backends, ambient, self._lists_changed)
        self._sessions = McpSessions(mcp_sessions, ambient, self._catalogue, self.load)
        self._legacy = LegacyMessages(self._sessions)
        uris = UriOwners()
        legacy = Together(self._backends, self._catalogue, names, uris, legacy_half, LegacyResourceNotFound)
        self._endpoints: dict[str | None, Endpoint] = {None: Merged(legacy)}
        modern = Together(self._backends, self._catalogue, names, uris, modern_half, ResourceNotFound)
        self._modern_merged = ModernMerged(modern, self._catalogue, self.load)
        self._modern: dict[str, ModernSingle] = {}
        for served in backends:
            self._add(served)
        self._leaving: dict[asyncio.Task[None], tuple[Served, ModernSingle]] = {}
        self._reviving: set[asyncio.Task[None]] = set()
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ready for messages; what the backends offer is being found out."""
        await self._names.load()
        await self._sessions.load()
        self._catalogue.start()
        self._sweeping = asyncio.create_task(self._sweep())

    def serve(self, backends: Sequence[Served]) -> None:
        """These from now on, in this order. Those that are the same go on as if nothing had happened.

        Who waits for one that another takes the place of still gets an answer; one that is gone ends at once.
        """
        before = dict(self._backends)
        self._backends.clear()
        self._backends.update((served.name, served) for served in backends)
        for name, old in before.items():
            new = self._backends.get(name)
            if new is not old:
                self._remove(old, new)
        for served in backends:
            if before.get(served.name) is not served:
                self._add(served)
        self._catalogue.serve(backends)
        self._modern_merged.follow()
        self._revive(*self._sessions.listening())

    @property
    def processes(self) -> int:
        """How many children are running."""
        return self._reaper.watching if self._reaper is not None else 0

    def hang_up(self) -> None:
        """End every GET stream and subscription: no request waits there, so stopping does not wait for them."""
        self._sessions.hang_up()
        self._modern_merged.hang_up()
        for modern in self._modern.values():
            modern.hang_up()

    async def close(self, patience: float = 6.0) -> None:
        """Every child is gone, and every request that waited has its answer; after ``patience`` seconds by force."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._modern_merged.hang_up()  # It would ask again what is about to end.
        everything = [*self._backends.values(), *(served for served, _ in self._leaving.values())]
        closing = asyncio.ensure_future(self._close(everything))
        await asyncio.wait([closing], timeout=patience)
        if not closing.done():
            for served in everything:
                served.kill()
        await closing
        if self._reaper is not None:
            await self._reaper.close()

    async def _close(self, everything: list[Served]) -> None:
        for leaving in self._leaving:
            leaving.cancel()
        await asyncio.gather(
            self._sessions.close(), self._catalogue.close(), *(served.close() for served in everything)
        )
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def end_grant(self, grant_id: str) -> None:
        """The grant has ended: so have its requests, its MCP sessions, their streams and their children."""
        self._stop(grant_id)
        self.load.end_grant(grant_id)
        await self._sessions.end_grant(grant_id)

    async def pause_grant(self, grant_id: str) -> None:
        """The same, but its MCP sessions go on when it does."""
        self._stop(grant_id)
        await self._sessions.pause_grant(grant_id)

    def _stop(self, grant_id: str) -> None:
        self.endings.note(grant_id)
        current = [(served, self._modern[name]) for name, served in self._backends.items()]
        for served, modern in [*current, *self._leaving.values()]:
            modern.end_grant(grant_id)
            served.end_grant(grant_id)
        self._modern_merged.end_grant(grant_id)

    def names(self) -> Collection[str]:
        return self._backends.keys()

    def backends(self) -> list[BackendState]:
        """What is known of each backend now."""
        return self._catalogue.states()

    async def settled(self) -> list[BackendState]:
        """The same, after up to ten seconds for those that are still starting: for the consent page."""
        return await self._catalogue.settled()

    async def forward(
        self,
        principal: Principal,
        body: bytes,
        *,
        backend: str | None,
        session_id: str | None,
        protocol_version: str | None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> Answer:
        """Take one message. Raises InsufficientScope; every other refusal is in the answer."""
        request_id: msgspec.Raw | None = None
        modern = False
        begun: McpSession | None = None
        held: Held | None = None
        answering: Coroutine[Any, Any, Answer]
        try:
            if len(body) > LARGE:
                held = self.load.hold(principal.grant_id, len(body))
            if body.lstrip()[:1] == b"[":
                waits = self._waits(principal, backend)
                answering = self._batch(principal, body, backend, session_id, protocol_version)
            else:
                frame = frames.decode(body)
                request_id = frames.request_id(frame)
                endpoint = self._endpoint(backend)
                endpoint.admit(principal)
                modern = is_modern(frame, protocol_version, session_id)
                _refuse_paused(principal)
                asks = "id" in frame and "method" in frame
                waits = asks and self._waits(principal, backend)
                if modern:
                    at = self._modern_merged if endpoint.name is None else self._modern[endpoint.name]
                    answering = at.forward(principal, frame, Headers(headers))
                elif asks and frames.text(frame["method"]) == "initialize":
                    begun = self._sessions.open(principal, endpoint.name, frame)
                    answering = self._legacy.initialize(endpoint, begun, frame)
                else:
                    answering = self._legacy.forward(endpoint, principal, frame, session_id)
        except GatewayError as error:
            return refused(request_id, error, modern=modern)
        answering = self._answer(principal, answering, request_id, held, modern, self.endings.count)
        if begun is not None:
            return Answer(pending=Pending(request_id, answering), session_id=begun.session_id)
        if waits:
            return Answer(pending=Pending(request_id, self.load.undecided(principal.grant_id, answering)))
        return await answering

    def listen(
        self, principal: Principal, *, backend: str | None, session_id: str, last_event_id: str | None = None
    ) -> Reader:
        """What the client is told outside of its requests, or the rest of a stream. To be closed by who listens."""
        session = self._session(principal, backend, session_id)
        self._revive(session)
        return session.listen(last_event_id)

    def flush(self) -> None:
        """Queue for the disk when the MCP sessions were used last."""
        self._sessions.flush()

    def end_session(self, principal: Principal, *, backend: str | None, session_id: str) -> None:
        self._sessions.dismiss(self._session(principal, backend, session_id))

    def _waits(self, principal: Principal, backend: str | None) -> bool:
        """Whether an answer may have to wait until it is known what a server speaks, or lists.

        Raises TooMuchUnderWay.
        """
        waits = self._catalogue.asking(backend)
        if waits:
            self.load.refuse_many(principal.grant_id)
        return waits

    def _session(self, principal: Principal, backend: str | None, session_id: str) -> McpSession:
        """Of the user and client; another grant of theirs may have been given less. Raises what stands against it."""
        session = self._sessions.find(principal, backend, session_id)
        self._endpoint(backend).admit(principal)
        _refuse_paused(principal)
        return session

    def _revive(self, *sessions: McpSession) -> None:
        """What their clients follow is followed for them, though they only listen."""
        for session in sessions:
            for served in map(self._backends.get, session.unfollowed()):
                if served is not None:
                    reviving = asyncio.create_task(session.revive(served))
                    self._reviving.add(reviving)
                    reviving.add_done_callback(self._reviving.discard)

    def _add(self, served: Served) -> None:
        self._endpoints[served.name] = Single(served, self._catalogue)
        self._modern[served.name] = ModernSingle(served, self._catalogue, self.load)

    def _remove(self, old: Served, new: Served | None) -> None:
        """``new`` takes its place, when there is one."""
        del self._endpoints[old.name]
        modern = self._modern.pop(old.name)
        modern.hang_up()
        old.retire()
        leaving = asyncio.create_task(leave(old, 0.0 if new is None else LEAVING))
        self._leaving[leaving] = old, modern
        leaving.add_done_callback(self._leaving.pop)
        for session in self._sessions.of_endpoint(old.name):
            if new is None:
                self._sessions.dismiss(session)
            else:
                session.changed()
        if new is not None:
            new.follow(leaving)

    def _endpoint(self, backend: str | None) -> Endpoint:
        if backend not in self._endpoints:
            raise UnknownBackend("there is no server of that name here")
        return self._endpoints[backend]

    async def _batch(
        self,
        principal: Principal,
        body: bytes,
        backend: str | None,
        session_id: str | None,
        protocol_version: str | None,
    ) -> Answer:
        if session_id is None or is_modern_version(protocol_version):
            raise InvalidMessage("no batch here: send one message at a time, initialize first")
        endpoint = self._endpoint(backend)
        endpoint.admit(principal)
        _refuse_paused(principal)
        return await self._legacy.batch(endpoint, principal, body, session_id)

    async def _answer(
        self,
        principal: Principal,
        answering: Awaitable[Answer],
        request_id: msgspec.Raw | None,
        held: Held | None,
        modern: bool,
        endings: int,
    ) -> Answer:
        """Raises InsufficientScope; every other refusal is in the answer."""
        try:
            answer = await answering
            if self.endings.since(principal.grant_id, endings):
                # While it was not known yet what the server speaks, or lists. Nothing was sent so far.
                if answer.replies is not None:
                    answer.replies.leave()
                raise RequestCancelled("what was allowed to this client has ended")
            is_large = len(answer.reply or b"") > LARGE and answer.session_id is None
            if is_large and self.load.unread(principal.grant_id).full:
                raise too_much_unread()
        except GatewayError as error:
            return refused(request_id, error, modern=modern)
        if held is not None and answer.replies is not None:
            self.load.until(answer.replies, held)
        return answer

    def _lists_changed(self, kinds: frozenset[Kind]) -> None:
        # Resources and templates are announced alike, and once.
        changes = dict.fromkeys(kind.list_changed for kind in KINDS if kind in kinds)
        for session in self._sessions.of_endpoint(None):
            for change in changes:
                session.mailbox.put(frames.encode(frames.notification(change)))
        self._modern_merged.lists_changed(kinds)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.look_around()

    def look_around(self) -> None:
        """What is due now and then: sessions and children that nobody uses end, what failed is tried again."""
        self._sessions.sweep()
        self.stop_idle()
        self._catalogue.retry()
        self._revive(*self._sessions.listening())

    def stop_idle(self) -> None:
        """End the children that modern callers have not used for long."""
        for served in self._backends.values():
            served.stop_idle()


def _refuse_paused(principal: Principal) -> None:
    if principal.paused:
        raise ClientPaused("the owner of this server has paused this client; it can go on when it is resumed")
