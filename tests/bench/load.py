"""The load: one request, over and over, on so many connections; prints requests a second and the median in µs.

A process of its own, so that it does not share the server's core. Reads its orders, as JSON, from standard input.
"""

import asyncio
import json
import statistics
import sys
import time


class Connection(asyncio.Protocol):
    """Sends the next request when the answer to the last has come: JSON, or a stream with one event."""

    def __init__(self, request: bytes, status: bytes, took: list[float]) -> None:
        self._request, self._status, self._took = request, status, took
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        if not head.startswith(b"HTTP/1.1 " + self._status):
            raise SystemExit(f"unexpected answer: {self._buffer[:300]!r}")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) >= length:
            self._took.append(time.perf_counter() - self._began)
            self._buffer = b""
            self._send()


async def main() -> None:
    orders = json.load(sys.stdin)
    took: list[float] = []
    loop = asyncio.get_running_loop()
    transports = []
    for _ in range(orders["connections"]):
        transport, _ = await loop.create_connection(
            lambda: Connection(orders["request"].encode(), orders["status"].encode(), took), "127.0.0.1", orders["port"]
        )
        transports.append(transport)
    await asyncio.sleep(orders["seconds"] / 4)  # warm
    took.clear()
    began = time.perf_counter()
    await asyncio.sleep(orders["seconds"])
    seconds = time.perf_counter() - began
    print(json.dumps({"rate": len(took) / seconds, "median": statistics.median(took) * 1e6}))
    for transport in transports:
        transport.abort()


asyncio.run(main())
