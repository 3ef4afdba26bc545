"""The short way of a request whose body is short: what comes of it is what Tornado makes of it."""

import asyncio
from types import SimpleNamespace

import pytest
from tornado.httputil import HTTPHeaders, HTTPInputError, HTTPServerRequest, RequestStartLine

from mcpauth.web.direct import request_of
from tests.gateway.test_http import Server, call

CONNECTION = SimpleNamespace(context=SimpleNamespace(remote_ip="192.0.2.1", protocol="https"))


def made(make, line, headers):
    """What it says of itself; its clock aside."""
    try:
        about = vars(make(line, headers))
    except HTTPInputError as error:
        return str(error)
    assert about.pop("_start_time") > 0
    return about


@pytest.mark.parametrize(
    "line",
    [
        RequestStartLine("POST", "/mcp", "HTTP/1.1"),
        RequestStartLine("POST", "/mcp", "HTTP/1.0"),
        RequestStartLine("GET", "/mcp/a?b=1&b=2&c=%20", "HTTP/1.1"),
        RequestStartLine("GET", "/mcp?", "HTTP/1.1"),
        RequestStartLine("GET", "http://elsewhere/mcp", "HTTP/1.1"),
        RequestStartLine("GET", "/mcp/" + "x" * 500, "HTTP/1.1"),
    ],
)
@pytest.mark.parametrize("host", [None, "", "localhost", "LocalHost:80", "[::1]:80", "a,b", "a b", "x" * 500])
def test_a_request_says_of_itself_what_tornado_says(line, host):
    headers = HTTPHeaders({} if host is None else {"Host": host})
    expected = made(
        lambda line, headers: HTTPServerRequest(
            connection=CONNECTION, server_connection="it", start_line=line, headers=headers
        ),
        line,
        headers,
    )
    for _ in range(2):
        assert made(lambda line, headers: request_of(CONNECTION, "it", line, headers), line, headers) == expected


def test_what_becomes_of_a_request_is_not_seen_in_the_next():
    line, headers = RequestStartLine("POST", "/mcp", "HTTP/1.1"), HTTPHeaders({"Host": "localhost"})
    first = request_of(CONNECTION, "it", line, headers)
    assert not first.cookies
    first.body = b"secret"
    for kept in (first.arguments, first.query_arguments, first.body_arguments, first.files):
        kept["a"] = ["secret"]
    second = request_of(CONNECTION, "it", line, HTTPHeaders({"Host": "localhost", "Cookie": "a=1"}))
    assert second.body == b""
    assert [second.arguments, second.query_arguments, second.body_arguments, second.files] == [{}] * 4
    assert second.cookies["a"].value == "1"


class Broken:
    """A gateway in which what a request waits for is cancelled, or fails."""

    def __init__(self, error):
        self.error = error

    async def forward(self, *args, **kwargs):
        raise self.error


@pytest.mark.parametrize("error", [asyncio.CancelledError(), RuntimeError("a secret")])
async def test_whatever_goes_wrong_there_is_an_answer_and_the_connection_goes_on(error):
    server = Server(Broken(error))
    reader, writer = await server.stream("POST /mcp HTTP/1.1", call("echo"))
    for again in (True, False):
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 500 ")
        length = int(head.lower().split(b"content-length: ")[1].split()[0])
        assert b"secret" not in await reader.readexactly(length)
        if again:
            writer.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer good\r\n")
            writer.write(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
    writer.close()
    await server.close()


@pytest.mark.parametrize("line", ["Host: a b", "Host: localhost\r\nHost: localhost", "Accept: a"])
async def test_a_request_for_no_host_is_malformed_and_that_is_all(line, caplog):
    server = Server(Broken(RuntimeError()))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(f"POST /mcp HTTP/1.1\r\n{line}\r\nContent-Length: 2\r\n\r\n{{}}".encode())
    assert await reader.read() == b"HTTP/1.1 400 Bad Request\r\n\r\n"
    writer.close()
    await server.close()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
