"""HTTP/1.1 connections of Tornado's, for clients that send nearly the same header with every request."""

import asyncio
import logging
from collections.abc import Awaitable
from functools import lru_cache
from typing import Any, cast

from tornado.http1connection import (
    HTTP1Connection,
    HTTP1ConnectionParameters,
    HTTP1ServerConnection,
    is_transfer_encoding_chunked,
)
from tornado.httputil import (
    HTTP_WHITESPACE,
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
    _normalize_header,
)
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from .. import log
from .stream import TransportStream

logger = logging.getLogger(__name__)

# Of the lines that were read, and how long one may be that is kept: tokens and cookies are longer.
KEPT, LONGEST = 4096, 64
# A head with more lines than that is nobody's who comes again.
USUAL = 100
LONGEST_NUMBER = 18


class Headers(HTTPHeaders):
    """``Mapping.get`` learns from an exception that something is not there, and most of what we ask for is not."""

    def take(self, name: str, value: str) -> None:
        """As ``add`` does it, of a field that was found good already."""
        if name in self._as_list:
            self._as_list[name].append(value)
        else:
            self._as_list[name] = [value]

    def get(self, name: str, default: Any = None) -> Any:
        values = self._as_list.get(_normalize_header(name))
        return default if values is None else ",".join(values)


class Connection(HTTP1Connection):
    """Takes a line apart once, however often it comes: that was a sixth of what a request costs in Tornado."""

    def _parse_headers(self, data: bytes) -> tuple[str, HTTPHeaders]:
        start_line, _, lines = data.decode("latin1").lstrip("\r\n").partition("\n")
        if lines.count("\n") > USUAL:
            return self._judged(*super()._parse_headers(data))
        headers = Headers()
        for line in lines.split("\n"):
            field = _kept(line) if len(line) <= LONGEST else _read(line)
            if field is not None:
                headers.take(*field)
        return self._judged(start_line.rstrip("\r"), headers)

    def _read_body(self, code: int, headers: HTTPHeaders, delegate: HTTPMessageDelegate) -> Awaitable[None] | None:
        """A short body has come with its head, nearly always, and need not be waited for."""
        length = int(headers.get("Content-Length", "0"))
        if 0 < length <= min(self.params.chunk_size, self._max_body_size):
            body = cast(TransportStream, self.stream).take(length)
            if body is not None:
                return self._deliver_body(delegate, body)
        return super()._read_body(code, headers, delegate)

    def _judged(self, start_line: str, headers: HTTPHeaders) -> tuple[str, HTTPHeaders]:
        """Raises HTTPInputError of a body whose length is not said in one way: before anybody answers, not after."""
        is_transfer_encoding_chunked(headers)
        length = headers.get("Content-Length", "0")
        if not length.isdecimal() or len(length) > LONGEST_NUMBER:
            raise HTTPInputError("Content-Length is not one number")
        return start_line, headers


def _read(line: str) -> tuple[str, str] | None:
    """One field, or none; by Tornado's own rules. Raises HTTPInputError.

    ``parse_line`` would look for the end of the line first: for a token that takes longer than all the rest.
    """
    line = line.removesuffix("\r")
    if not line:
        return None
    name, colon, value = line.partition(":")
    if not colon:
        raise HTTPInputError("no colon in header line")
    headers = HTTPHeaders()
    headers.add(name, value.strip(HTTP_WHITESPACE))
    return next(iter(headers.get_all()))


_kept = lru_cache(KEPT)(_read)


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
