"""The lines of heads are kept: what comes of them is what Tornado makes of them, the second time too."""

import asyncio
import json
from urllib.parse import quote

import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from mcpauth.web.server import LimitedServer


class Echo(web.RequestHandler):
    def get(self):
        self.finish(json.dumps(list(self.request.headers.get_all())))


class Answers(web.RequestHandler):
    def clear(self):
        super().clear()
        self.set_header("Date", "Tue, 28 Jul 2026 00:00:00 GMT")

    def get(self):
        WANTED[self.get_argument("wanted")](self)

    head = post = get

    def log_exception(self, *error):
        """It is wanted."""


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
        app = web.Application([("/", Echo), ("/answers", Answers)], log_function=lambda handler: None)
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


async def test_a_name_that_is_longer_than_any_is_malformed(ports):
    """Tornado remembers a thousand of them, and each may have 64 KiB."""
    ours, _ = ports
    for more in (b"", b"X: 1\r\n" * 200):
        assert await ask(ours, b"x" * 257 + b": 1\r\n" + more) == b"HTTP/1.1 400 Bad Request"
        assert isinstance(await ask(ours, b"x" * 256 + b": 1\r\n" + more), list)


async def test_what_a_malformed_header_says_is_not_in_the_log(ports, caplog):
    ours, _ = ports
    with caplog.at_level("INFO"):
        assert await ask(ours, b"X-Api-Key: topsecret\x01\r\n") == b"HTTP/1.1 400 Bad Request"
    assert "X-Api-Key" in caplog.text
    assert "topsecret" not in caplog.text


def break_out(handler):
    handler._headers["X"] = "a\r\nY: b"
    handler.finish("hello")


WANTED = {
    "a body": lambda handler: handler.finish("hello"),
    "none": lambda handler: handler.finish(),
    "a status": lambda handler: (handler.set_status(404), handler.finish("hello")),
    "nothing to say": lambda handler: (handler.set_status(204), handler.finish()),
    "one header twice": lambda handler: (
        handler.add_header("X", "1"),
        handler.add_header("X", "2"),
        handler.finish("a"),
    ),
    "a long one": lambda handler: (handler.set_header("X", "x" * 500), handler.finish("hello")),
    "latin": lambda handler: (handler.set_header("X", "caf\xe9"), handler.finish("hello")),
    "a cookie": lambda handler: (handler.set_cookie("a", "b"), handler.finish("hello")),
    "pieces": lambda handler: (handler.write("hello"), handler.flush(), handler.write("again"), handler.finish()),
    "a wrong length": lambda handler: (handler.set_header("Content-Length", "3"), handler.finish("hello")),
    "two lines in one": break_out,
}


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(
    "asked",
    [
        "GET /answers HTTP/1.1\r\n",
        "GET /answers HTTP/1.1\r\nConnection: close\r\n",
        "HEAD /answers HTTP/1.1\r\n",
        "GET /answers HTTP/1.0\r\n",
        "GET /answers HTTP/1.0\r\nConnection: keep-alive\r\n",
        "POST /answers HTTP/1.1\r\nContent-Length: 2\r\n",
    ],
)
async def test_what_is_sent_is_what_tornado_sends(ports, asked, wanted):
    asked, answers = asked.replace("/answers", f"/answers?wanted={quote(wanted)}"), []
    for port in ports:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = f"{asked}Host: localhost\r\n\r\n{'{}' if asked.startswith('POST') else ''}".encode()
        # The last one is a good-bye, which ends what is read.
        writer.write(2 * request + b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answers.append(await reader.read())
        writer.close()
    assert answers[0] == answers[1]
