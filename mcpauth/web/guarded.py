"""In front of every MCP request: bearer, Origin, headers, size, in this order; the body is kept only after that."""

import asyncio
import sys
from asyncio import Future
from typing import Any

from tornado import web

from ..errors import (
    GatewayError,
    InsufficientScope,
    InvalidMessage,
    InvalidToken,
    MissingToken,
    OAuthError,
    PageError,
    ParseError,
    TooMuchUnderWay,
    UnknownBackend,
    UnknownSession,
)
from ..gateway import frames
from ..gateway.gateway import Gateway
from ..gateway.load import LARGE, Held
from ..oauth.trace import Trace
from .base import JSONHandler
from .gate import Gate

TOO_LONG = f"a message may have {frames.LIMIT // 1024**2} MiB at most"
# What a client whose message is too long may still send before it reads why.
LINGER = 2.0
# A body that comes with its headers, nearly always.
SHORT = 16 * 1024

STATUS: dict[type[GatewayError], int] = {
    InvalidMessage: 400,
    ParseError: 400,
    UnknownSession: 404,
    UnknownBackend: 404,
}

# Modern answers repeat a JSON-RPC error code as an HTTP status; those that are not here are sent with 200.
STATUS_OF_CODE: dict[int | None, int] = {
    -32700: 400,
    -32600: 400,
    -32602: 400,
    -32020: 400,
    -32021: 400,
    -32022: 400,
    -32601: 404,
}


class _Refusal(Exception):
    """A status, and a JSON-RPC error that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@web.stream_request_body
class GuardedHandler(JSONHandler):
    """Judges a request by its headers, before there is a body, and keeps none of what it refuses.

    A refusal is sent at once, but finished only when the body has come: Tornado closes the connection of a
    request that is finished earlier, and a client that is still sending may never see why. A short body is just
    waited for.
    """

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")

    def initialize(self, gateway: Gateway, gate: Gate) -> None:
        self._gateway, self._gate = gateway, gate
        self._backend: str | None = None
        self._allowed_origin: str | None = None
        self._grant_session: str | None = None  # of whom the bearer let in
        self._body: list[bytes] = []
        self._size = 0
        self._held: Held | None = None  # what has come of a large one, among all that its grant has under way
        self._reading = False
        self._refused = False  # the refusal was sent already
        self._refusal: Exception | None = None  # it waits for the end of a short body
        self._ending: asyncio.TimerHandle | None = None

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Called for the first time by the constructor, and again when an error clears what was set.
        origin: str | None = getattr(self, "_allowed_origin", None)
        if origin is not None:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
            self.set_header("Vary", "Origin")

    async def prepare(self) -> None:
        self._reading = True
        self._backend = self.path_kwargs.get("backend")
        connection: Any = self.request.connection
        # Counted here, and refused by an answer, not by a closed connection.
        connection.set_max_body_size(sys.maxsize)
        try:
            super().prepare()
            await self._judge()
        except (OAuthError, PageError, _Refusal) as refusal:
            if self._is_short:
                self._refusal = refusal
            else:
                self._refuse_early(refusal)

    async def _judge(self) -> None:
        """Raises what stands against the request."""
        origin = self.request.headers.get("Origin")
        if origin is not None and self._gate.allows_everybody(origin):
            self._allow(origin)
        if self.request.method != "OPTIONS":
            self._admit()
            if origin is not None and await self._gate.allows(origin, self._principal):
                self._allow(origin)
        if origin is not None and self._allowed_origin is None:
            raise _Refusal(403, "requests from pages of this Origin are not allowed")
        if self.request.method == "POST":
            kind = self.request.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                raise _Refusal(415, "Content-Type must be application/json")
            if self._declared_size > frames.LIMIT:
                raise _Refusal(413, TOO_LONG)

    def _admit(self) -> None:
        self._endings = self._gateway.endings.count
        self._principal = self._gate.admit(self.request, self._backend)
        self._grant_session = self._principal.session_id

    @property
    def _declared_size(self) -> int:
        length = self.request.headers.get("Content-Length", "")
        return int(length) if length.isdecimal() else 0

    @property
    def _is_short(self) -> bool:
        return self._declared_size <= SHORT and "Transfer-Encoding" not in self.request.headers

    def _hold(self) -> None:
        try:
            self._held = self._gateway.load.hold(self._principal.grant_id, self._size, self._held)
        except TooMuchUnderWay as error:
            self._refuse_early(_Refusal(503, error.message))

    def _allow(self, origin: str) -> None:
        self._allowed_origin = origin
        self.set_default_headers()

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._refusal is not None:
            return
        if not self._refused:
            # Only a POST has a body that is looked at, and only of whom the bearer let in.
            if self.request.method == "POST":
                self._body.append(chunk)
            if self._size > frames.LIMIT:
                self._refuse_early(_Refusal(413, TOO_LONG))
            elif self._size > LARGE and self._body:
                self._hold()
        elif self._size > frames.LIMIT:
            self._linger()

    def is_refused(self) -> bool:
        """First of all in every method: whether the request has its answer already."""
        self._reading = False
        if self._refusal is not None:
            self._write_refusal(self._refusal)
            return True
        if self._refused:
            self._end()
        elif self._grant_session is not None and self._endings != self._gateway.endings.count:
            self._admit()  # A body may take its time, and somebody's grant has ended since.
        return self._refused

    def take_body(self) -> bytes:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._drop_body()
        return body

    def _drop_body(self) -> None:
        self._body.clear()
        self._held = None

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._held = None

    def options(self, *args: str, **kwargs: str) -> None:
        if not self.is_refused():
            self.cors = self._allowed_origin is not None
            super().options(*args, **kwargs)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "Future[None]":
        if not self._reading:
            return super().finish(chunk)
        if chunk is not None:
            self.set_header("Content-Length", str(len(chunk)))
            self.write(chunk)
        return self.flush()

    def on_finish(self) -> None:
        """The trace hears of the first request of a session, and of those that were refused."""
        trace: Trace | None = self.settings.get("trace")
        session_id = self._grant_session
        if trace is not None and self.step is None and self.get_status() == 401:
            session_id = self._gate.session_of(self.request)
        news = (
            trace is not None and session_id is not None and trace.is_news(session_id, self.site.party_of(self.request))
        )
        if self.step is None and (news or self.get_status() >= 400):
            self.step = "mcp"
            self.tell(session_id=session_id)
        super().on_finish()

    # Refusals.

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if not isinstance(value, _Refusal):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, _Refusal):
            self.refuse(error.status, error.message)
            return
        if isinstance(error, MissingToken):
            self.step = "challenge"
        if isinstance(error, InvalidToken | InsufficientScope):
            self.set_header("WWW-Authenticate", self._gate.challenge(self.request, error, self._backend))
        super().write_error(status_code, **kwargs)

    def write_message(self, status: int, message: bytes) -> None:
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(message)

    def refuse(self, status: int, message: str) -> None:
        self.tell(error=message)
        if status == 405 and self._is_for_a_person:
            self._explain(status, message)
        else:
            self.write_message(status, _error(message))

    def refuse_with(self, error: GatewayError) -> None:
        self.tell(error=error.message)
        self.write_message(STATUS.get(type(error), 400), frames.encode(frames.failure(None, error)))

    def write_failure(self, status: int, title: str, hint: str, error: str) -> None:
        if not self._is_for_a_person:
            super().write_failure(status, title, hint, error)
        elif status == 401:
            self._explain(status, f"{error}: {hint}")
        else:
            self.error_page(status, title, hint, error)

    @property
    def _is_for_a_person(self) -> bool:
        """Somebody opened the address in a browser. Clients take JSON or a stream, whatever else they take."""
        if self.request.method not in ("GET", "HEAD") or not self.accepts_html():
            return False
        accept = self.request.headers.get("Accept", "")
        return "json" not in accept and "event-stream" not in accept

    def _explain(self, status: int, error: str) -> None:
        """The same refusal, on a page that says what this address is."""
        self.set_status(status)
        self.page(
            "address.html",
            title="An address for apps",
            status=status,
            error=error,
            address=f"{self.site.origin}{self.request.path}",
        )

    def _refuse_early(self, refusal: Exception) -> None:
        self._refused = True
        self._drop_body()
        if max(self._declared_size, self._size) > frames.LIMIT:
            self._linger()
        self._write_refusal(refusal)

    def _write_refusal(self, refusal: Exception) -> None:
        self.log_exception(type(refusal), refusal, None)
        self.write_error(500, exc_info=(type(refusal), refusal, None))

    def _linger(self) -> None:
        """A body that is too long is not read to its end: the connection is closed, a little later."""
        if self._ending is None:
            self.set_header("Connection", "close")
            self._ending = asyncio.get_running_loop().call_later(LINGER, self._end)

    def _end(self) -> None:
        self._reading = False
        if self._ending is not None:
            self._ending.cancel()
        if not self._finished:
            self.finish()


def _error(message: str) -> bytes:
    return frames.encode(frames.failure(None, InvalidMessage(message)))
