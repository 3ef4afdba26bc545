"""A backend that is a program: one child process per MCP session, frames relayed line by line."""

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import msgspec

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError
from . import frames
from .child import Child
from .configuration import StdioServer
from .exchange import Exchange
from .frames import Frame

logger = logging.getLogger(__name__)

Listener = Callable[[Frame], None]

# All that a child gets of our environment; the second line is what Windows programs cannot live without.
INHERITED: tuple[str, ...] = ("PATH", "HOME", "LANG", "TMPDIR")
if os.name == "nt":
    INHERITED += ("SYSTEMROOT", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "TEMP", "PATHEXT", "COMSPEC")

# Searched in the raw parameters, so that only those which have one are decoded.
TOKEN = re.compile(b"progressToken")


class StdioBackend:
    """Starts a child for each session, and knows them all until they are gone."""

    def __init__(
        self, name: str, server: StdioServer, ambient: Ambient, environ: Mapping[str, str], grace: float = 2.0
    ) -> None:
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
        self._name, self._listener, self._ambient, self._forget = name, listener, ambient, ended
        self._waiting: dict[int, Exchange] = {}
        self._full: set[Exchange] = set()
        self._last = 0
        self._closed = False
        self._over: str | None = None

    async def start(self, command: list[str], *, env: Mapping[str, str], cwd: Path, grace: float) -> None:
        self._child = await Child.spawn(
            self._name, command, env=env, cwd=cwd, line=self._heard, ended=self._ended, grace=grace
        )

    @property
    def over(self) -> bool:
        return self._over is not None

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        if self._over is not None:
            raise BackendUnavailable(self._over)
        self._last += 1
        exchange = Exchange(frame["id"], self._hold)
        self._waiting[self._last] = exchange
        number = msgspec.Raw(b"%d" % self._last)
        sent = {**frame, "id": number}
        params = frame.get("params")
        if params is not None and TOKEN.search(params):
            # The request's own number is unique among all that are active, so it serves as the token too.
            sent["params"], exchange.token = _replace_token(params, number)
        self._child.write(frames.encode_line(sent))
        return exchange

    async def notify(self, frame: Frame) -> None:
        if frames.text(frame.get("method")) == "notifications/cancelled":
            cancelled = self._cancel(frame)
            if cancelled is None:
                return
            frame = cancelled
        if self._over is None:
            self._child.write(frames.encode_line(frame))
            await self._child.drain()

    async def close(self) -> None:
        self._closed = True
        self._fail("the MCP session has ended")
        await self._child.close()

    def kill(self) -> None:
        self._child.kill()

    def _cancel(self, frame: Frame) -> Frame | None:
        """The frame with our id in it; None when no such request is waiting."""
        params = frames.members(frame.get("params"))
        if "requestId" not in params:
            return None
        wanted = frames.identifier(params["requestId"])
        for number, exchange in self._waiting.items():
            if frames.identifier(exchange.request_id) == wanted:
                # The child is not to answer it any more, and a stream must have an end.
                self._finish(number, BackendUnavailable("the request was cancelled"))
                return {**frame, "params": frames.raw({**params, "requestId": number})}
        return None

    def _heard(self, line: bytes) -> None:
        """One line of the child's."""
        try:
            frame = frames.decode(line)
            method = frame.get("method")
            if method is None:
                self._answered(frame)
            elif frames.text(method) == "notifications/progress":
                self._progressed(frame)
            else:
                self._said(frame)
        except GatewayError as error:
            begins = line[:200].decode("utf-8", "replace")
            about = log.fields(backend=self._name, reason=error.message, line=begins)
            logger.warning("backend_line_skipped", extra=about)

    def _answered(self, frame: Frame) -> None:
        number = frames.identifier(frame.get("id", frames.raw(None)))
        exchange = self._waiting.pop(number, None) if isinstance(number, int) else None
        if exchange is not None:
            frame["id"] = exchange.request_id
            exchange.finish(frame)

    def _progressed(self, frame: Frame) -> None:
        params = frames.members(frame.get("params"))
        token = frames.value(params["progressToken"]) if "progressToken" in params else None
        exchange = self._waiting.get(token) if isinstance(token, int) else None
        if exchange is not None and exchange.token is not None:
            frame["params"] = frames.raw({**params, "progressToken": exchange.token})
            exchange.put(frame)

    def _said(self, frame: Frame) -> None:
        """Nothing in the frame tells which request it is about: with one in flight, it is that one."""
        if len(self._waiting) == 1:
            next(iter(self._waiting.values())).put(frame)
        else:
            self._listener(frame)

    def _hold(self, exchange: Exchange) -> None:
        """A consumer fell behind, or caught up: the child waits for the slowest."""
        if exchange.full:
            self._full.add(exchange)
            self._child.hold()
        else:
            self._full.discard(exchange)
            if not self._full:
                self._child.go_on()

    def _ended(self, reason: str) -> None:
        """The process is gone. Clients learn that, and where the owner finds more; stderr is in the log."""
        self._forget(self)
        if self._closed:
            return
        reference = self._ambient.identifier()[:8]
        about = log.fields(backend=self._name, reason=reason, reference=reference, waiting=len(self._waiting))
        logger.error("backend_exited", extra=about)
        self._fail(f"the server {self._name} ended ({reason}); log reference {reference}")

    def _fail(self, reason: str) -> None:
        """Every request that waits, and every later one, gets ``reason``."""
        self._over = self._over or reason
        for number in list(self._waiting):
            self._finish(number, BackendUnavailable(reason))

    def _finish(self, number: int, error: GatewayError) -> None:
        exchange = self._waiting.pop(number)
        exchange.finish(frames.failure(exchange.request_id, error))


def _replace_token(params: msgspec.Raw, ours: msgspec.Raw) -> tuple[msgspec.Raw, msgspec.Raw | None]:
    """The parameters with our progress token in place of the client's, and the client's."""
    given = frames.members(params)
    meta = frames.members(given.get("_meta"))
    theirs = meta.get("progressToken")
    if theirs is None:
        return params, None
    return frames.raw({**given, "_meta": {**meta, "progressToken": ours}}), theirs
