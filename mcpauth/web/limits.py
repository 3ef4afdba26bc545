"""Bodies that are too large are refused before anything reads them."""

import asyncio
import contextlib
import re
from typing import Any, cast

from tornado import httputil, web

from ..oauth.browser_session import BrowserSessions
from .direct import Direct, request_of
from .guarded import GuardedHandler, declared_size
from .site import Site
from .streamed import is_short, streamed
from .too_large import TooLargeHandler

LARGEST = 64 * 1024
# The form with a field for each tool (web/ticks.py), sent by somebody who is signed in.
LARGEST_FORM = 2 * 1024 * 1024
# What is read and thrown away after a refusal, so that the client gets to see it.
LARGEST_DRAINED = 4 * 1024 * 1024

# The endpoints that count for themselves; everything else beneath /mcp is as small as the rest.
UNLIMITED = re.compile(r"/mcp(/[a-z0-9-]{1,24})?/?(\?.*)?")
WITH_MESSAGES = re.compile(rf"{UNLIMITED.pattern}|/messages(\?.*)?")  # where HTTP+SSE is switched on

# Of the paths that were looked up: how many are kept, and how long one may be.
KEPT, LONGEST = 100, 100


class LimitedApplication(web.Application):
    """``/mcp`` has a larger limit, which its handler keeps itself: there the bearer comes first.

    It also knows the requests that are being answered, so that stopping can wait for them, and where those to the
    paths of MCP go, which are nearly all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unlimited: re.Pattern[str] = self.settings.get("unlimited", UNLIMITED)
        self._large_form: str | None = self.settings.get("large_form")
        self.running: set[web.RequestHandler] = set()
        self._idle = asyncio.Event()
        self._routes: dict[str, tuple[Any, ...]] = {}  # by path

    def began(self, handler: web.RequestHandler) -> None:
        self.running.add(handler)

    def ended(self, handler: web.RequestHandler) -> None:
        self.running.discard(handler)
        if not self.running:
            self._idle.set()

    async def finish_running(self, patience: float) -> None:
        """Until no request is being answered, for ``patience`` seconds at most."""
        self._idle.clear()
        if self.running:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), patience)

    def find_handler(self, request: httputil.HTTPServerRequest, **kwargs: Any) -> Any:
        """By the path alone, so what was found is found again."""
        route = self._routes.get(request.path)
        return super().find_handler(request, **kwargs) if route is None else self.get_handler_delegate(request, *route)

    def get_handler_delegate(
        self,
        request: httputil.HTTPServerRequest,
        target_class: type[web.RequestHandler],
        target_kwargs: dict[str, Any] | None = None,
        path_args: list[bytes] | None = None,
        path_kwargs: dict[str, bytes] | None = None,
    ) -> Any:
        if issubclass(target_class, GuardedHandler):
            if request.path not in self._routes and len(request.path) <= LONGEST:
                if len(self._routes) >= KEPT:
                    self._routes.clear()
                self._routes[request.path] = target_class, target_kwargs, path_args, path_kwargs
            if is_short(request.headers):
                return Direct(self, request, target_class, target_kwargs, path_kwargs)
            target_class = streamed(target_class)  # type: ignore[arg-type]
        return super().get_handler_delegate(request, target_class, target_kwargs, path_args, path_kwargs)

    async def largest(self, request: httputil.HTTPServerRequest) -> int:
        """How large its body may be; it has no other name yet than its cookie."""
        if request.path != self._large_form:
            return LARGEST
        site: Site = self.settings["site"]
        sessions: BrowserSessions = self.settings["browser_sessions"]
        cookie = request.cookies.get(site.cookie_name("session"))
        user = None if cookie is None else await sessions.find(cookie.value)
        return LARGEST if user is None or user.role == "pending" else LARGEST_FORM

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _Arriving(self, server_conn, request_conn, self._unlimited)


class _Arriving(httputil.HTTPMessageDelegate):
    """A request, from its head on: refused when it is too large, else given to whom its path names."""

    _delegate = httputil.HTTPMessageDelegate()  # nobody's, as long as its head is not found good

    def __init__(
        self, application: LimitedApplication, server_connection: Any, connection: Any, unlimited: re.Pattern[str]
    ) -> None:
        self._application, self._server_connection, self._connection = application, server_connection, connection
        self._unlimited = unlimited
        self._largest: int | None = None  # none is kept here
        self._size, self._refused = 0, False

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Any:
        self._server_connection.waits_for_body()
        start_line = cast(httputil.RequestStartLine, start_line)
        request = request_of(self._connection, self._server_connection, start_line, headers)
        if self._unlimited.fullmatch(start_line.path) is None:
            self._largest, self._request = LARGEST, request
            self._connection.set_max_body_size(LARGEST_DRAINED)
            if declared_size(headers) > LARGEST:
                return self._admit_large(start_line)
        return self._admit(request, start_line)

    def data_received(self, chunk: bytes) -> Any:
        self._size += len(chunk)
        if self._refused:
            return None
        if self._largest is not None and self._size > self._largest:
            return self._refuse()
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._server_connection.has_request()
        if not self._refused:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if not self._refused:
            self._delegate.on_connection_close()

    def _admit(self, request: httputil.HTTPServerRequest, start_line: httputil.RequestStartLine) -> Any:
        self._delegate = self._application.find_handler(request)
        return self._delegate.headers_received(start_line, request.headers)

    async def _admit_large(self, start_line: httputil.RequestStartLine) -> None:
        self._largest = await self._application.largest(self._request)
        fits = declared_size(self._request.headers) <= self._largest
        begun = self._admit(self._request, start_line) if fits else self._refuse()
        if begun is not None:
            await begun

    def _refuse(self) -> Any:
        """What still comes of the body is thrown away."""
        self._refused = True
        refusing = self._application.get_handler_delegate(self._request, TooLargeHandler)
        return refusing.headers_received(httputil.RequestStartLine("", "", ""), self._request.headers)
