"""A backend as the gateway serves it: started before its first session, and with the owner's filter."""

import asyncio
from collections.abc import Callable

from ..errors import BackendUnavailable, InsufficientScope
from ..models.principal import Principal
from .backend import Backend, BackendSession, ModernSession
from .configuration import ToolFilter
from .frames import Frame
from .modern.caller import Caller
from .tools import Tool

HANDOVER = 5.0


class Served:
    def __init__(self, backend: Backend, tools: ToolFilter | None = None) -> None:
        self.name, self.legacy_only = backend.name, backend.legacy_only
        self.tools = tools or ToolFilter()
        self._backend = backend
        self._started = False
        self._closed = False
        self._starting = asyncio.Lock()
        self._before: asyncio.Task[None] | None = None

    def on_changed(self, tell: Callable[[], None]) -> None:
        self._backend.on_changed(tell)

    async def open(self, listener: Callable[[Frame], None], user: str | None = None) -> BackendSession:
        await self._ready()
        return await self._backend.open(listener, user)

    async def join(self, caller: Caller) -> ModernSession:
        await self._ready()
        return await self._backend.join(caller)

    @property
    def busy(self) -> bool:
        return self._started and self._backend.busy

    def follow(self, ending: asyncio.Task[None]) -> None:
        """Whose place it takes is ``ending``, and is waited for a moment: both might want the same file or port."""
        self._before = ending

    def retire(self) -> None:
        self._backend.retire()

    def stop_idle(self) -> None:
        self._backend.stop_idle()

    def end_grant(self, grant_id: str) -> None:
        self._backend.end_grant(grant_id)

    async def _ready(self) -> None:
        if self._started and not self._closed:
            return
        async with self._starting:
            if self._closed:
                raise BackendUnavailable("the server is stopping")
            if not self._started:
                if self._before is not None:
                    await asyncio.wait([self._before], timeout=HANDOVER)
                await self._backend.start()
                self._started = True

    async def close(self) -> None:
        closed, self._closed = self._closed, True
        if not closed:
            await self._backend.close()

    def kill(self) -> None:
        self._backend.kill()

    def unrestricted(self, principal: Principal) -> bool:
        """Whether every tool there is or will be may be used, so that nothing needs to be looked at."""
        everything = principal.servers is None or principal.servers.get(self.name, frozenset()) is None
        return everything and self.tools.open and principal.scope_needed(self.name, read_only=False) is None

    def lists(self, principal: Principal, tool: Tool) -> bool:
        return self.tools.admits(tool.name) and principal.permits(self.name, tool.name, read_only=tool.read_only)

    def refusal(self, principal: Principal, tool: str, *, read_only: bool) -> str | None:
        """Why the tool may not be called; None when it may. Raises InsufficientScope where consent helps."""
        if not self.tools.admits(tool):
            return f"The owner of this machine has switched off the tool {tool} of {self.name}."
        if not principal.ticked(self.name, tool):
            return (
                f"The tool {tool} of {self.name} was not allowed when this client was connected. "
                "To use it, connect the client again and allow it."
            )
        self.require(principal, read_only=read_only)
        return None

    def require(self, principal: Principal, *, read_only: bool) -> None:
        scope = principal.scope_needed(self.name, read_only=read_only)
        if scope is not None:
            raise InsufficientScope("this needs more than what was allowed", scope)
