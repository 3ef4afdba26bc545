"""A backend that is a program: a child process for each MCP session, or one that callers share; frames are lines."""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ..ambient import Ambient
from ..errors import BackendUnavailable
from .back_off import BackOff
from .backend import RETIRED, STOPPING, BackendSession
from .children import IDLE_STOP, Children, Place
from .configuration import StdioServer
from .frames import Frame
from .modern.caller import Caller
from .modern.parameters import ByTool
from .modern.shared import SharedSessions
from .reaper import Reaper
from .stdio_modern import Joined, ModernChild
from .stdio_session import Program, StdioSession
from .stdio_shared import Joining, Member, SharedChild

Listener = Callable[[Frame], None]
S = TypeVar("S", bound=StdioSession)

# All that a child gets of our environment; the second line is what Windows programs cannot live without.
INHERITED: tuple[str, ...] = ("PATH", "HOME", "LANG", "TMPDIR")
if os.name == "nt":
    INHERITED += ("SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "PATHEXT", "COMSPEC")


# While none runs, nobody can tell of a change. So what it offers is asked for again when one is started anyway.
FRESH = 300


class StdioBackend:
    """Starts children when they are needed, and knows them all until they are gone."""

    legacy_only = False
    starts_processes = True
    announces = True

    def __init__(
        self,
        name: str,
        server: StdioServer,
        ambient: Ambient,
        environ: Mapping[str, str],
        grace: float = 2.0,
        reaper: Reaper | None = None,
        children: Children | None = None,
    ) -> None:
        self.name = name
        self._ambient = ambient
        self._children = Children(ambient) if children is None else children
        self._program = Program(
            [server.command, *server.args],
            env={key: environ[key] for key in INHERITED if key in environ} | server.env,
            cwd=server.cwd or Path.home(),
            grace=grace,
            reaper=reaper,
        )
        self._sessions: set[StdioSession] = set()
        self._probed: StdioSession | None = None  # the last that was asked what it offers
        self._probed_at = ambient.now()
        self._retired = False
        self._changed: Callable[[], None] = lambda: None
        self._back_offs: dict[str, BackOff] = {}  # by user: nobody makes others wait with what they make crash
        self._share, self.idle_stop = server.share, server.idle_stop or IDLE_STOP
        self._modern = SharedSessions(name, self._start_modern, server.share or "user", self.idle_stop, ambient)
        self._shared = SharedSessions(name, self._start_shared, server.share or "session", self.idle_stop, ambient)

    async def start(self) -> None:
        """Nothing runs before there is a session."""

    def repeat(self, parameters: ByTool) -> None:
        """There are no headers."""

    def on_changed(self, tell: Callable[[], None]) -> None:
        self._changed = tell

    async def open(self, listener: Listener, caller: Caller | None = None) -> BackendSession:
        if self._retired:
            raise BackendUnavailable(RETIRED)
        if caller is not None and self._share in ("user", "all"):
            return Member(listener, caller, self._shared.join)

        if caller is None:
            self._probed_at = self._ambient.now()
            # To ask what it offers: that is done one after the other, with pauses, and must not fail for others' sake.
            beside = self._children.beside(self.name)
            return await self._start(beside, BackOff(self._ambient), lambda place: self._probe(listener, place))
        unread = caller.unread

        def make(place: Place) -> StdioSession:
            return StdioSession(self.name, listener, self._ambient, place, self._sessions.discard, unread)

        return await self._start_for(caller.subject, make, self.idle_stop)

    async def join(self, caller: Caller) -> Joined:
        if self._retired:
            raise BackendUnavailable(RETIRED)
        return Joined(await self._modern.join(caller), caller)

    def runs(self, caller: Caller) -> bool:
        return self._modern.runs(caller)

    @property
    def last_line(self) -> str:
        return "" if self._probed is None else self._probed.last_line

    @property
    def busy(self) -> bool:
        return any(session.busy for session in self._sessions)

    @property
    def proven(self) -> bool:
        return any(session.proven for session in self._sessions)

    def retire(self) -> None:
        self._retired = True
        for session in self._sessions:
            session.retire()

    def stop_idle(self) -> None:
        self._modern.stop_idle()
        self._shared.stop_idle()
        self._children.stop_idle(self.name)

    def end_grant(self, grant_id: str) -> None:
        self._modern.end_grant(grant_id)

    async def close(self) -> None:
        reason = RETIRED if self._retired else STOPPING
        pools = self._modern.close(), self._shared.close()
        await asyncio.gather(*pools, *(session.close(reason) for session in self._sessions))
        # One that was just being started when the others were told. Whoever asks on their own also ends on their own.
        await asyncio.gather(*(session.close(reason) for session in self._sessions))

    def kill(self) -> None:
        for session in self._sessions:
            session.kill()

    def _probe(self, listener: Listener, place: Place) -> StdioSession:
        """As long as it fails, it is found in the log by the same reference, which the owner may have noted."""
        before, forget = self._probed, self._sessions.discard
        reference = before.reference if before is not None and before.failed else None
        self._probed = StdioSession(self.name, listener, self._ambient, place, forget, probed=True, reference=reference)
        return self._probed

    async def _start_modern(self, caller: Caller) -> ModernChild:
        user = self._user(caller.subject)

        def make(place: Place) -> ModernChild:
            child = ModernChild(self.name, self._ambient, place, self._sessions.discard, private=user is not None)
            child.on_changed(self._changed)
            return child

        return await self._start_for(user, make)

    async def _start_shared(self, joining: Joining) -> SharedChild:
        user = self._user(joining.subject)

        def make(place: Place) -> SharedChild:
            return SharedChild(self.name, self._ambient, place, self._sessions.discard, private=user is not None)

        child = await self._start_for(user, make)
        await child.greet(joining.initialize)
        return child

    def _look_again(self) -> None:
        """One runs by now. Not sooner: of some programs only one can, and that is the one that a client waits for."""
        if self._probed_at + FRESH <= self._ambient.now():
            self._probed_at = self._ambient.now()
            self._changed()

    def _user(self, subject: str) -> str | None:
        """Whose a child is; None of one that is everybody's."""
        return None if self._share == "all" else subject

    async def _start_for(self, user: str | None, make: Callable[[Place], S], idle_stop: int | None = None) -> S:
        """Raises BackendUnavailable when there is no room, and soon after one that ended by itself."""
        back_off = self._back_offs.setdefault(user or "", BackOff(self._ambient))
        back_off.check()

        def made(place: Place) -> S:
            session = make(place)
            session.on_proven(self._look_again)
            return session

        return await self._start(self._children.place(self.name, user), back_off, made, idle_stop)

    async def _start(
        self, place: Place, back_off: BackOff, make: Callable[[Place], S], idle_stop: int | None = None
    ) -> S:
        try:
            session = make(place)
            await session.start(self._program, back_off)
        except BaseException:
            place.leave()
            raise
        if not session.over:
            place.child, place.idle_stop = session, idle_stop
            self._sessions.add(session)
        return session
