"""``echo`` over streamable HTTP: as much of HTTP/1.1 as a client that behaves makes use of.

The tool ``stream`` answers with a stream that has one event, in chunks; everything else is answered with JSON.
"""

import asyncio
import re
import sys
from typing import Any

import msgspec
import uvloop
from echo import answer

LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
DATE = b"Date: Tue, 28 Jul 2026 00:00:00 GMT\r\n"
JSON = b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: application/json\r\n%bContent-Length: %d\r\n\r\n%b"
STREAM = (
    b"HTTP/1.1 200 OK\r\n" + DATE + b"Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
)
ACCEPTED = b"HTTP/1.1 202 Accepted\r\n" + DATE + b"Content-Length: 0\r\n\r\n"
REFUSED = b"HTTP/1.1 405 Method Not Allowed\r\n" + DATE + b"Allow: POST\r\nContent-Length: 0\r\n\r\n"

decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


class Connection(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport, self._came = transport, b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        while (end := self._came.find(b"\r\n\r\n") + 4) > 3:
            length = LENGTH.search(self._came, 0, end)
            whole = end + (int(length[1]) if length else 0)
            if len(self._came) < whole:
                return
            method, body = self._came[:5], self._came[end:whole]
            self._came = self._came[whole:]
            self._transport.write(respond(decode(body)) if method == b"POST " else REFUSED)


def respond(message: dict[str, Any]) -> bytes:
    if "id" not in message:
        return ACCEPTED
    body = encode(answer(message))
    if message["method"] == "tools/call" and message["params"]["name"] == "stream":
        event = b"event: message\ndata: " + body + b"\n\n"
        return STREAM % (len(event), event)
    return JSON % (b"Mcp-Session-Id: only\r\n" if message["method"] == "initialize" else b"", len(body), body)


async def main() -> None:
    await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await asyncio.Event().wait()


uvloop.run(main())
