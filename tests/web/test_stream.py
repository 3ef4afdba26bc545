"""Connections, on every loop that a server runs on: what comes, what goes, and that a client has left."""

import asyncio
import contextlib
import os
import socket
import sys

import pytest
from tornado import web
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_unix_socket
from tornado.testing import bind_unused_port

from mcpauth.web.server import LimitedServer
from mcpauth.web.visitor import visitor_of

MIB = 1024 * 1024
PIECE = b"0123456789abcdef" * 4096
MOST = 5  # connections
MUCH = 64 * MIB  # more than the kernel keeps for a connection


def uvloops():
    import uvloop

    return uvloop.new_event_loop()


@pytest.fixture(
    params=[
        asyncio.new_event_loop,
        pytest.param(uvloops, marks=pytest.mark.skipif(sys.platform == "win32", reason="there is no uvloop")),
    ]
)
def new_loop(request):
    return request.param


class Told:
    """What the handlers tell, and wait for."""

    def __init__(self):
        self.began, self.left, self.go, self.stuck = (asyncio.Event() for _ in range(4))
        self.written, self.error = 0, None


class Handler(web.RequestHandler):
    def initialize(self, told):
        self.told = told

    def on_connection_close(self):
        self.told.left.set()


class Waits(Handler):
    async def get(self):
        self.told.began.set()
        await self.told.go.wait()
        self.finish("went")


@web.stream_request_body
class Judges(Handler):
    """Takes its time before it looks at the body."""

    async def prepare(self):
        self.told.began.set()
        await self.told.go.wait()

    def data_received(self, chunk):
        pass

    async def post(self):
        await self.told.left.wait()


@web.stream_request_body
class Counts(Handler):
    def initialize(self, told):
        super().initialize(told)
        self.count = self.largest = 0

    async def data_received(self, chunk):
        self.count += len(chunk)
        self.largest = max(self.largest, len(chunk))
        await asyncio.sleep(0)

    def post(self):
        self.finish(f"{self.count} {self.largest}")


class Writes(Handler):
    """In pieces, each when the one before is on its way."""

    async def get(self):
        try:
            while self.told.written < MUCH:
                self.write(PIECE)
                self.told.written += len(PIECE)
                flushed = self.flush()
                if not flushed.done():
                    self.told.stuck.set()
                await flushed
        except StreamClosedError as error:
            self.told.error = error.real_error
            self.told.left.set()


@web.stream_request_body
class WritesEarly(Writes):
    """Before the body of the request is looked at."""

    async def prepare(self):
        await Writes.get(self)

    def get(self):
        pass


class HangsUp(Handler):
    """As soon as something is not on its way at once."""

    async def get(self):
        flushed = self.flush()
        while flushed.done():
            self.write(b"x" * 1000)
            flushed = self.flush()
            self.told.written += 1000 if flushed.done() else 0
        self.request.connection.stream.close()


class WritesAll(Handler):
    def get(self):
        self.finish(PIECE * 256)


class Peer(Handler):
    def get(self):
        self.finish(str(visitor_of(self.request).uid))


@pytest.fixture
def told(io_loop):
    async def make():
        return Told()

    return io_loop.run_sync(make)


@pytest.fixture
def server(io_loop, told):
    routes = [Waits, Judges, Counts, Writes, WritesEarly, HangsUp, WritesAll, Peer]
    given = [(f"/{one.__name__.lower()}", one, {"told": told}) for one in routes]

    async def start():
        app = web.Application(given, log_function=lambda handler: None)
        server = LimitedServer(app, most=MOST)
        listening, server.port = bind_unused_port()
        server.add_socket(listening)
        return server

    server = io_loop.run_sync(start)
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections)


class Client:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    def send(self, line, *headers, body=b""):
        lines = [f"{line} HTTP/1.1", "Host: localhost", *headers]
        if line.startswith("POST"):
            lines.append(f"Content-Length: {len(body)}")
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().split(b"content-length: ")[1].split()[0])
        return await self.reader.readexactly(length)


@pytest.fixture
def connect(io_loop, server):
    writers = []

    async def connect(**options):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, **options)
        writers.append(writer)
        return Client(reader, writer)

    yield connect

    async def close():
        for writer in writers:
            writer.transport.abort()

    io_loop.run_sync(close)


async def turns():
    """Enough of them for all that is on its way between the two ends."""
    for _ in range(50):
        await asyncio.sleep(0)


LEAVING = {
    "closes": lambda writer: writer.close(),
    "aborts": lambda writer: writer.transport.abort(),
    "sends no more": lambda writer: writer.write_eof(),
}


@pytest.mark.parametrize("leaves", LEAVING)
@pytest.mark.parametrize("more", [b"", b"GET /waits HTTP/1.1\r\n"])
async def test_who_waits_is_told_that_the_client_left(connect, told, leaves, more):
    client = await connect()
    client.send("GET /waits")
    client.writer.write(more)
    await told.began.wait()
    LEAVING[leaves](client.writer)
    await told.left.wait()
    assert await client.reader.read() == b""


@pytest.mark.parametrize("leaves", LEAVING)
async def test_also_who_begins_to_wait_when_it_has_left(connect, told, leaves):
    client = await connect()
    client.send("POST /judges", body=b"all of it")
    await told.began.wait()
    LEAVING[leaves](client.writer)
    await turns()
    told.go.set()
    await told.left.wait()


async def test_a_client_that_does_not_read_is_waited_for(connect, told):
    client = await connect(limit=1024)
    client.send("GET /writes", "Connection: close")
    await told.stuck.wait()
    assert told.written < MUCH
    answer = await client.reader.read()
    assert answer.count(PIECE) * len(PIECE) == told.written == MUCH
    assert answer.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("path", ["/writes", "/writesearly"])
async def test_who_waits_for_such_a_client_is_told_why_that_ended(connect, told, path):
    client = await connect(limit=1024)
    client.send(f"GET {path}")
    await told.stuck.wait()
    client.writer.transport.abort()
    await told.left.wait()
    assert told.error is None or isinstance(told.error, ConnectionError)


async def test_an_answer_is_sent_to_its_end_before_the_connection_is_closed(connect):
    client = await connect(limit=1024)
    client.send("GET /writesall", "Connection: close")
    await turns()
    assert await client.answer() == PIECE * 256
    assert await client.reader.read() == b""


async def test_what_was_flushed_arrives_even_when_the_connection_is_closed_at_once(connect, told):
    client = await connect(limit=1024)
    client.send("GET /hangsup")
    answer = await client.reader.read()
    assert answer.count(b"x") >= told.written > 0


async def test_what_nobody_has_asked_for_is_left_to_the_kernel(io_loop, server, told):
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(client, b"GET /waits HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await told.began.wait()
        sent = 0
        while sent < MUCH:
            try:
                sent += client.send(PIECE)
            except BlockingIOError:
                await turns()
                try:
                    sent += client.send(PIECE)
                except BlockingIOError:
                    break
        assert sent < MUCH
        assert [one.stream._read_buffer_size < 2 * len(PIECE) for one in server._connections] == [True]
        told.go.set()
        assert (await asyncio.get_running_loop().sock_recv(client, 1000)).endswith(b"went")


async def test_a_long_body_comes_in_pieces(connect):
    client = await connect()
    for _ in range(2):
        client.send("POST /counts", body=PIECE * 256)
        assert await client.answer() == f"{16 * MIB} {len(PIECE)}".encode()


@pytest.mark.parametrize("with_head", [0, 3, 5])
async def test_a_short_body_is_waited_for_to_its_end(connect, with_head):
    client = await connect()
    for _ in range(2):
        client.writer.write(
            b"POST /counts HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\n" + b"12345"[:with_head]
        )
        await turns()
        client.writer.write(b"12345"[with_head:])
        assert (await client.answer()).startswith(b"5 ")


async def test_requests_that_come_at_once_are_answered_one_after_the_other(connect, told):
    client = await connect()
    told.go.set()
    for _ in range(200):
        client.send("GET /waits")
        client.send("POST /counts", body=b"12345")
    for _ in range(200):
        assert await client.answer() == b"went"
        assert await client.answer() == b"5 5"


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n", b"\r\n\n", b"\n\r\n"])
async def test_a_head_ends_where_it_ends_however_it_comes(connect, told, end):
    client = await connect()
    told.go.set()
    head = b"GET /waits HTTP/1.1\r\nHost: localhost" + end
    for at in range(len(head) - len(end), len(head)):
        client.writer.write(head[:at])
        await turns()
        client.writer.write(head[at:] + head[:at])
        await turns()
        client.writer.write(head[at:])
        assert [await client.answer(), await client.answer()] == [b"went", b"went"]


async def test_a_head_that_is_longer_than_what_may_come_ahead_is_read_on(connect, told):
    client = await connect()
    client.send("GET /waits")
    await told.began.wait()
    client.writer.write(b"GET /waits HTTP/1.1\r\nHost: localhost\r\nX: " + PIECE[:30_000])
    await turns()
    told.go.set()
    assert await client.answer() == b"went"
    client.writer.write(PIECE[:10_000] + b"\r\n\r\n")
    assert await client.answer() == b"went"


async def test_a_head_without_an_end_is_not_read_on(connect):
    client = await connect()
    client.writer.write(b"GET /waits HTTP/1.1\r\nX: " + PIECE + PIECE)
    with contextlib.suppress(ConnectionError):
        assert await client.reader.read() == b""


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are counted elsewhere")
async def test_those_who_come_and_go_leave_nothing_behind(connect, server, told):
    client = await connect()  # The loop opens something for the first.
    client.send("POST /counts", "Connection: close")
    assert await client.reader.read()
    client.writer.close()
    await client.writer.wait_closed()
    before = len(os.listdir("/dev/fd"))
    for _ in range(40):
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as client:
                client.send(b"GET")
        await asyncio.sleep(0)
    while len(os.listdir("/dev/fd")) > before:  # noqa: ASYNC110  nobody tells when a descriptor is closed
        await asyncio.sleep(0)
    told.go.set()
    clients = [await connect() for _ in range(MOST)]
    for client in clients:
        client.send("GET /waits")
    assert [await client.answer() for client in clients] == [b"went"] * MOST


@pytest.mark.skipif(sys.platform == "win32", reason="there are no Unix sockets")
async def test_over_a_unix_socket_it_is_known_who_asks(server, tmp_path):
    server.add_socket(bind_unix_socket(str(tmp_path / "socket")))
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "socket"))
    client = Client(reader, writer)
    client.send("GET /peer")
    assert await client.answer() == str(os.getuid()).encode()
    writer.close()
