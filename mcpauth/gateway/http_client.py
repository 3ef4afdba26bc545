"""HTTP/1.1 to one server: aiohttp's connections, parser and writer, without its session.

What a ``ClientSession`` does anew for each request is here the same for all of them, and took longer than the rest.
Cookies, redirects, proxies and what the environment says are its affair too: there are none.
"""

import asyncio
import contextlib
import re
import socket
import sys
from collections.abc import Mapping
from functools import lru_cache, partial
from types import TracebackType
from typing import cast

from aiohttp import (
    AddrInfoType,
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientOSError,
    ClientRequest,
    ClientTimeout,
    ServerDisconnectedError,
    StreamReader,
    TCPConnector,
)
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, RawResponseMessage, StreamWriter
from yarl import URL

from .http_wire import Wire

CONNECTING = 10.0
# Servers commonly close what was idle for five seconds; a POST on a connection that is being closed is lost.
KEEP_ALIVE = 4.0
# A body that is larger is handed over in pieces of this size.
PORTION = 64 * 1024
# Of the lines of requests' heads: how many are kept, and how long one may be.
KEPT, LONGEST = 256, 64
KEPT_TOGETHER = 16
END_OF_LINE = re.compile(r"[\r\n\0]")
# What a server may say of an answer before it comes (RFC 9110 §15.2).
INTERIM = 10

# Whatever may go wrong on the way. A TimeoutError is an OSError.
FAILURES = (ClientError, HttpProcessingError, OSError)


class Response:
    """The head of one, and what comes of its body. Left before its end, the connection is closed."""

    __slots__ = ("_connection", "_writing", "content", "headers", "status")

    def __init__(
        self,
        message: RawResponseMessage,
        content: StreamReader,
        connection: Connection,
        writing: asyncio.Task[None] | None,
    ) -> None:
        self.status, self.headers, self.content = message.code, message.headers, content
        self._connection: Connection | None = connection
        self._writing = writing
        content.on_eof(self.release)

    def __enter__(self) -> "Response":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def release(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self.content.is_eof():
            cast(Wire, connection.protocol).is_answered()
        else:
            self.content.set_exception(ClientConnectionError("it was left"))
        if self._writing is None or self._writing.done():
            connection.release()
        else:
            self._writing.cancel()
            connection.close()


class HttpClient:
    """``headers`` go with every request that has no others of their names."""

    def __init__(self, url: URL, headers: Mapping[str, str]) -> None:
        self._loop = asyncio.get_running_loop()
        # No limit to the number of connections: each stream holds one.
        self._connector = TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=_socket)
        self._timeout = ClientTimeout(total=None, connect=CONNECTING)
        # It is never sent. The connector takes from it where to connect to, and we what aiohttp makes of the headers.
        self._connector._factory = partial(Wire, self._loop)  # type: ignore[assignment]
        self._pattern = ClientRequest("GET", url, headers=headers, loop=self._loop)
        self._common = lru_cache(KEPT_TOGETHER)(self._lines)

    async def send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None) -> Response:
        """The response, whatever its status. Raises one of FAILURES."""
        try:
            return await self._send(method, path, headers, body)
        except (ClientOSError, ServerDisconnectedError) as error:
            # A connection that was kept may be closed by now. What is no POST may be asked twice (RFC 9110 §9.2.2).
            if method == "POST" or isinstance(error, ClientConnectorError):
                raise
        return await self._send(method, path, headers, body)

    async def close(self) -> None:
        await self._connector.close()

    def _lines(self, others: tuple[str, ...]) -> bytes:
        """Of what goes with every request, that which has ``others`` of its name does without."""
        names = {name.lower() for name in others}
        return b"".join(
            _line(name, value) for name, value in self._pattern.headers.items() if name.lower() not in names
        )

    def abort(self) -> None:
        """Every connection is cut, in the next turn of the loop."""
        self._closing = asyncio.ensure_future(self._connector.close(abort_ssl=True))

    async def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Response:
        connection = await self._connector.connect(self._pattern, [], self._timeout)
        protocol, writing = cast(Wire | None, connection.protocol), None
        try:
            if protocol is None or protocol.should_close:
                # Something has come that nobody asked for: it would be taken for the answer.
                raise ServerDisconnectedError
            protocol.asks()
            writing = self._write(protocol, method, path, headers, body or b"")
            for _ in range(INTERIM + 1):
                message, content = await protocol.read()
                if message.code >= 200:
                    protocol.answers(content)
                    return Response(message, content, connection, writing)
                if message.code == 101:
                    break  # Nobody asked for another protocol.
            raise ServerDisconnectedError
        except BaseException:
            if writing is not None:
                writing.cancel()
            connection.close()
            raise

    def _write(
        self, protocol: Wire, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> asyncio.Task[None] | None:
        """What still has to be done, of a body that is large: its answer may come before all of it is sent.

        Raises ValueError for what cannot be in a header.
        """
        head = [f"{method} {path} HTTP/1.1\r\n".encode(), self._common(tuple(headers))]
        for name, value in headers.items():
            head.append(_kept_line(name, value) if len(name) + len(value) <= LONGEST else _line(name, value))
        if method != "GET":
            head.append(b"Content-Length: %d\r\n" % len(body))
        transport = protocol.transport
        if transport is None or transport.is_closing():
            raise ServerDisconnectedError
        if len(body) <= PORTION:
            transport.write(b"".join((*head, b"\r\n", body)))
            return None
        transport.write(b"".join((*head, b"\r\n")))
        return asyncio.create_task(_write_portions(StreamWriter(protocol, self._loop), body))


def _line(name: str, value: str) -> bytes:
    """Raises ValueError for what would be more lines than one."""
    if END_OF_LINE.search(f"{name}{value}"):
        raise ValueError(f"a line break in the header {name}")
    return f"{name}: {value}\r\n".encode("utf-8", "surrogateescape")  # An event id goes back as it came.


_kept_line = lru_cache(KEPT)(_line)


async def _write_portions(writer: StreamWriter, body: bytes) -> None:
    # Who reads the answer is told that the connection is gone.
    with contextlib.suppress(OSError):
        for begin in range(0, len(body), PORTION):
            await writer.write(body[begin : begin + PORTION])


def _socket(address: AddrInfoType) -> socket.socket:
    """A peer that has vanished is noticed in two minutes, on a stream where we only listen too."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    return made
