"""A backend that is a program: one child process per MCP session, or shared by modern callers; frames are lines."""

import asyncio
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError, RequestCancelled, UnknownMethod
from . import frames
from .backend import RETIRED
from .child import Child
from .configuration import StdioServer
from .exchange import Exchange, Pace, SharedPace
from .frames import Frame
from .in_flight import InFlight
from .modern.caller import Caller
from .modern.envelope import without_logs
from .modern.shared import SharedSessions
from .reaper import Reaper

logger = logging.getLogger(__name__)

Listener = Callable[[Frame], None]
S = TypeVar("S", bound="StdioSession")

IDLE_STOP = 15 * 60

# Searched in the raw parameters; a letter of the name may be escaped.
LOGS = re.compile(rb"logLevel|\\u00")

# All that a child gets of our environment; the second line is what Windows programs cannot live without.
INHERITED: tuple[str, ...] = ("PATH", "HOME", "LANG", "TMPDIR")
if os.name == "nt":
    INHERITED += ("SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "PATHEXT", "COMSPEC")


class StdioBackend:
    """Starts a child for each session, and knows them all until they are gone."""

    legacy_only = False

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
        self._retired = False
        self._share = server.share or "user"
        self._shared = SharedSessions(name, self._spawn_shared, self._share, server.idle_stop or IDLE_STOP, ambient)

    async def start(self) -> None:
        """Nothing runs before there is a session."""

    async def open(self, listener: Listener) -> "StdioSession":
        if self._retired:
            raise BackendUnavailable(RETIRED)
        return await self._spawn(StdioSession(self.name, listener, self._ambient, self._sessions.discard))

    async def join(self, caller: Caller) -> "SharedSession":
        return await self._shared.join(caller)

    @property
    def busy(self) -> bool:
        return any(session.busy for session in self._sessions)

    def retire(self) -> None:
        self._retired = True
        for session in self._sessions:
            session.retire()

    def stop_idle(self) -> None:
        self._shared.stop_idle()

    def end_grant(self, grant_id: str) -> None:
        self._shared.end_grant(grant_id)

    async def close(self) -> None:
        await asyncio.gather(self._shared.close(), *(session.close() for session in self._sessions))
        # One that was just being started when the others were told.
        await asyncio.gather(*(session.close() for session in self._sessions))

    def kill(self) -> None:
        for session in self._sessions:
            session.kill()

    async def _spawn_shared(self) -> "SharedSession":
        logs = self._share != "all"
        return await self._spawn(SharedSession(self.name, self._ambient, self._sessions.discard, logs=logs))

    async def _spawn(self, session: S) -> S:
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


class StdioSession:
    """Requests get ids of ours towards the child, and their own back on the way out."""

    def __init__(
        self, name: str, listener: Listener, ambient: Ambient, ended: Callable[["StdioSession"], None]
    ) -> None:
        self._name, self._ambient, self._forget = name, ambient, ended
        self._in_flight = InFlight(listener)
        self._closed = self._retired = False
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

    @property
    def busy(self) -> bool:
        return len(self._in_flight) > 0

    def retire(self) -> None:
        """Take no new request."""
        self._retired = True

    def request(self, frame: Frame) -> Exchange:
        if self._over is not None:
            raise BackendUnavailable(self._over)
        if self._retired:
            raise BackendUnavailable(RETIRED)
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

    async def close(self, reason: str = "the MCP session has ended") -> None:
        self._closed = True
        self._fail(reason)
        await self._child.close()

    def kill(self) -> None:
        self._child.kill()

    def _heard(self, line: bytes) -> None:
        """One line of the child's."""
        try:
            self._deliver(frames.decode(line))
        except GatewayError as error:
            begins = line[:200].decode("utf-8", "replace")
            about = log.fields(backend=self._name, reason=error.message, line=begins)
            logger.warning("backend_line_skipped", extra=about)

    def _deliver(self, frame: Frame) -> None:
        # Where nothing tells which request it is about: with one in flight, it is that one.
        self._in_flight.heard(frame, self._in_flight.only)

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


class SharedSession(StdioSession):
    """A child in the modern era, with requests of several clients.

    What belongs to none of them goes to nobody. Log messages do not say which request they are about: they are
    passed on while a single one is in flight and wants them; a child that users share is not asked for any.
    """

    def __init__(self, name: str, ambient: Ambient, ended: Callable[[StdioSession], None], *, logs: bool) -> None:
        super().__init__(name, lambda frame: None, ambient, ended)
        self._logs = logs
        self._wants_logs: Exchange | None = None  # the newest request that does

    async def start(
        self, command: list[str], *, env: Mapping[str, str], cwd: Path, grace: float, reaper: Reaper | None
    ) -> None:
        await super().start(command, env=env, cwd=cwd, grace=grace, reaper=reaper)
        self._pace = SharedPace(self._child.hold, self._child.go_on, lambda: len(self._in_flight) <= 1, self._late)

    def request(self, frame: Frame) -> Exchange:
        wants_logs = "params" in frame and LOGS.search(frame["params"]) is not None
        exchange = super().request(without_logs(frame) if wants_logs and not self._logs else frame)
        exchange.whole = frames.text(frame["method"]) == "subscriptions/listen"
        if wants_logs:
            self._wants_logs = exchange
        return exchange

    def cancel(self, exchange: Exchange, error: GatewayError) -> None:
        """Its reader gets ``error``, and the child is told; nothing of what was answered already."""
        number = self._in_flight.abandon(exchange)
        if number is not None:
            exchange.fail(error)
            if self._over is None:
                told = {"requestId": number, "reason": error.message}
                self._child.write(frames.encode_line(frames.notification("notifications/cancelled", told)))

    def _late(self, exchange: Exchange) -> None:
        """Progress may have gaps; whoever subscribes again knows that there was one."""
        if exchange.whole:
            self.cancel(exchange, RequestCancelled("the client reads too slowly"))

    async def close(self, reason: str = "it is stopping") -> None:
        await super().close(f"the server {self._name} was stopped: {reason}")

    def _deliver(self, frame: Frame) -> None:
        if "id" in frame and "method" in frame:
            # In this era a server asks by its result. One that asks anyway is not left waiting.
            refusal = frames.failure(frame["id"], UnknownMethod("clients of this era take no requests"))
            self._child.write(frames.encode_line(refusal))
            return
        is_log = frames.text(frame.get("method")) == "notifications/message"
        only = self._in_flight.only if is_log and self._logs else None
        self._in_flight.heard(frame, only if only is self._wants_logs else None)
