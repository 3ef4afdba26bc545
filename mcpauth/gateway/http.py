"""A backend that is a remote server."""

import asyncio
from collections.abc import Callable, Mapping

from ..errors import BackendUnavailable
from .backend import RETIRED, STOPPING, ModernSession
from .children import IDLE_STOP
from .configuration import RemoteServer
from .frames import Frame
from .http_headers import expand
from .http_legacy import BACK_OFF, LegacyHttpSession
from .http_modern import ModernHttpSession, ModernRequests
from .http_session import HttpSession
from .http_sse import SseSession
from .http_upstream import Upstream
from .modern.caller import Caller
from .modern.parameters import ByTool

# Mostly nobody is told when a server elsewhere changes. So what it offers is asked for again, when it is used.
FRESH = 300.0


class HttpBackend:
    """Raises SettingsError when made, for a header that cannot be sent."""

    starts_processes = False
    last_line = ""
    idle_stop = IDLE_STOP
    announces = False

    def __init__(
        self,
        name: str,
        server: RemoteServer,
        environ: Mapping[str, str],
        back_off: tuple[float, ...] = BACK_OFF,
        fresh: float = FRESH,
    ) -> None:
        self.name = name
        self._upstream = Upstream(name, server.url, expand(server.headers, environ), sse=server.type == "sse")
        self.legacy_only = server.type == "sse"
        self._back_off, self._fresh = back_off, fresh
        self._looked_at = 0.0
        self._changed: Callable[[], None] = lambda: None
        self._parameters: ByTool = {}
        self._started = self._retired = False
        self._sessions: set[HttpSession] = set()
        self._requests = ModernRequests(self._upstream)

    async def start(self) -> None:
        """Ready to connect; nothing is sent before there is a session."""
        self._upstream.start()
        self._looked_at = asyncio.get_running_loop().time()
        self._started = True

    async def open(self, listener: Callable[[Frame], None], caller: Caller | None = None) -> HttpSession:
        if self._retired:
            raise BackendUnavailable(RETIRED)
        if caller is not None:
            self._look_again()
        unread = None if caller is None else caller.unread
        session: HttpSession
        if self.legacy_only:
            session = SseSession(self._upstream, listener, self._sessions.discard, unread)
        else:
            session = LegacyHttpSession(self._upstream, listener, self._sessions.discard, unread, self._back_off)
        session.quiet = caller is None
        self._sessions.add(session)
        await session.start()
        return session

    async def join(self, caller: Caller) -> ModernSession:
        if self.legacy_only:
            raise BackendUnavailable(f"the server {self.name} is asked in the older era only")
        if self._retired:
            raise BackendUnavailable(RETIRED)
        self._look_again()
        said = self._upstream.without_own(caller.headers)
        return ModernHttpSession(self._requests, said, self._parameters, caller.unread)

    def runs(self, caller: Caller) -> bool:
        return True

    @property
    def busy(self) -> bool:
        return len(self._requests) > 0 or any(session.busy for session in self._sessions)

    @property
    def proven(self) -> bool:
        return False

    def retire(self) -> None:
        self._retired = True
        for session in self._sessions:
            session.retire()

    def on_changed(self, tell: Callable[[], None]) -> None:
        self._changed = tell

    def repeat(self, parameters: ByTool) -> None:
        self._parameters = parameters

    def stop_idle(self) -> None:
        """Nothing runs."""

    def end_grant(self, grant_id: str) -> None:
        """Nothing is any grant's."""

    def _look_again(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._looked_at + self._fresh <= now:
            self._looked_at = now
            self._changed()

    async def close(self) -> None:
        if self._started:
            reason = RETIRED if self._retired else STOPPING
            await asyncio.gather(self._requests.close(), *(session.close(reason) for session in self._sessions))
            await self._upstream.close()

    def kill(self) -> None:
        if self._started:
            self._upstream.abort()
