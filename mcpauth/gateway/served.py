"""A backend as the gateway serves it: started before its first session, and with the owner's filter."""

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from ..ambient import Ambient
from ..errors import BackendUnavailable, InsufficientScope
from ..models.principal import Principal
from .backend import Backend, BackendSession, ModernSession
from .bridge.to_legacy import ToLegacy
from .bridge.to_modern import ToModern
from .configuration import ToolFilter
from .frames import Frame
from .leaving import LEAVING, leave
from .listing import TOOLS, Kind, Listing
from .modern.caller import Caller
from .modern.parameters import ByTool
from .offer import Offer
from .tools import Tool

HANDOVER = 2.0


class Served:
    def __init__(self, backend: Backend, tools: ToolFilter | None = None) -> None:
        self.name, self.legacy_only = backend.name, backend.legacy_only
        self.starts_processes, self.announces = backend.starts_processes, backend.announces
        self.tools = tools or ToolFilter()
        self._backend = backend
        self._changed: Callable[[], None]
        self._doubt: Callable[[], Awaitable[None]]
        self._bridge: ToLegacy | ToModern | None = None  # for callers of the era that the backend does not speak
        self._left: dict[asyncio.Task[None], ToLegacy | ToModern] = {}  # bridges with nothing but what waits there
        self._started = False
        self._closed = False
        self._closing: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        self._before: asyncio.Task[None] | None = None

    def on_changed(self, tell: Callable[[], None], doubt: Callable[[], Awaitable[None]]) -> None:
        """``doubt`` is for when it is not of the era that it was known to speak, and waits until that is known."""
        self._changed, self._doubt = tell, doubt
        self._backend.on_changed(tell)

    def speaks(self, offer: Offer, ambient: Ambient) -> None:
        """What the backend says of itself, in either era or in one."""
        if offer.modern.discovered is None:
            if isinstance(self._bridge, ToLegacy):
                self._bridge.offer = offer
            else:
                self._cross(ToLegacy(self._backend, offer, ambient, self._changed, self._doubt))
        elif offer.greeting is None:
            if isinstance(self._bridge, ToModern):
                self._bridge.offer = offer
            else:
                self._cross(ToModern(self._backend, offer, ambient))
        else:
            self._cross(None)

    def repeat(self, parameters: ByTool) -> None:
        self._backend.repeat(parameters)

    async def ask(self, listener: Callable[[Frame], None]) -> BackendSession:
        """For whoever asks what it offers: the backend itself, in a session of no era yet."""
        await self._ready()
        return await self._backend.open(listener)

    async def open(self, listener: Callable[[Frame], None], caller: Caller) -> BackendSession:
        """For a legacy client, with whatever the backend speaks; where nobody knows, with it as it is."""
        await self._ready()
        if isinstance(self._bridge, ToModern):
            return self._bridge.open(listener, caller)
        return await self._backend.open(listener, caller)

    async def join(self, caller: Caller) -> ModernSession:
        """The same for a request of a modern one."""
        await self._ready()
        if isinstance(self._bridge, ToLegacy):
            return self._bridge.join(caller)
        return await self._backend.join(caller)

    def runs(self, caller: Caller) -> bool:
        """False where a request of the modern caller would start a process."""
        if not self.starts_processes:
            return True
        return self._bridge.runs(caller) if isinstance(self._bridge, ToLegacy) else self._backend.runs(caller)

    @property
    def last_line(self) -> str:
        return self._backend.last_line

    @property
    def busy(self) -> bool:
        return self._started and (self._backend.busy or any(bridge.busy for bridge in self._bridges))

    @property
    def proven(self) -> bool:
        return self._backend.proven

    def follow(self, ending: asyncio.Task[None]) -> None:
        """Whose place it takes is ``ending``, and is waited for a moment: both might want the same file or port."""
        self._before = ending

    def retire(self) -> None:
        self._backend.retire()
        for bridge in self._bridges:
            bridge.retire()

    def stop_idle(self) -> None:
        for bridge in self._bridges:
            bridge.stop_idle()
        self._backend.stop_idle()

    def end_grant(self, grant_id: str) -> None:
        for bridge in self._bridges:
            bridge.end_grant(grant_id)
        self._backend.end_grant(grant_id)

    def _cross(self, bridge: ToLegacy | ToModern | None) -> None:
        """The way over from now on. The one before is nobody else's, and ends when those on it have their answers."""
        before, self._bridge = self._bridge, bridge
        if before is not None:
            before.retire()
            leaving = asyncio.create_task(leave(before, LEAVING))
            self._left[leaving] = before
            leaving.add_done_callback(self._left.pop)

    @property
    def _bridges(self) -> list[ToLegacy | ToModern]:
        return [*self._left.values(), *([] if self._bridge is None else [self._bridge])]

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
        """However often it is asked for, and whoever stops waiting: it is done once, and to its end."""
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        for leaving in self._left:
            leaving.cancel()
        await asyncio.gather(self._backend.close(), *(bridge.close() for bridge in self._bridges))

    def kill(self) -> None:
        self._backend.kill()

    def unrestricted(self, principal: Principal) -> bool:
        """Whether every tool there is or will be may be used, so that nothing needs to be looked at."""
        everything = principal.servers is None or principal.servers.get(self.name, frozenset()) is None
        return everything and self.tools.open and principal.scope_needed(self.name, read_only=False) is None

    def lists(self, principal: Principal, tool: Tool) -> bool:
        return self.tools.admits(tool.name) and principal.permits(self.name, tool.name, read_only=tool.read_only)

    def listed(self, principal: Principal, listing: Listing, kind: Kind) -> list[msgspec.Raw]:
        """Of what it lists, what the principal may see."""
        if kind is TOOLS:
            return [tool.definition for tool in listing.tools.values() if self.lists(principal, tool)]
        if principal.scope_needed(self.name, read_only=False) is None:
            return list(listing.definitions[kind].values())
        return []

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
