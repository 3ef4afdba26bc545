"""/mcp and /mcp/{backend}: the streamable HTTP transport."""

import asyncio
import sys
from typing import Any

from tornado import web
from tornado.iostream import StreamClosedError

from ..errors import (
    GatewayError,
    InsufficientScope,
    InvalidMessage,
    InvalidToken,
    ParseError,
    UnknownBackend,
    UnknownSession,
)
from ..gateway import frames
from ..gateway.answer import Replies
from ..gateway.gateway import Gateway
from ..gateway.mailbox import Listener
from .base import JSONHandler
from .gate import Gate

# An answer that takes longer is sent as a stream, which can be kept alive.
JSON_WITHIN = 5.0
KEEP_ALIVE = 15.0
# What a client that was refused may still send before it reads.
LINGER = 2.0

EVENT_STREAM = "text/event-stream"
STATUS: dict[type[GatewayError], int] = {
    InvalidMessage: 400,
    ParseError: 400,
    UnknownSession: 404,
    UnknownBackend: 404,
}


@web.stream_request_body
class McpHandler(JSONHandler):
    """Streams the body in, so that whoever has no token is answered before it arrives."""

    def initialize(self, gateway: Gateway, gate: Gate) -> None:
        self._gateway, self._gate = gateway, gate
        self._allowed_origin: str | None = None
        self._body: list[bytes] = []
        self._size = 0
        self._refused = False  # the body is too long, what comes of it is thrown away
        self._gone = self._streaming = self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._replies: Replies | None = None
        self._listener: Listener | None = None

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Called for the first time by the constructor, and again when an error clears what was set.
        origin: str | None = getattr(self, "_allowed_origin", None)
        if origin is not None:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
            self.set_header("Vary", "Origin")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, InvalidToken | InsufficientScope):
            self.set_header("WWW-Authenticate", self._gate.challenge(self.request, error, self._backend))
        super().write_error(status_code, **kwargs)

    async def prepare(self) -> None:
        super().prepare()
        # The body is counted here, and refused by an answer, not by a closed connection.
        self.request.connection.set_max_body_size(sys.maxsize)  # type: ignore[union-attr]
        self._backend: str | None = self.path_kwargs.get("backend")
        origin = self.request.headers.get("Origin")
        if origin is not None and self._gate.allows_everybody(origin):
            self._allow(origin)
        if self.request.method != "OPTIONS":
            self._principal = self._gate.admit(self.request, self._backend)
            if origin is not None and await self._gate.allows(origin, self._principal):
                self._allow(origin)
        if origin is not None and self._allowed_origin is None:
            self._refuse(403, "requests from pages of this Origin are not allowed")
        elif self.request.method == "POST":
            self._check_body_headers()

    async def post(self, backend: str | None = None) -> None:
        if self._refused:
            self._end()
            return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        answer = await self._gateway.forward(
            self._principal,
            body,
            backend=backend,
            session_id=self._session_id,
            protocol_version=self.request.headers.get("MCP-Protocol-Version"),
        )
        if answer.session_id is not None:
            self.set_header("Mcp-Session-Id", answer.session_id)
        if answer.replies is not None:
            await self._relay(answer.replies)
        elif answer.reply is not None:
            self._write_message(STATUS.get(type(answer.error), 200) if answer.error else 200, answer.reply)
        else:
            self.set_status(202)
            self.finish()

    async def get(self, backend: str | None = None) -> None:
        session_id = self._session_id
        if session_id is None or not self._accepts(EVENT_STREAM, "text/*", "*/*"):
            # Clients take a 405 for "there is no such stream", anything else for a failure.
            self.set_header("Allow", ", ".join(self.allowed_methods()))
            self._refuse(405, "a stream needs an Mcp-Session-Id, and Accept: text/event-stream")
            return
        try:
            listener = self._gateway.listen(self._principal, backend=backend, session_id=session_id)
        except GatewayError as error:
            self._refuse_with(error)
            return
        if self.request.method == "HEAD":
            listener.close()
            self._set_stream_headers()
            self.finish()
            return
        self._listener = listener
        try:
            self._keep_alive()
            async for message in listener:
                await self._write_event(message)
            self.finish()
        finally:
            listener.close()
            self._stop_timer()

    async def head(self, backend: str | None = None) -> None:
        await self.get(backend)

    async def delete(self, backend: str | None = None) -> None:
        if self._session_id is None:
            self._refuse(400, "Mcp-Session-Id is missing")
            return
        try:
            self._gateway.end_session(self._principal, backend=backend, session_id=self._session_id)
        except GatewayError as error:
            self._refuse_with(error)
            return
        self.set_status(204)
        self.finish()

    def options(self, *args: str, **kwargs: str) -> None:
        self.cors = self._allowed_origin is not None
        super().options(*args, **kwargs)

    def data_received(self, chunk: bytes) -> None:
        if self._refused:
            return
        self._size += len(chunk)
        if self._size > frames.LIMIT:
            self._body.clear()
            self._refuse_length()
        else:
            self._body.append(chunk)

    def on_connection_close(self) -> None:
        """The client's request goes on: only an explicit cancellation ends a legacy request."""
        super().on_connection_close()
        self._gone = True
        self._stop_timer()
        if self._replies is not None:
            self._replies.streams = False
        if self._listener is not None:
            self._listener.close()

    @property
    def _session_id(self) -> str | None:
        return self.request.headers.get("Mcp-Session-Id")

    def _allow(self, origin: str) -> None:
        self._allowed_origin = origin
        self.set_default_headers()

    def _accepts(self, *types: str) -> bool:
        accept = self.request.headers.get("Accept", "").lower()
        given = [part.split(";")[0].strip() for part in accept.split(",")]
        return any(name in given for name in types)

    def _check_body_headers(self) -> None:
        length = self.request.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > frames.LIMIT:
            self._refuse_length()
        elif self.request.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
            self._refuse(415, "Content-Type must be application/json")

    # A POST's answer.

    async def _relay(self, replies: Replies) -> None:
        self._replies = replies
        replies.streams = self._accepts(EVENT_STREAM) and not self._gone
        if replies.streams:
            self._timer = asyncio.get_running_loop().call_later(JSON_WITHIN, self._keep_alive)
        try:
            async for message in replies:
                if replies.finished and not self._streaming:
                    self._write_message(200, message)
                    return
                await self._write_event(message)
            self.finish()
        finally:
            self._stop_timer()

    def _write_message(self, status: int, message: bytes) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(message)

    async def _write_event(self, message: bytes) -> None:
        """The next message waits until this one is on its way."""
        if self._gone:
            return
        self._set_stream_headers()
        self.write(b"event: message\ndata: ")
        self.write(message)
        self.write(b"\n\n")
        self._flushing = True
        try:
            await self.flush()
        except StreamClosedError:
            self._gone = True
        finally:
            self._flushing = False

    def _keep_alive(self) -> None:
        """A comment now and then: proxies cut what is silent."""
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._keep_alive)
        # While a flush is waited for, another one would take its place and it would never end.
        if not self._flushing and not self._gone:
            self._set_stream_headers()
            self.write(b": keep-alive\n\n")
            self.flush()

    def _set_stream_headers(self) -> None:
        if not self._streaming:
            self._streaming = True
            self.set_header("Content-Type", EVENT_STREAM)
            self.set_header("Cache-Control", "no-cache, no-transform")
            self.set_header("X-Accel-Buffering", "no")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Refusals, as JSON-RPC errors.

    def _refuse_length(self) -> None:
        """Answered at once, closed a little later: closed on what it still sends, a client may not see why."""
        self._refused = True
        body = _refusal(f"a message may have {frames.LIMIT // 1024**2} MiB at most")
        self.set_status(413)
        self.set_header("Content-Type", "application/json")
        self.set_header("Content-Length", str(len(body)))
        self.set_header("Connection", "close")
        self.write(body)
        self.flush()
        self._timer = asyncio.get_running_loop().call_later(LINGER, self._end)

    def _end(self) -> None:
        self._stop_timer()
        if not self._finished:
            self.finish()

    def _refuse(self, status: int, message: str) -> None:
        self._write_message(status, _refusal(message))

    def _refuse_with(self, error: GatewayError) -> None:
        self._write_message(STATUS.get(type(error), 400), frames.encode(frames.failure(None, error)))


def _refusal(message: str) -> bytes:
    return frames.encode(frames.failure(None, InvalidMessage(message)))
