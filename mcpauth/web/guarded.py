"""In front of every MCP request: bearer, Origin, headers, size, in this order."""

from asyncio import CancelledError, Future
from typing import Any

from tornado.httputil import HTTPHeaders
from tornado.web import HTTPError

from ..errors import (
    GatewayError,
    InsufficientScope,
    InvalidMessage,
    InvalidToken,
    MissingToken,
    OAuthError,
    PageError,
    ParseError,
    RequestCancelled,
    TooMuchUnderWay,
    UnknownBackend,
    UnknownSession,
)
from ..gateway import frames
from ..gateway.gateway import Gateway
from ..gateway.load import LARGE
from ..oauth.trace import Trace
from .base import JSONHandler, in_words
from .gate import Gate

TOO_LONG = f"a message may have {frames.LIMIT // 1024**2} MiB at most"

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


class Refusal(Exception):
    """A status, and a JSON-RPC error that says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class GuardedHandler(JSONHandler):
    """Judges a request by its headers. Here its body has come already; web/streamed.py has those that are long."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "OPTIONS")

    def initialize(self, gateway: Gateway, gate: Gate) -> None:
        self._gateway, self._gate = gateway, gate
        self._backend: str | None = None
        self._allowed_origin: str | None = None
        self._grant_session: str | None = None  # of whom the bearer let in
        self._answer_refuses = False  # whatever its status is

    def set_default_headers(self) -> None:
        super().set_default_headers()
        # Called for the first time by the constructor, and again when an error clears what was set.
        origin: str | None = getattr(self, "_allowed_origin", None)
        if origin is not None:
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "WWW-Authenticate, Mcp-Session-Id")
            self.set_header("Vary", "Origin")

    async def respond(self, **path: bytes) -> None:
        """As Tornado's ``_execute``, where the body has come and is JSON, and no page can send a form."""
        self._transforms, self.path_args = [], []
        try:
            if self.request.method not in self.SUPPORTED_METHODS:
                raise HTTPError(405)
            self.path_kwargs = {name: self.decode_argument(value, name) for name, value in path.items()}
            await self.prepare()
            if not self._finished:
                answering = getattr(self, self.request.method.lower())(**self.path_kwargs)
                if answering is not None:
                    await answering
            if not self._finished:
                self.finish()
        except (Exception, CancelledError) as error:
            self._handle_request_exception(error)  # What was cancelled is what was waited for.

    async def prepare(self) -> None:
        self._backend = self.path_kwargs.get("backend")
        try:
            super().prepare()
            await self._judge()
        except (OAuthError, PageError, Refusal) as refusal:
            self.turn_away(refusal)

    async def _judge(self) -> None:
        """Raises what stands against the request."""
        origin = self.request.headers.get("Origin")
        if origin is not None and self._gate.allows_everybody(origin):
            self._allow(origin)
        if self.request.method != "OPTIONS":
            self.admit()
            if origin is not None and await self._gate.allows(origin, self._principal):
                self._allow(origin)
        if origin is not None and self._allowed_origin is None:
            raise Refusal(403, "requests from pages of this Origin are not allowed")
        if self.request.method == "POST":
            kind = self.request.headers.get("Content-Type", "").split(";")[0].strip().lower()
            if kind != "application/json":
                raise Refusal(415, "Content-Type must be application/json")
            if declared_size(self.request.headers) > frames.LIMIT:
                raise Refusal(413, TOO_LONG)

    def admit(self) -> None:
        self._principal = self._gate.admit(self.request, self._backend)
        self._grant_session = self._principal.session_id

    def _allow(self, origin: str) -> None:
        self._allowed_origin = origin
        self.set_default_headers()

    def is_refused(self) -> bool:
        """First of all in every method: whether the request has its answer already."""
        return False

    def take_body(self) -> bytes:
        return self.request.body

    def options(self, *args: str, **kwargs: str) -> None:
        if not self.is_refused():
            self.cors = self._allowed_origin is not None
            super().options(*args, **kwargs)

    def on_finish(self) -> None:
        """The trace hears of the first request of a session, and of those that were refused."""
        trace: Trace | None = self.settings.get("trace")
        if trace is not None and self.step is None:
            session_id = self._grant_session
            if self.get_status() == 401:
                session_id = self._gate.session_of(self.request)
            failed = self.get_status() >= 400 or self._answer_refuses
            if failed or (session_id is not None and trace.is_news(session_id, self._party)):
                self.step = "mcp"
                self.tell(session_id=session_id)
        super().on_finish()

    def _party(self) -> str:
        return self.site.party_of(self.request)

    # Refusals.

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if not isinstance(value, Refusal):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refusal):
            self.refuse(error.status, error.message)
            return
        if isinstance(error, MissingToken):
            self.step = "challenge"
        if isinstance(error, InvalidToken | InsufficientScope):
            self.set_header("WWW-Authenticate", self._gate.challenge(self.request, error, self._backend))
        super().write_error(status_code, **kwargs)

    def write_message(self, status: int, message: bytes) -> None:
        self.set_status(status)
        # As set_header does it, without looking at what is known to be good.
        self._headers["Content-Type"] = "application/json"
        self._headers["Content-Length"] = str(len(message))
        self.count_unread(len(message), self.finish(message))

    def count_unread(self, size: int, sent: Future[None]) -> Future[None]:
        """What is large is unread until it is ``sent``."""
        if size > LARGE and self._grant_session is not None:
            unread = self._gateway.load.unread(self._principal.grant_id)
            unread.add(size)
            sent.add_done_callback(lambda _: unread.less(size))
        return sent

    def refuse(self, status: int, message: str) -> None:
        self.tell(error=f"{InvalidMessage.code}: {message}")
        if status == 405 and self._is_for_a_person:
            self._explain(status, message)
        else:
            self.write_message(status, _error(message))

    def tell_refusal(self, error: GatewayError) -> None:
        """Of what stands against this client; not of what only came at the wrong moment."""
        if isinstance(error, TooMuchUnderWay | RequestCancelled):
            return
        self._answer_refuses = True
        self.tell(error=f"{error.code}: {error.message}")

    def refuse_with(self, error: GatewayError) -> None:
        self.tell_refusal(error)
        self.write_message(STATUS.get(type(error), 400), frames.encode(frames.failure(None, error)))

    def write_failure(self, status: int, title: str, hint: str, error: str) -> None:
        if not self._is_for_a_person:
            # Who reads it speaks JSON-RPC; what OAuth has to say of it is in the header.
            self.write_message(status, _error(f"{error}: {in_words(title, hint)}"))
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

    def turn_away(self, refusal: Exception) -> None:
        self.log_exception(type(refusal), refusal, None)
        self.write_error(500, exc_info=(type(refusal), refusal, None))


def declared_size(headers: HTTPHeaders) -> int:
    """That it is a number, the connection has seen to."""
    return int(headers.get("Content-Length", "0"))


def _error(message: str) -> bytes:
    return frames.encode(frames.failure(None, InvalidMessage(message)))
