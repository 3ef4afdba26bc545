"""`make bench OF=http_clients`: HTTP clients, as ratios to aiohttp's session. mcpauth has aiohttp, without its session.

Each posts the bench's `tools/call` to the bench's server over HTTP, and reads the answer in pieces where it can. They
take turns, each time as a process of its own, and the best of each counts. The time of the processor that this process
took is compared, and the rate, in which the server and the machine have a part. Then each is sent a flood of which it
reads one piece: nobody asked for more. A server should be told of who leaves its answer or is cancelled waiting for
it, and a task that was cancelled should end.

Only aiohttp and Tornado come with mcpauth. Of the others, those that are not installed are left out.
"""

import asyncio
import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from typing import Any

import uvloop

from tests.bench.__main__ import call, serving
from tests.live import free_port

# The pieces of the answer to a POST.
Post = Callable[[], AsyncGenerator[bytes, None]]
Client = Callable[[str], AbstractAsyncContextManager[Post]]

ROUNDS, SECONDS = 4, 1.0
BODY = json.dumps(call("echo", {"text": "hello"})).encode()
HEADERS = {
    "User-Agent": "mcpauth",
    "Accept": "application/json, text/event-stream",
    "Content-Type": "application/json",
    "Mcp-Session-Id": "only",
    "MCP-Protocol-Version": "2025-11-25",
}
MOST = 100  # connections
TASKS = 100


@asynccontextmanager
async def ours(url: str) -> AsyncIterator[Post]:
    from mcpauth.gateway.http_upstream import Upstream

    upstream = Upstream("remote", url, {})
    upstream.start()

    async def post() -> AsyncGenerator[bytes, None]:
        with await upstream.send("POST", HEADERS, BODY) as response:
            while piece := await response.content.readany():
                yield piece

    yield post
    await upstream.close()


@asynccontextmanager
async def aiohttp_session(url: str) -> AsyncIterator[Post]:
    import aiohttp
    from yarl import URL

    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=4)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        address = URL(url)

        async def post() -> AsyncGenerator[bytes, None]:
            async with await http.request(
                "POST", address, headers=HEADERS, data=BODY, allow_redirects=False
            ) as response:
                while piece := await response.content.readany():
                    yield piece

        yield post


@asynccontextmanager
async def aiohttp_defaults(url: str) -> AsyncIterator[Post]:
    import aiohttp

    async with aiohttp.ClientSession() as http:

        async def post() -> AsyncGenerator[bytes, None]:
            async with http.post(url, headers=HEADERS, data=BODY) as response:
                async for piece in response.content.iter_any():
                    yield piece

        yield post


def httpx_like(package: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Post]:
        httpx = importlib.import_module(package)
        limits = httpx.Limits(max_connections=MOST, max_keepalive_connections=MOST)
        async with httpx.AsyncClient(trust_env=False, limits=limits) as http:

            async def post() -> AsyncGenerator[bytes, None]:
                async with http.stream("POST", url, headers=HEADERS, content=BODY) as response:
                    async for piece in response.aiter_raw():
                        yield piece

            yield post

    return client


def httpcore_like(package: str) -> Client:
    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Post]:
        httpcore = importlib.import_module(package)
        headers = [(b"Host", b"localhost"), (b"Content-Length", b"%d" % len(BODY))]
        headers += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        async with httpcore.AsyncConnectionPool(max_connections=MOST, max_keepalive_connections=MOST) as http:

            async def post() -> AsyncGenerator[bytes, None]:
                async with http.stream("POST", url, headers=headers, content=BODY) as response:
                    async for piece in response.aiter_stream():
                        yield piece

            yield post

    return client


@asynccontextmanager
async def niquests(url: str) -> AsyncIterator[Post]:
    import niquests

    async with niquests.AsyncSession(pool_maxsize=MOST, disable_http3=True) as http:
        http.trust_env = False

        async def post() -> AsyncGenerator[bytes, None]:
            response = await http.post(url, headers=HEADERS, data=BODY, stream=True)
            try:
                async for piece in await response.iter_raw(65536):
                    yield piece
            finally:
                await response.close()

        yield post


@asynccontextmanager
async def aiosonic(url: str) -> AsyncIterator[Post]:
    import aiosonic

    pools = {":default": {"size": MOST, "max_conn_requests": None}}
    async with aiosonic.HTTPClient(aiosonic.TCPConnector(pools)) as http:

        async def post() -> AsyncGenerator[bytes, None]:
            response = await http.post(url, headers=HEADERS, data=BODY)
            if response.chunked:
                async for piece in response.read_chunks():
                    yield piece
            else:
                yield await response.content()

        yield post


@asynccontextmanager
async def pyreqwest(url: str) -> AsyncIterator[Post]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().http1_only().no_proxy().build() as http:

        async def post() -> AsyncGenerator[bytes, None]:
            async with http.post(url).headers(HEADERS).body_bytes(BODY).build_streamed() as response:
                while piece := await response.body_reader.read_chunk():
                    yield bytes(piece)

        yield post


@asynccontextmanager
async def curl_cffi(url: str) -> AsyncIterator[Post]:
    from curl_cffi import AsyncSession

    async with AsyncSession(max_clients=MOST, trust_env=False) as http:

        async def post() -> AsyncGenerator[bytes, None]:
            response = await http.post(url, headers=HEADERS, data=BODY, stream=True)
            try:
                async for piece in response.aiter_content():
                    yield piece
            finally:
                await response.aclose()

        yield post


def tornado_client(name: str) -> Client:
    """The whole answer: pieces are given to a callback, and only the simple one waits for that."""

    @asynccontextmanager
    async def client(url: str) -> AsyncIterator[Post]:
        from tornado.httpclient import AsyncHTTPClient

        AsyncHTTPClient.configure(name, max_clients=MOST)
        http = AsyncHTTPClient()

        async def post() -> AsyncGenerator[bytes, None]:
            yield (await http.fetch(url, method="POST", headers=HEADERS, body=BODY)).body

        yield post
        http.close()

    return client


class Bare(asyncio.Protocol):
    """A connection that takes the next piece for the whole answer."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self, request: bytes) -> asyncio.Future[bytes]:
        self.came: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self.came

    def data_received(self, data: bytes) -> None:
        if not self.came.done():
            self.came.set_result(data)


@asynccontextmanager
async def no_client(url: str) -> AsyncIterator[Post]:
    """What the machine takes for its part."""
    host, port = url.split("/")[2].split(":")
    lines = ["POST /mcp HTTP/1.1", f"Host: {host}", f"Content-Length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    request = "\r\n".join([*lines, "", ""]).encode() + BODY
    idle: list[Bare] = []

    async def post() -> AsyncGenerator[bytes, None]:
        bare = idle.pop() if idle else (await asyncio.get_running_loop().create_connection(Bare, host, int(port)))[1]
        try:
            yield await bare.ask(request)
            idle.append(bare)
        except BaseException:
            bare.transport.abort()
            raise

    yield post
    for bare in idle:
        bare.transport.abort()


SESSION, WITHOUT = "aiohttp's session", "mcpauth's, without C parts"
CLIENTS: dict[str, Client] = {
    "mcpauth's": ours,
    WITHOUT: ours,
    SESSION: aiohttp_session,
    "aiohttp's, its defaults": aiohttp_defaults,
    "no client, a bare connection": no_client,
    "pyreqwest": pyreqwest,
    "httpcore": httpcore_like("httpcore"),
    "httpcore2": httpcore_like("httpcore2"),
    "httpx": httpx_like("httpx"),
    "httpx2": httpx_like("httpx2"),
    "niquests": niquests,
    "aiosonic": aiosonic,
    "curl_cffi": curl_cffi,
    "Tornado's, on curl": tornado_client("tornado.curl_httpclient.CurlAsyncHTTPClient"),
    "Tornado's, the simple one": tornado_client("tornado.simple_httpclient.SimpleAsyncHTTPClient"),
}
NO_EXTENSIONS = dict.fromkeys(("AIOHTTP_NO_EXTENSIONS", "MULTIDICT_NO_EXTENSIONS", "YARL_NO_EXTENSIONS"), "1")
MISSING = 3


async def measure(name: str, url: str, at_once: int) -> dict[str, float]:
    """Requests a second, and how many µs of the processor's each took."""
    done, over = 0, False

    async def go_on(post: Post) -> None:
        nonlocal done
        while not over:
            if b'"hello"' not in b"".join([piece async for piece in post()]):
                raise SystemExit(f"{name}: unexpected answer")
            done += 1

    async with CLIENTS[name](url) as post:
        tasks = [asyncio.create_task(go_on(post)) for _ in range(at_once)]
        await asyncio.sleep(SECONDS / 4)  # warm
        before, began, spent = done, time.perf_counter(), time.process_time()
        await asyncio.sleep(SECONDS)
        requests, seconds, spent = done - before, time.perf_counter() - began, time.process_time() - spent
        over = True
        await asyncio.gather(*tasks)
    return {"rate": requests / seconds, "took": 1e6 * spent / requests}


async def wade(name: str, url: str) -> None:
    """Read one piece and say so; leave the rest when told to."""
    async with CLIENTS[name](url) as post:
        async with aclosing(post()) as pieces:
            await anext(pieces)
            print("read", flush=True)
            await asyncio.to_thread(sys.stdin.readline)
        print("left", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def give_up(name: str, url: str) -> None:
    """Cancel what waits for its answer."""
    async with CLIENTS[name](url) as post:
        waiting = asyncio.ensure_future(anext(post()))
        await asyncio.wait([waiting], timeout=0.5)
        waiting.cancel()
        await asyncio.wait([waiting], timeout=1)
        print("left", flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def be_cancelled(name: str, url: str) -> int:
    """How many of so many tasks went on when they were cancelled, at one moment or another of their requests."""
    went_on = 0

    async def go_on(post: Post) -> None:
        while True:
            async for _ in post():
                pass

    async with CLIENTS[name](url) as post:
        for number in range(TASKS):
            task = asyncio.create_task(go_on(post))
            await asyncio.wait([task], timeout=0.003 + 0.0001 * (number % 30))
            task.cancel()
            await asyncio.wait([task], timeout=0.3)
            went_on += not task.done()
            while not task.done():
                task.cancel()
                await asyncio.wait([task], timeout=0.01)
    return went_on


class Far:
    """A server whose answer has ``size`` bytes; with none, it says nothing at all.

    ``sent`` is what it got rid of, ``told`` that its client is gone.
    """

    PIECE = 64 * 1024

    def __init__(self, size: int) -> None:
        self.size, self.sent, self.told = size, 0, asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(OSError):
            if self.size:
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
            while self.sent < self.size:
                writer.write(b"%x\r\n" % self.PIECE + bytes(self.PIECE) + b"\r\n")
                await writer.drain()
                self.sent += self.PIECE
            if self.size:
                writer.write(b"0\r\n\r\n")
            while await reader.read(65536):
                pass
        self.told.set()
        writer.close()


async def manners(name: str, url: str) -> str:
    """What it took that nobody had asked for, and whether the server learns of who leaves; and tasks that go on."""
    flood, silence = Far(64 * 1024**2), Far(0)
    told = [await left(name, flood, "flood"), await left(name, silence, "silence")]
    process = await run(name, url, "cancel")
    printed, _ = await process.communicate()
    took = f"{flood.sent / 1024**2:.1f} MiB" if flood.sent < flood.size else "everything"
    return (
        f"took {took:<10} told: {told[0]:d} left, {told[1]:d} cancelled; went on: {printed.decode().strip()} of {TASKS}"
    )


async def left(name: str, far: Far, what: str) -> bool:
    """Whether ``far`` was told."""
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    process = await run(name, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", what)
    assert process.stdin is not None
    assert process.stdout is not None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(10):
            if (await process.stdout.readline()).startswith(b"read"):
                await asyncio.sleep(1)
                process.stdin.write(b"leave\n")
                await process.stdout.readline()
            await asyncio.wait_for(far.told.wait(), 2)
    told = far.told.is_set()
    process.kill()
    await process.wait()
    server.close()
    return told


async def run(name: str, url: str, what: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.bench.http_clients", name, url, what),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, **(NO_EXTENSIONS if name == WITHOUT else {})},
    )


async def measured(name: str, url: str, at_once: int) -> dict[str, float] | None:
    """The same, in a process of its own; None of a client that is not installed."""
    process = await run(name, url, str(at_once))
    printed, _ = await process.communicate()
    if process.returncode == MISSING:
        return None
    if process.returncode:
        raise SystemExit(f"{name}: failed")
    figures: dict[str, float] = json.loads(printed)
    return figures


async def main() -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/mcp"
    best: dict[tuple[str, int], dict[str, float]] = {}
    present = list(CLIENTS)
    async with serving("echo_http.py", port):
        for at_once in (16, 1):
            for _ in range(ROUNDS):
                for name in list(present):
                    figures = await measured(name, url, at_once)
                    if figures is None:
                        present.remove(name)
                        continue
                    so_far = best.setdefault((name, at_once), figures)
                    best[name, at_once] = {
                        "rate": max(figures["rate"], so_far["rate"]),
                        "took": min(figures["took"], so_far["took"]),
                    }
            base = best[SESSION, at_once]
            for name in present:
                figures = best[name, at_once]
                print(
                    f"{at_once:>3} at once  {name:<30} {figures['took'] / base['took']:5.2f} of the time,"
                    f" {figures['rate'] / base['rate']:5.2f} of the rate"
                    f"   ({figures['took']:.0f} µs, {figures['rate']:.0f}/s)",
                    flush=True,
                )
        for name in present:
            print(f"{name:<30} {await manners(name, url)}", flush=True)
    if len(present) < len(CLIENTS):
        print(f"not installed: {', '.join(name for name in CLIENTS if name not in present)}")


async def part(name: str, url: str, what: str) -> None:
    if what == "flood":
        await wade(name, url)
    elif what == "silence":
        await give_up(name, url)
    elif what == "cancel":
        print(await be_cancelled(name, url))
    else:
        print(json.dumps(await measure(name, url, int(what))))


if __name__ == "__main__":
    if len(sys.argv) == 1:
        asyncio.run(main())
    else:
        try:
            uvloop.run(part(*sys.argv[1:]))
        except ImportError:
            sys.exit(MISSING)
