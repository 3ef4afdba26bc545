"""Bodies that are too large are refused before anything reads them."""

import asyncio
import contextlib
import re
from typing import Any

from tornado import httputil, web

LARGEST = 64 * 1024
# What is read and thrown away after a refusal, so that the client gets to see it.
LARGEST_DRAINED = 4 * 1024 * 1024

# How long a body may take to come, and how often that is looked at.
BODY_TTL, LOOKING = 120.0, 30.0

# The endpoints that count for themselves; everything else beneath /mcp is as small as the rest.
UNLIMITED = re.compile(r"/mcp(/[a-z0-9-]{1,24})?/?(\?.*)?")
WITH_MESSAGES = re.compile(rf"{UNLIMITED.pattern}|/messages(\?.*)?")  # where HTTP+SSE is switched on

REFUSAL = b'{"error":"invalid_request","error_description":"the body is too large"}'


class LimitedApplication(web.Application):
    """``/mcp`` has a larger limit, which its handler keeps itself: there the bearer comes first.

    It also knows the requests that are being answered, so that stopping can wait for them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unlimited: re.Pattern[str] = self.settings.get("unlimited", UNLIMITED)
        self.running: set[web.RequestHandler] = set()
        self.receiving: dict[_Limit, float] = {}  # since when, the oldest first
        self._idle = asyncio.Event()

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

    async def watch_bodies(self) -> None:
        """Until cancelled. Tornado's own time-out would cost every request a task and a timer."""
        while True:
            await asyncio.sleep(LOOKING)
            self.close_stalled(BODY_TTL)

    def close_stalled(self, ttl: float) -> None:
        """Close the connections whose body has been coming for longer than ``ttl`` seconds."""
        begun_before = asyncio.get_running_loop().time() - ttl
        for limit, begun in list(self.receiving.items()):
            if begun > begun_before:
                break
            limit.close()

    def start_request(self, server_conn: object, request_conn: httputil.HTTPConnection) -> httputil.HTTPMessageDelegate:
        return _Limit(super().start_request(server_conn, request_conn), request_conn, self.receiving, self._unlimited)


class _Limit(httputil.HTTPMessageDelegate):
    def __init__(
        self,
        delegate: httputil.HTTPMessageDelegate,
        connection: Any,
        receiving: dict["_Limit", float],
        unlimited: re.Pattern[str],
    ) -> None:
        self._delegate, self._connection, self._receiving, self._unlimited = delegate, connection, receiving, unlimited
        self._limited, self._size, self._refused = True, 0, False

    def headers_received(
        self, start_line: httputil.RequestStartLine | httputil.ResponseStartLine, headers: httputil.HTTPHeaders
    ) -> Any:
        self._receiving[self] = asyncio.get_running_loop().time()
        path = start_line.path if isinstance(start_line, httputil.RequestStartLine) else ""
        self._limited = self._unlimited.fullmatch(path) is None
        if self._limited:
            self._connection.set_max_body_size(LARGEST_DRAINED)
            length = headers.get("Content-Length", "0")
            if length.isdigit() and int(length) > LARGEST:
                self._refuse()
                return None
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Any:
        self._size += len(chunk)
        if self._limited and self._size > LARGEST and not self._refused:
            self._refuse()
        return None if self._refused else self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._receiving.pop(self, None)
        if not self._refused:
            self._delegate.finish()

    def close(self) -> None:
        self._receiving.pop(self, None)
        self._connection.stream.close()

    def on_connection_close(self) -> None:
        self._receiving.pop(self, None)
        if not self._refused:
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
