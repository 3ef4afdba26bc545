"""More connections than there may be are closed, and those that may be are served."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado import web
from tornado.testing import bind_unused_port

from mcpauth.web.server import LimitedServer

SENT = 1400  # requests, as many as are read at once
ASK = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Hello(web.RequestHandler):
    served = 0

    def get(self):
        Hello.served += 1
        self.finish("hello")


@pytest.fixture
def port(io_loop):
    """Of a server with two connections at most."""
    socket, port = bind_unused_port()

    async def start():
        server = LimitedServer(web.Application([("/", Hello)], log_function=lambda handler: None), most=2)
        server.add_socket(socket)
        return server

    server = io_loop.run_sync(start)
    yield port
    server.stop()
    io_loop.run_sync(server.close_all_connections)


class Connection:
    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def is_served(self):
        try:
            self.writer.write(ASK)
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        assert head.startswith(b"HTTP/1.1 200 ")
        return await self.reader.readexactly(5) == b"hello"


@asynccontextmanager
async def connection(port) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def served_connection(port) -> AsyncIterator[Connection]:
    """Once the server has seen that somebody left; the test's own time limit ends the wait."""
    while True:
        async with connection(port) as one:
            if await one.is_served():
                yield one
                return


async def test_what_comes_above_the_limit_is_closed_and_disturbs_nobody(port, caplog):
    async with connection(port) as first, connection(port) as second:
        assert await first.is_served()
        assert await second.is_served()
        for _ in range(3):
            async with connection(port) as third:
                assert not await third.is_served()
        assert await first.is_served()
        assert await second.is_served()
    # Told once, not as often as somebody knocks.
    assert [record.getMessage() for record in caplog.records if record.name.startswith("mcpauth")] == [
        "connections_refused"
    ]


async def test_who_leaves_makes_room(port):
    async with connection(port) as first:
        assert await first.is_served()
        async with connection(port) as second:
            assert await second.is_served()
        async with served_connection(port):
            assert await first.is_served()
    # Every one that came and went, also the refused, is counted off.
    for _ in range(10):
        async with served_connection(port):
            pass
    async with served_connection(port) as first, served_connection(port) as second, connection(port) as third:
        assert not await third.is_served()
        assert await first.is_served()
        assert await second.is_served()


async def test_what_somebody_sent_who_is_gone_is_served_to_nobody(port):
    """Otherwise all of it would be, before anybody else has their turn."""
    async with connection(port) as gone, connection(port) as other:
        assert await gone.is_served()
        before = Hello.served
        gone.writer.write(ASK * SENT)
        await gone.reader.readline()
        gone.writer.transport.abort()
        assert await other.is_served()
        assert Hello.served - before < SENT
