"""Header lines are read once and kept: what comes of them is what Tornado makes of them, the second time too."""

import asyncio
import json

import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from mcpauth.web.server import LimitedServer


class Echo(web.RequestHandler):
    def get(self):
        self.finish(json.dumps(list(self.request.headers.get_all())))


async def ask(port, lines):
    """The headers that the handler was given, or None when the request was malformed; on a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + lines + b"\r\n")
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return json.loads(body) if head.startswith(b"HTTP/1.1 200 ") else head.split(b"\r\n")[0]


@pytest.fixture
def ports(io_loop):
    """Of our server and of Tornado's own."""

    async def start():
        app = web.Application([("/", Echo)], log_function=lambda handler: None)
        servers, ports = [LimitedServer(app, most=10), HTTPServer(app)], []
        for server in servers:
            socket, port = bind_unused_port()
            server.add_socket(socket)
            ports.append(port)
        return servers, ports

    servers, ports = io_loop.run_sync(start)
    yield ports
    for server in servers:
        server.stop()
        io_loop.run_sync(server.close_all_connections)


@pytest.mark.parametrize(
    "lines",
    [
        b"",
        b"accept: a\r\nACCEPT: b\r\n",
        b"Accept: a\r\nX: 1\r\nAccept: a\r\n",
        b"Accept:a  \t\r\n",
        b"Accept:\r\n",
        b"Accept: a: b\r\n",
        b"Accept: a\nX-Bare: 1\n",
        b"Accept: caf\xe9\r\n",
        b"Accept: a\r\n  folded\r\n",
        b"Accept : a\r\n",
        b" Accept: a\r\n",
        b"Accept\r\n",
        b": a\r\n",
        b"Acc\x00ept: a\r\n",
        b"Accept: a\x00b\r\n",
        b"Accept: a\rX: b\r\n",
        b"Accept: a\r\r\n",
        b"Accept: a\x0bX: b\r\n",
        b"Accept: a\x85X: b\r\n",
        b"Content-Length: 0\r\nContent-Length: 1\r\n",
        b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
        b"X: " + b"x" * 5000 + b"\r\n",
        b"X: " + b"x" * 70000 + b"\r\n",
    ],
)
async def test_what_comes_of_a_line_is_what_tornado_makes_of_it(ports, lines):
    ours, bare = ports
    expected = await ask(bare, lines)
    for _ in range(2):
        assert await ask(ours, lines) == expected
