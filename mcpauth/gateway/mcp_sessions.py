"""All legacy MCP sessions: who may use which, how many there are, and when they end. They outlive the process."""

import asyncio

import msgspec

from ..ambient import Ambient, fingerprint
from ..errors import BackendUnavailable, GatewayError, UnknownSession
from ..models.principal import Principal
from ..models.records import StoredMcpSession
from ..store.mcp_sessions import McpSessionStore
from .backend import STOPPING
from .catalogue import Catalogue
from .event_log import EventLog
from .frames import Frame
from .handshake import Handshake
from .load import Load
from .mcp_session import McpSession

PER_GRANT = 5
IDLE = 24 * 3600
# For so long a client that does not listen is waited for with what it follows.
AWAY = 15 * 60
# What was sent is remembered for so long, and for twice as long at most.
AGE = 300


class McpSessions:
    """In the order of their last use. The disk knows the hash of an id alone, and so do we until its client comes."""

    def __init__(self, store: McpSessionStore, ambient: Ambient, catalogue: Catalogue, load: Load) -> None:
        self._store, self._ambient, self._catalogue, self._load = store, ambient, catalogue, load
        self._sessions: dict[str, McpSession] = {}
        self._by_id: dict[str, McpSession] = {}
        self._closing: dict[asyncio.Task[None], str] = {}
        self._used: set[str] = set()  # since the last flush
        self._aged_at = ambient.now()

    async def load(self) -> None:
        """Those from before a restart."""
        for stored in await self._store.list(self._ambient.now() - IDLE):
            try:
                handshake = Handshake.decode(stored.handshake)
            except msgspec.DecodeError:
                continue
            session = self._make(
                stored.session_hash,
                (stored.user_id, stored.client_id),
                stored.grant_id or "",
                stored.endpoint,
                handshake,
            )
            session.used_at = stored.last_used_at
            session.changed()

    def open(self, principal: Principal, endpoint: str | None, initialize: Frame) -> McpSession:
        """A new session; of a grant that has five, the least recently used ends: who listens is using it."""
        if sum(grant_id == principal.grant_id for grant_id in self._closing.values()) >= 2 * PER_GRANT:
            # Their children still run: a client must not start more than it may have.
            raise BackendUnavailable("too many MCP sessions were begun in a short time; wait a moment")
        session_id = self._ambient.secret()
        owner = principal.subject, principal.client_id
        session = self._make(fingerprint(session_id), owner, principal.grant_id, endpoint, Handshake(initialize))
        session.session_id, session.used_at = session_id, self._ambient.now()
        self._by_id[session_id] = session
        *others, _ = [other for other in self._sessions.values() if other.grant_id == principal.grant_id]
        others.sort(key=lambda other: other.mailbox.listened_to)
        for other in others[: max(0, len(others) - PER_GRANT + 1)]:
            self.dismiss(other)
        return session

    def keep(self, session: McpSession) -> asyncio.Future[int] | None:
        """On disk once that is done; what is too large to be kept lives as long as this process."""
        if session.session_hash not in self._sessions:
            return None
        handshake = session.handshake.encode()
        if handshake is None:
            self._store.remove([session.session_hash])
            return None
        return self._store.keep(
            StoredMcpSession(
                session_hash=session.session_hash,
                grant_id=session.grant_id or None,
                user_id=session.owner[0],
                client_id=session.owner[1],
                endpoint=session.endpoint,
                handshake=handshake,
                last_used_at=session.used_at,
            )
        )

    def find(self, principal: Principal, endpoint: str | None, session_id: str) -> McpSession:
        """Raises UnknownSession for what has ended, another principal's, and another endpoint's alike."""
        session = self._by_id.get(session_id) or self._sessions.get(fingerprint(session_id))
        if session is None or session.owner != (principal.subject, principal.client_id):
            raise UnknownSession("unknown Mcp-Session-Id: initialize again")
        if session.endpoint != endpoint or self._idle(session):
            raise UnknownSession("unknown Mcp-Session-Id: initialize again")
        if session.session_id is None:
            session.session_id = session_id
            self._by_id[session_id] = session
        session.used_at = self._ambient.now()
        self._used.add(session.session_hash)
        self._sessions[session.session_hash] = self._sessions.pop(session.session_hash)
        return session

    def of_endpoint(self, endpoint: str | None) -> list[McpSession]:
        return [session for session in self._sessions.values() if session.endpoint == endpoint]

    def listening(self) -> list[McpSession]:
        """Those whose clients wait to be told something."""
        return [session for session in self._sessions.values() if session.mailbox.listened_to]

    def flush(self) -> None:
        """Queue the last uses for the disk. Whoever listens is using it."""
        for session in self.listening():
            session.used_at = self._ambient.now()
            self._used.add(session.session_hash)
        self._store.touch({one: self._sessions[one].used_at for one in self._used if one in self._sessions})
        self._used.clear()

    def sweep(self) -> None:
        """End what nobody has used for a day, and forget what nobody has come back for."""
        if self._ambient.now() >= self._aged_at + AGE:
            self._aged_at = self._ambient.now()
            for session in self._sessions.values():
                session.events.age()
        for session in list(self._sessions.values()):
            if self._idle(session):
                self.dismiss(session)
            elif session.used_at + AWAY <= self._ambient.now() and not session.mailbox.listened_to:
                session.is_left()

    def dismiss(self, session: McpSession) -> None:
        """It has ended; its children are given the time they need."""
        if session.session_hash in self._sessions:
            task = asyncio.create_task(self._finish([session]))
            self._closing[task] = session.grant_id
            task.add_done_callback(self._closing.pop)
            self._forget([session])

    async def end_grant(self, grant_id: str) -> None:
        sessions = [session for session in self._sessions.values() if session.grant_id == grant_id]
        self._forget(sessions)
        await self._finish(sessions)

    async def pause_grant(self, grant_id: str) -> None:
        """What runs for them ends; they go on as after a restart, once their client may come again."""
        paused = [session for session in self._sessions.values() if session.grant_id == grant_id]
        for session in paused:
            self._by_id.pop(session.session_id or "", None)
            again = self._make(session.session_hash, session.owner, grant_id, session.endpoint, session.handshake)
            again.used_at = session.used_at
            again.changed()
        await self._finish(paused)

    def hang_up(self) -> None:
        for session in self._sessions.values():
            session.hang_up()

    async def close(self) -> None:
        """Their children end; the sessions themselves do not."""
        self.flush()
        await self._finish(list(self._sessions.values()), BackendUnavailable(STOPPING))
        await asyncio.gather(*self._closing)

    def _make(
        self, session_hash: str, owner: tuple[str, str], grant_id: str, endpoint: str | None, handshake: Handshake
    ) -> McpSession:
        session = McpSession(
            session_hash,
            owner,
            grant_id,
            endpoint,
            handshake,
            EventLog(self._ambient.identifier()),
            self._catalogue,
            self._load.unread(grant_id),
            keep=self.keep,
            lost=self.dismiss,
        )
        self._sessions[session_hash] = session
        return session

    def _idle(self, session: McpSession) -> bool:
        return session.used_at + IDLE <= self._ambient.now() and not session.mailbox.listened_to

    def _forget(self, sessions: list[McpSession]) -> None:
        for session in sessions:
            self._sessions.pop(session.session_hash, None)
            self._by_id.pop(session.session_id or "", None)
        self._store.remove(session.session_hash for session in sessions)

    async def _finish(self, sessions: list[McpSession], error: GatewayError | None = None) -> None:
        await asyncio.gather(*(session.close(error) for session in sessions))
