"""Bodies that are too large are refused before anything reads them."""

import asyncio
import contextlib
import re
from typing import Any, cast

from tornado import httputil, web

from .direct import Direct, request_of
from .guarded import GuardedHandler, declared_size
from .streamed import is_short, streamed

LARGEST = 64 * 1024
# What is read and thrown away after a refusal, so that the client gets to see it.
LARGEST_DRAINED = 4 * 1024 * 1024

# The endpoints that count for themselves; everything else beneath /mcp is as small as the rest.
UNLIMITED = re.compile(r"/mcp(/[a-z0-9-]{1,24})?/?(\?.*)?")
WITH_MESSAGES = re.compile(rf"{UNLIMITED.pattern}|/messages(\?.*)?")  # where HTTP+SSE is switched on

# Of the paths that were looked up: how many are kept, and how long one may be.
KEPT, LONGEST = 100, 100

REFUSAL = b'{"error":"invalid_request","error_description":"the body is too large"}'


class LimitedApplication(web.Application):
    """``/mcp`` has a larger limit, which its handler keeps itself: there the bearer comes first.

    It also knows the requests that are being answered, so that stopping can wait for them, and where those to the
    paths of MCP go, which are nearly all.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unlimited: re.Pattern[str] = self.settings.get("unlimited", UNLIMITED)
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

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _Arriving(self, server_conn, request_conn, self._unlimited)


class _Arriving(httputil.HTTPMessageDelegate):
    """A request, from its head on: refused when it is too large, else given to whom its path names."""

    def __init__(
        self, application: LimitedApplication, server_connection: Any, connection: Any, unlimited: re.Pattern[str]
    ) -> None:
        self._application, self._server_connection, self._connection = application, server_connection, connection
        self._unlimited = unlimited
        self._delegate: httputil.HTTPMessageDelegate | None = None  # as long as its head is not found good
        self._limited, self._size, self._refused = True, 0, False

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Any:
        self._server_connection.waits_for_body()
        start_line = cast(httputil.RequestStartLine, start_line)
        self._limited = self._unlimited.fullmatch(start_line.path) is None
        if self._limited:
            self._connection.set_max_body_size(LARGEST_DRAINED)
            if declared_size(headers) > LARGEST:
                self._refuse()
                return None
        request = request_of(self._connection, self._server_connection, start_line, headers)
        self._delegate = self._application.find_handler(request)
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        self._size += len(chunk)
        if self._limited and self._size > LARGEST and not self._refused:
            self._refuse()
        return None if self._delegate is None or self._refused else self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._server_connection.has_request()
        if self._delegate is not None and not self._refused:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._delegate is not None and not self._refused:
            self._delegate.on_connection_close()

    def _refuse(self) -> None:
        self._refused = True
        headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(REFUSAL)),
            "Cache-Control": "no-store",
            "Connection": "close",
        }
        line = httputil.ResponseStartLine("HTTP/1.1", 413, "Content Too Large")
        self._connection.write_headers(line, httputil.HTTPHeaders(headers), REFUSAL)
        self._connection.finish()
