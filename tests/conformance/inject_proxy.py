"""Between the conformance suite, which knows no tokens, and a server that wants one."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from tests.live import free_port

Document = dict[str, Any]

END = b"\r\n\r\n"


class InjectProxy:
    """Adds ``headers`` to every request; everything else goes through as it is, in both directions.

    Host and Origin are changed only where they name the proxy, so that what is foreign stays foreign. ``edit``
    changes the JSON documents beneath /.well-known/ that pass. One request per connection.
    """

    def __init__(self, target: int = 0, edit: Callable[[Document], None] | None = None) -> None:
        self.port = free_port()
        self.origin = f"http://localhost:{self.port}"
        self.target = target
        self.headers: Mapping[str, str] = {}
        self._edit = edit
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "InjectProxy":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(END)
            answers, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            upstream.write(self._changed(head))
            if self._edit is not None and b" /.well-known/" in head.split(b"\r\n")[0]:
                writer.write(_edited(await answers.read(), self._edit))
                await writer.drain()
                return
            # Whoever hangs up first ends both.
            ways = [asyncio.create_task(_pipe(reader, upstream)), asyncio.create_task(_pipe(answers, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # A client that connects and says nothing.
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.close()

    def _changed(self, head: bytes) -> bytes:
        request, *lines = head.removesuffix(END).decode("latin-1").split("\r\n")
        changed = [request]
        for line in lines:
            name, _, value = line.partition(":")
            match name.lower():
                case "connection":
                    continue
                case "host" | "origin" if self.headers:
                    value = value.replace(f"localhost:{self.port}", f"localhost:{self.target}")
            changed.append(f"{name}:{value}")
        changed += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*changed, "Connection: close"]).encode("latin-1") + END


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


def _edited(answer: bytes, edit: Callable[[Document], None]) -> bytes:
    head, _, body = answer.partition(END)
    status, *lines = head.split(b"\r\n")
    if b" 200 " not in status:
        return answer
    document = json.loads(body)
    edit(document)
    body = json.dumps(document).encode()
    kept = [line for line in lines if not line.lower().startswith((b"content-length:", b"etag:"))]
    return b"\r\n".join([status, *kept, b"Content-Length: %d" % len(body)]) + END + body
