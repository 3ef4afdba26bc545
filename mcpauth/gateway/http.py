"""A backend that is a remote server."""

import asyncio
from collections.abc import Callable, Mapping

from ..errors import BackendUnavailable
from .backend import RETIRED, ModernSession
from .configuration import RemoteServer
from .frames import Frame
from .http_headers import expand
from .http_legacy import BACK_OFF, LegacyHttpSession
from .http_modern import ModernHttpSession, ModernRequests
from .http_session import HttpSession
from .http_sse import SseSession
from .http_upstream import Upstream
from .modern.caller import Caller


class HttpBackend:
    """Raises SettingsError when made, for a header that cannot be sent."""

    starts_processes = False
    announces = False

    def __init__(
        self,
        name: str,
        server: RemoteServer,
        environ: Mapping[str, str],
        back_off: tuple[float, ...] = BACK_OFF,
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, server.url, expand(name, server.headers, environ))
        self.legacy_only = server.type == "sse"
        self._back_off = back_off
        self._started = self._retired = False
        self._sessions: set[HttpSession] = set()
        self._requests = ModernRequests(self._upstream)

    async def start(self) -> None:
        """Ready to connect; nothing is sent before there is a session."""
        self._upstream.start()
        self._started = True

    async def open(self, listener: Callable[[Frame], None], user: str | None = None) -> HttpSession:
        session: HttpSession
        if self.legacy_only:
            session = SseSession(self._upstream, listener, self._sessions.discard)
        else:
            session = LegacyHttpSession(self._upstream, listener, self._sessions.discard, self._back_off)
        self._sessions.add(session)
        await session.start()
        return session

    async def join(self, caller: Caller) -> ModernSession:
        if self.legacy_only:
            raise BackendUnavailable(f"the server {self.name} is asked in the older era only")
        if self._retired:
            raise BackendUnavailable(RETIRED)
        return ModernHttpSession(self._requests, self._upstream.without_own(caller.headers))

    @property
    def busy(self) -> bool:
        return len(self._requests) > 0 or any(session.busy for session in self._sessions)

    def retire(self) -> None:
        self._retired = True
        for session in self._sessions:
            session.retire()

    def on_changed(self, tell: Callable[[], None]) -> None:
        """MCP sessions are told; nobody else listens."""

    def stop_idle(self) -> None:
        """Nothing runs."""

    def end_grant(self, grant_id: str) -> None:
        """Nothing is any grant's."""

    async def close(self) -> None:
        if self._started:
            await asyncio.gather(self._requests.close(), *(session.close() for session in self._sessions))
            await self._upstream.close()

    def kill(self) -> None:
        if self._started:
            self._upstream.abort()
