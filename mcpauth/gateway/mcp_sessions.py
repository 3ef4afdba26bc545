"""All legacy MCP sessions: who may use which, how many there are, and when they end."""

import asyncio
from collections.abc import Callable

from ..ambient import Ambient
from ..errors import BackendUnavailable, UnknownSession
from ..models.principal import Principal
from .frames import Frame
from .mcp_session import McpSession

PER_GRANT = 5
IDLE = 24 * 3600


class McpSessions:
    """In the order of their last use."""

    def __init__(self, ambient: Ambient, list_changed: Callable[[str], None]) -> None:
        self._ambient, self._list_changed = ambient, list_changed
        self._sessions: dict[str, McpSession] = {}
        self._closing: dict[asyncio.Task[None], str] = {}

    def open(self, principal: Principal, endpoint: str | None, initialize: Frame) -> McpSession:
        """A new session; of a grant that has five, the least recently used ends."""
        if sum(grant_id == principal.grant_id for grant_id in self._closing.values()) >= 2 * PER_GRANT:
            # Their children still run: a client must not start more than it may have.
            raise BackendUnavailable("too many MCP sessions were begun in a short time; wait a moment")
        session_id = self._ambient.secret()
        session = McpSession(session_id, principal, endpoint, initialize, self._list_changed)
        session.used_at = self._ambient.now()
        self._sessions[session_id] = session
        of_grant = [other for other in self._sessions.values() if other.grant_id == principal.grant_id]
        for other in of_grant[:-PER_GRANT]:
            self.dismiss(other)
        return session

    def find(self, principal: Principal, endpoint: str | None, session_id: str) -> McpSession:
        """Raises UnknownSession for what has ended, another principal's, and another endpoint's alike."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != (principal.subject, principal.client_id):
            raise UnknownSession("unknown Mcp-Session-Id: initialize again")
        if session.endpoint != endpoint or self._idle(session):
            raise UnknownSession("unknown Mcp-Session-Id: initialize again")
        session.used_at = self._ambient.now()
        self._sessions[session_id] = self._sessions.pop(session_id)
        return session

    def of_endpoint(self, endpoint: str | None) -> list[McpSession]:
        return [session for session in self._sessions.values() if session.endpoint == endpoint]

    def sweep(self) -> None:
        """End what nobody has used for a day."""
        for session in list(self._sessions.values()):
            if self._idle(session):
                self.dismiss(session)

    def dismiss(self, session: McpSession) -> None:
        """It has ended; its children are given the time they need."""
        task = asyncio.create_task(self._finish([session]))
        self._closing[task] = session.grant_id
        task.add_done_callback(self._closing.pop)
        self._sessions.pop(session.session_id, None)

    async def end_grant(self, grant_id: str) -> None:
        await self._finish([session for session in self._sessions.values() if session.grant_id == grant_id])

    def hang_up(self) -> None:
        for session in self._sessions.values():
            session.mailbox.close()

    async def close(self) -> None:
        await self._finish(list(self._sessions.values()))
        await asyncio.gather(*self._closing)

    def _idle(self, session: McpSession) -> bool:
        return session.used_at + IDLE <= self._ambient.now() and not session.mailbox.listened_to

    async def _finish(self, sessions: list[McpSession]) -> None:
        for session in sessions:
            self._sessions.pop(session.session_id, None)
        await asyncio.gather(*(session.close() for session in sessions))
