"""HTTP/1.1 connections of Tornado's, for clients that send nearly the same header with every request."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import cast

from tornado.http1connection import (
    HTTP1Connection,
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
    is_transfer_encoding_chunked,
)
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from .. import log
from . import head
from .stream import TransportStream

logger = logging.getLogger(__name__)

LONGEST_NUMBER = 18


class Connection(HTTP1Connection):
    def _parse_headers(self, data: bytes) -> tuple[str, HTTPHeaders]:
        start_line, _, lines = data.decode("latin1").lstrip("\r\n").partition("\n")
        return self._judged(start_line.rstrip("\r"), head.read(lines))

    def _read_body(self, code: int, headers: HTTPHeaders, delegate: HTTPMessageDelegate) -> Awaitable[None] | None:
        """A short body has come with its head, nearly always, and need not be waited for."""
        length = int(headers.get("Content-Length", "0"))
        if 0 < length <= min(self.params.chunk_size, self._max_body_size):
            body = cast(TransportStream, self.stream).take(length)
            if body is not None:
                return self._deliver_body(delegate, body)
        return super()._read_body(code, headers, delegate)

    def write_headers(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> "asyncio.Future[None]":
        """The bytes that Tornado sends, of an answer that is all here, to a client that stays."""
        asked = self._request_start_line
        whole = chunk is not None and headers.get("Content-Length") == str(len(chunk))
        usual = asked is not None and asked.version == "HTTP/1.1" and asked.method != "HEAD"
        if not (whole and usual) or self._disconnect_on_finish or self.stream.closed():
            return super().write_headers(start_line, headers, chunk)
        body = cast(bytes, chunk)
        self._response_start_line = cast(ResponseStartLine, start_line)
        self._expected_content_remaining = len(body)
        first = f"HTTP/1.1 {start_line[1]} {start_line[2]}\r\n".encode("latin1")
        self._pending_write = self.stream.write(b"".join((first, *head.written(headers), b"\r\n", body)))
        self._expected_content_remaining = 0
        return self._pending_write

    def _judged(self, start_line: str, headers: HTTPHeaders) -> tuple[str, HTTPHeaders]:
        """Raises HTTPInputError of a body whose length is not said in one way: before anybody answers, not after."""
        is_transfer_encoding_chunked(headers)
        length = headers.get("Content-Length", "0")
        if not length.isdecimal() or len(length) > LONGEST_NUMBER:
            raise HTTPInputError("Content-Length is not one number")
        return start_line, headers


class ServerConnection(HTTP1ServerConnection):
    """Knows for how long it has waited for a client: a timer for each request would cost more than it is worth."""

    def __init__(self, stream: TransportStream, params: HTTP1ConnectionParameters, context: object) -> None:
        super().__init__(cast(IOStream, stream), params, context)
        self._open, self._stream = stream.open, stream
        self._now = asyncio.get_running_loop().time
        self._waiting_since: float | None = None
        self._unsent, self._unsent_since = 0, 0.0

    def waits_longer_than(self, ttl: float) -> bool:
        """Whether the rest of a request's head, or of its body, has been ``ttl`` seconds in coming."""
        return self._waiting_since is not None and self._waiting_since <= self._now() - ttl

    def is_unread_for(self, ttl: float) -> bool:
        """Whether nothing was taken for ``ttl`` seconds of what waits for the client, as far as was seen when asked."""
        unsent, now = self._stream.unsent, self._now()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        return unsent > 0 and self._unsent_since <= now - ttl

    def waits_for_body(self) -> None:
        self._waiting_since = self._now()

    def has_request(self) -> None:
        self._waiting_since = None

    async def _server_request_loop(self, delegate: HTTPServerConnectionDelegate) -> None:
        try:
            await self._open()
            while True:
                self._waiting_since = self._now()
                connection = Connection(self.stream, False, self.params, self.context)
                try:
                    if not await connection.read_response(delegate.start_request(self, connection)):
                        return
                except (StreamClosedError, UnsatisfiableReadError, asyncio.CancelledError):
                    return
                except Exception:
                    logger.exception("connection_failed", extra=log.bounded())
                    connection.close()
                    return
                if self.stream.closed():
                    return  # What is buffered still would be served to nobody, and to its end before others.
        finally:
            delegate.on_close(self)
