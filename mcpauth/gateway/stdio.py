"""A backend that is a program: one child process per MCP session, frames relayed line by line."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError
from . import frames
from .child import Child
from .configuration import StdioServer
from .exchange import Pace
from .frames import Frame
from .in_flight import InFlight
from .reaper import Reaper

logger = logging.getLogger(__name__)

Listener = Callable[[Frame], None]

# All that a child gets of our environment; the second line is what Windows programs cannot live without.
INHERITED: tuple[str, ...] = ("PATH", "HOME", "LANG", "TMPDIR")
if os.name == "nt":
    INHERITED += ("SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "PATHEXT", "COMSPEC")


class StdioBackend:
    """Starts a child for each session, and knows them all until they are gone."""

    def __init__(
        self,
        name: str,
        server: StdioServer,
        ambient: Ambient,
        environ: Mapping[str, str],
        grace: float = 2.0,
        reaper: Reaper | None = None,
    ) -> None:
        self._reaper = reaper
        self.name = name
        self._server, self._ambient, self._grace = server, ambient, grace
        self._env = {key: environ[key] for key in INHERITED if key in environ} | server.env
        self._sessions: set[StdioSession] = set()

    async def start(self) -> None:
        """Nothing runs before there is a session."""

    async def open(self, listener: Listener) -> "StdioSession":
        session = StdioSession(self.name, listener, self._ambient, self._sessions.discard)
        await session.start(
            [self._server.command, *self._server.args],
            env=self._env,
            cwd=self._server.cwd or Path.home(),
            grace=self._grace,
            reaper=self._reaper,
        )
        if not session.over:
            self._sessions.add(session)
        return session

    async def close(self) -> None:
        await asyncio.gather(*(session.close() for session in self._sessions))

    def kill(self) -> None:
        for session in self._sessions:
            session.kill()


class StdioSession:
    """Requests get ids of ours towards the child, and their own back on the way out."""

    def __init__(
        self, name: str, listener: Listener, ambient: Ambient, ended: Callable[["StdioSession"], None]
    ) -> None:
        self._name, self._ambient, self._forget = name, ambient, ended
        self._in_flight = InFlight(listener)
        self._closed = False
        self._over: str | None = None

    async def start(
        self, command: list[str], *, env: Mapping[str, str], cwd: Path, grace: float, reaper: Reaper | None
    ) -> None:
        self._child = await Child.spawn(
            self._name, command, env=env, cwd=cwd, line=self._heard, ended=self._ended, grace=grace, reaper=reaper
        )
        self._pace = Pace(self._child.hold, self._child.go_on)

    @property
    def over(self) -> bool:
        return self._over is not None

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        if self._over is not None:
            raise BackendUnavailable(self._over)
        sent = self._in_flight.add(frame, self._pace)
        self._child.write(frames.encode_line(sent.frame))
        return sent.exchange

    async def notify(self, frame: Frame) -> None:
        if frames.text(frame.get("method")) == "notifications/cancelled":
            cancelled = self._in_flight.cancel(frame)
            if cancelled is None:
                return
            _, frame = cancelled
        if self._over is None:
            self._child.write(frames.encode_line(frame))
            await self._child.drain()

    async def close(self) -> None:
        self._closed = True
        self._fail("the MCP session has ended")
        await self._child.close()

    def kill(self) -> None:
        self._child.kill()

    def _heard(self, line: bytes) -> None:
        """One line of the child's."""
        try:
            # Nothing in it tells which request it is about: with one in flight, it is that one.
            self._in_flight.heard(frames.decode(line), self._in_flight.only)
        except GatewayError as error:
            begins = line[:200].decode("utf-8", "replace")
            about = log.fields(backend=self._name, reason=error.message, line=begins)
            logger.warning("backend_line_skipped", extra=about)

    def _ended(self, reason: str) -> None:
        """The process is gone. Clients learn that, and where the owner finds more; stderr is in the log."""
        self._forget(self)
        if self._closed:
            return
        reference = self._ambient.identifier()[:8]
        about = log.fields(backend=self._name, reason=reason, reference=reference, waiting=len(self._in_flight))
        logger.error("backend_exited", extra=about)
        self._fail(f"the server {self._name} ended ({reason}); log reference {reference}")

    def _fail(self, reason: str) -> None:
        """Every request that waits, and every later one, gets ``reason``."""
        self._over = self._over or reason
        self._in_flight.fail_all(BackendUnavailable(reason))
