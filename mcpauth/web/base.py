"""What all handlers share: headers, errors, the look of a page; and what those for programs share: JSON and forms."""

import json
import logging
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from pydantic import BaseModel, ValidationError
from tornado import web

from .. import log
from ..ambient import http_date
from ..errors import InvalidRequest, InvalidTarget, MissingToken, OAuthError, PageError
from ..models.records import StepKind, User
from ..oauth.authorization import RedirectedError
from ..oauth.trace import Trace
from .head import Headers
from .site import Site

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=BaseModel)

CSP = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    # No form-action: Chromium holds the whole chain of redirects after a POST against it, and ours ends at the client.
    "base-uri 'none'; frame-ancestors 'none'"
)

# By status: the error code, and the words of a page.
REFUSALS = {
    400: ("invalid_request", "This did not work", "The request is not one that this address takes."),
    403: (
        "access_denied",
        "Not allowed",
        "The page was open for too long, or another site sent you. Go back, load it again, and retry.",
    ),
    404: ("not_found", "There is nothing here", "The address may be misspelt."),
    405: ("method_not_allowed", "Not like this", "This address does not take that kind of request."),
    500: ("server_error", "This did not work", "Something went wrong in this server; its log says what."),
}

CORS_HEADERS = "Authorization, Content-Type, Accept, MCP-Protocol-Version, Mcp-Session-Id, Mcp-Method, Mcp-Name"


class BaseHandler(web.RequestHandler):
    # Which step of a connection attempt a request is; None when it is none.
    step: StepKind | None = None
    # Who is signed in in this browser, and what they should know; only pages ask.
    user: User | None = None
    banners: Sequence[str] = ()

    @property
    def site(self) -> Site:
        site: Site = self.settings["site"]
        return site

    def clear(self) -> None:
        """As Tornado does it, without what we would take away again, and without formatting the date each time."""
        self._headers = Headers()
        self._headers["Date"] = http_date()
        self._headers["Cache-Control"] = "no-store"
        self._headers["X-Content-Type-Options"] = "nosniff"
        self.set_default_headers()
        self._write_buffer = []
        self.set_status(200)

    def prepare(self) -> Any:
        self.application.began(self)  # type: ignore[attr-defined]
        self.check_host()

    def check_xsrf_cookie(self) -> None:
        # Tornado asks this before ``prepare``; whoever came to another host is told that first.
        self.check_host()
        super().check_xsrf_cookie()

    def check_host(self) -> None:
        if not self.site.serves(self.request):
            host = self.request.headers.get("X-Forwarded-Host") or self.request.headers.get("Host", "")
            about = log.bounded(host=host[:100], hint="set MCP_OAUTH_PUBLIC_URL to the origin that clients use")
            logger.warning("host_refused", extra=about)
            raise PageError(421, "This is not the address of this server", f"It serves {self.site.origin}.")

    def on_finish(self) -> None:
        self.application.ended(self)  # type: ignore[attr-defined]
        if self.step is not None and self.request.method != "OPTIONS":
            self.take_down(self.step)

    def tell(self, **about: str | None) -> None:
        """What the trace is to know of this step; the names are those of oauth.trace.Trace.add."""
        self.__dict__.setdefault("_told", {}).update(about)

    def take_down(self, kind: StepKind) -> None:
        trace: Trace | None = self.settings.get("trace")
        if trace is not None:
            request = self.request
            told: dict[str, Any] = self.__dict__.get("_told", {})
            trace.add(
                kind,
                self.get_status(),
                request.method or "",
                request.path,
                self.site.party_of(request),
                request.headers.get("User-Agent", ""),
                **told,
            )

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self.application.ended(self)  # type: ignore[attr-defined]

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        if isinstance(value, RedirectedError):
            return
        # Cut: a stranger chooses how long it is.
        path = self.request.path[:200]
        if isinstance(value, OAuthError):
            level = logging.DEBUG if isinstance(value, MissingToken) else logging.INFO
            about = log.bounded(value.error, path=path, error=value.error, reason=value.description)
            logger.log(level, "request_refused", extra=about)
        elif isinstance(value, PageError):
            logger.info("request_refused", extra=log.bounded("page", path=path, reason=value.for_owner))
        elif isinstance(value, web.HTTPError) and value.status_code < 500:
            status = value.status_code
            logger.info("request_refused", extra=log.bounded(str(status), path=path, status=status))
        else:
            logger.error("request_failed", exc_info=value, extra=log.bounded(path=path))

    def sends_json(self) -> bool:
        return self.request.headers.get("Content-Type", "").split(";")[0].strip().lower() == "application/json"

    def accepts_html(self) -> bool:
        return "text/html" in self.request.headers.get("Accept", "")

    def set_page_headers(self) -> None:
        self.set_header("Content-Security-Policy", CSP)
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("X-Frame-Options", "DENY")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")

    def page(self, template: str, **values: Any) -> None:
        self.set_page_headers()
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.render(
            template,
            **{
                "title": "mcpauth",
                "version": self.site.version,
                "public_host": self.site.host,
                "signed_in_as": self.user.name if self.user else None,
                "logout_path": self.site.path("logout"),
                "banners": self.banners,
                **values,
            },
        )

    def error_page(self, status: int, title: str, hint: str, error: str) -> None:
        details = [("Error", error)] if error != "not_found" else []
        self.page("error.html", title=title, status=status, hint=hint, details=details, back_href="/")

    def write_json(self, body: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(body))

    def reply(self, message: BaseModel) -> None:
        self.write_json(message.model_dump(mode="json", exclude_none=True))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, RedirectedError):
            self.tell(error=f"{error.error.error}: {error.error.description}")
            self.set_status(302)
            self.set_header("Location", error.location)
            self.write_json(error.error.body())
        elif isinstance(error, OAuthError):
            self.tell(error=f"{error.error}: {error.description}")
            self.set_status(error.status)
            for name, value in error.headers().items():
                self.set_header(name, value)
            self.write_failure(error.status, "This did not work", error.description, error.error)
        elif isinstance(error, PageError):
            self.tell(error=f"{error.error}: {error.for_owner}")
            self.set_status(error.status)
            self.write_failure(error.status, error.title, error.hint, error.error)
        else:
            if status_code == 405:
                self.set_header("Allow", ", ".join(self.allowed_methods()))
            error_code, title, hint = REFUSALS.get(500 if status_code >= 500 else status_code, REFUSALS[400])
            self.tell(error=f"{error_code}: {title}")
            self.write_failure(status_code, title, hint, error_code)

    def allowed_methods(self) -> list[str]:
        """Those that the handler's own class, or one of ours that it is built on, answers."""
        own = [cls for cls in type(self).__mro__ if issubclass(cls, BaseHandler)]
        return [name for name in self.SUPPORTED_METHODS if any(name.lower() in vars(cls) for cls in own)]

    def write_failure(self, status: int, title: str, hint: str, error: str) -> None:
        """The error as JSON. ``title`` and ``hint`` are a page's words, and make the description."""
        self.write_json({"error": error, "error_description": in_words(title, hint)})


def in_words(title: str, hint: str) -> str:
    return hint if title == "This did not work" else f"{title}. {hint}"


def _is_unicode(text: str) -> bool:
    """JSON can spell half a surrogate pair, which nothing later can store or hash."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class JSONHandler(BaseHandler):
    """A handler for clients, not browsers: no cookies, so no XSRF check."""

    cors = False

    def set_default_headers(self) -> None:
        if self.cors:
            self.set_header("Access-Control-Allow-Origin", "*")

    def check_xsrf_cookie(self) -> None:
        pass

    def options(self, *args: str, **kwargs: str) -> None:
        """A CORS preflight, which browser clients send before they may ask."""
        methods = ", ".join(self.allowed_methods())
        self.set_header("Allow", methods)
        if self.cors:
            self.set_header("Access-Control-Allow-Methods", methods)
            asked = self.request.headers.get("Access-Control-Request-Headers")
            self.set_header("Access-Control-Allow-Headers", asked or CORS_HEADERS)
            self.set_header("Access-Control-Max-Age", "86400")
        self.set_status(204)
        self.finish()

    def form(self) -> dict[str, str]:
        """The body's parameters; empty ones are as good as absent (RFC 6749 §3.1).

        Form-encoded, but JSON is taken too. Raises InvalidRequest, also for repeated ones (§3.2); only
        ``resource`` may be repeated, with one value (RFC 8707 §2.2), otherwise InvalidTarget.
        """
        if self.sends_json():
            given = [(name, value) for name, value in self.json_object().items() if isinstance(value, str)]
        else:
            try:
                given = parse_qsl(
                    self.request.body.decode(), keep_blank_values=True, max_num_fields=100, errors="strict"
                )
            except ValueError:
                raise InvalidRequest("the body is not form-encoded UTF-8") from None
        values: dict[str, str] = {}
        for name, value in given:
            if not _is_unicode(value):
                raise InvalidRequest("a parameter is not UTF-8")
            if name == "resource" and values.get(name, value) != value:
                raise InvalidTarget("only one resource can be asked for at a time")
            if name in values and name != "resource":
                raise InvalidRequest("a parameter is included more than once")
            values[name] = value
        return {name: value for name, value in values.items() if value}

    def json_object(self) -> dict[str, Any]:
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise InvalidRequest("the body must be a JSON object")
        return body

    def parse(self, model: type[M], values: dict[str, str]) -> M:
        try:
            return model.model_validate(values)
        except ValidationError as error:
            field = ".".join(map(str, error.errors()[0]["loc"]))
            raise InvalidRequest(f"{field} is missing or malformed") from None

    def bearer(self) -> str:
        """The token of the Authorization header; empty when there is none (RFC 6750 §2.1)."""
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""
