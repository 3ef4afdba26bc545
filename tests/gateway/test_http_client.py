"""What an HTTP server may say, and when: over a connection that is looked at from its other end."""

import asyncio
import gzip
from collections import deque
from inspect import signature

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import StreamWriter

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.http_upstream import Upstream
from tests.fakes.authority import Authority


def answer(body=b"{}", *headers, status="200 OK"):
    return "\r\n".join([f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]).encode() + body


class Far:
    """A server that says what is ``said``, in turn, to one request after the other; None closes the connection."""

    def __init__(self):
        self.said, self.heard, self.connections = deque(), [], 0
        self.asked, self.left = asyncio.Event(), asyncio.Event()
        self.go_on = asyncio.Event()
        self.early = False  # it answers before it has read the body
        self.late = b""  # what it says when it may go on
        self.cuts = False  # it leaves after its answer

    async def serve(self, reader, writer):
        self.connections += 1
        try:
            while True:
                self.raw = await reader.readuntil(b"\r\n\r\n")
                head = self.raw.decode(errors="replace")
                length = next((line[16:] for line in head.split("\r\n") if line.startswith("Content-Length: ")), "0")
                body = b"" if self.early else await reader.readexactly(int(length))
                self.heard.append((head, body))
                self.asked.set()
                if (said := self.said.popleft()) is None:
                    break
                writer.write(said)
                if self.early or self.late:
                    await self.go_on.wait()
                    writer.write(self.late)
                    self.late = b""
                if self.early or self.cuts:
                    break
            while self.early and await reader.read(65536):
                pass
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        writer.close()
        self.left.set()


@pytest.fixture
def far(io_loop):
    far = Far()

    async def start():
        server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
        far.port = server.sockets[0].getsockname()[1]
        far.url = f"http://127.0.0.1:{far.port}/mcp"
        return server

    server = io_loop.run_sync(start)
    yield far
    server.close()


@pytest.fixture
def upstream(io_loop, far):
    upstream = Upstream("far", f"{far.url}?a=%20b c", {"X-Ours": "1", "Accept": "nothing"})

    async def start():
        upstream.start()

    io_loop.run_sync(start)
    yield upstream
    io_loop.run_sync(upstream.close)


async def ask(upstream, method="POST", headers=None, body=b"{}"):
    with await upstream.send(method, {"Accept": "application/json", **(headers or {})}, body) as response:
        return response.status, await upstream.body(response, upstream.turns.of(None))


async def refused(far, path, answer, **given):
    """Why that answer is none, of a server whose url has that path."""
    upstream = Upstream("far", f"http://127.0.0.1:{far.port}{path}", {}, **given)
    upstream.start()
    far.said.append(answer)
    with await upstream.send("POST", {}, b"{}") as response:
        message = upstream.refusal(response).message
    await upstream.close()
    return message


@pytest.mark.parametrize(
    ("path", "location", "where"),
    [
        ("/s3cret/mcp/?key=s3cret", "/s3cret/mcp?key=s3cret", "its url without the / that ends the path"),
        ("/s3cret/mcp/", "http://127.0.0.1:{port}/s3cret/mcp", "its url without the / that ends the path"),
        ("/s3cret/mcp", "/s3cret/mcp/", "its url with a / added to the path"),
        ("/s3cret/mcp/", "https://127.0.0.1:{port}/s3cret/mcp", "another address"),
        ("/s3cret/mcp/", "http://elsewhere.example/s3cret/mcp", "another address"),
        ("/mcp", "/s3cret", "another address"),
        ("/", "http://127.0.0.1:{port}", "another address"),
        ("/mcp", "http://[s3cret", "another address"),
        ("/mcp", "mailto:s3cret", "another address"),
        ("/mcp", "", "another address"),
    ],
)
async def test_a_redirect_is_told_without_a_path(far, path, location, where):
    redirect = answer(b"", f"Location: {location.format(port=far.port)}", status="307 Temporary Redirect")
    assert await refused(far, path, redirect) == (
        f"the server far is at {where} (HTTP 307), and redirects are not followed; see its url in mcp.json"
    )


@pytest.mark.parametrize("status", ["404 Not Found", "405 Method Not Allowed"])
async def test_a_url_of_the_older_transport_is_told_from_its_end(far, status):
    refusal, plain = answer(status=status), "see its url and type in mcp.json"
    assert (await refused(far, "/sse?key=s3cret", refusal)).endswith('); set "type": "sse" for it in mcp.json')
    assert (await refused(far, "/sse", refusal, sse=True)).endswith(plain)
    assert (await refused(far, "/mcp", refusal)).endswith(plain)


async def test_what_is_sent(far, upstream):
    far.said += [answer(), answer(), answer()]
    for method, body in (("POST", "{é}".encode()), ("GET", None), ("DELETE", None)):
        await ask(upstream, method, {"x-ours": "2", "X-Other": "é"}, body)
    heads = [head.split("\r\n") for head, _ in far.heard]
    assert [head[0] for head in heads] == [f"{method} /mcp?a=%20b+c HTTP/1.1" for method in ("POST", "GET", "DELETE")]
    assert [body for _, body in far.heard] == ["{é}".encode(), b"", b""]
    for head, length in zip(heads, ("4", None, "0"), strict=True):
        sent = [line.partition(": ") for line in head[1:-2]]
        named = {name.lower(): value for name, _, value in sent}
        assert len(named) == len(sent)
        assert named.pop("accept-encoding").startswith("gzip")
        assert named.pop("user-agent").startswith("mcpauth/")
        assert named.pop("content-length", None) == length
        assert named == {"host": f"127.0.0.1:{far.port}", "accept": "application/json", "x-ours": "2", "x-other": "é"}
    assert far.connections == 1


async def test_an_event_id_goes_back_as_it_came(far, upstream):
    far.said.append(answer())
    await ask(upstream, "GET", {"Last-Event-ID": b"\xff1".decode("utf-8", "surrogateescape")}, None)
    assert b"\r\nLast-Event-ID: \xff1\r\n" in far.raw


@pytest.mark.parametrize("headers", [{"X": "a\r\nY: b"}, {"X": "a\nb"}, {"X\r\nY": "b"}, {"X": "a\0"}])
async def test_a_header_has_one_line(far, upstream, headers):
    with pytest.raises(ValueError, match="header"):
        await ask(upstream, headers=headers)
    assert far.heard == []


async def test_what_goes_with_every_request_does_unless_it_has_another_of_that_name(far, upstream):
    given = [{}, {"X-Ours": "2"}, {"x-ours": "3", "Mcp-Name": "a"}, {}, {"Mcp-Name": "b"}, {"X-Ours": "2"}]
    far.said += [answer()] * len(given)
    for headers in given:
        await ask(upstream, headers=headers)
    heads = [[line.partition(": ") for line in head.split("\r\n")] for head, _ in far.heard]
    ours = [[value for name, _, value in lines if name.lower() == "x-ours"] for lines in heads]
    assert ours == [["1"], ["2"], ["3"], ["1"], ["1"], ["2"]]
    names = [[value for name, _, value in lines if name == "Mcp-Name"] for lines in heads]
    assert names == [[], [], ["a"], [], ["b"], []]


async def test_an_answer_may_be_compressed_and_the_next_one_not(far, upstream):
    compressed = answer(gzip.compress(b"{}" * 100), "Content-Encoding: gzip")
    in_chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    empty = b"HTTP/1.1 204 No Content\r\n\r\n"
    far.said += [compressed, answer(), in_chunks, empty, in_chunks, compressed, answer(b"")]
    answers = [await ask(upstream) for _ in range(7)]
    assert answers == [
        (200, b"{}" * 100), (200, b"{}"), (200, b"{}"), (204, b""), (200, b"{}"), (200, b"{}" * 100), (200, b""),
    ]  # fmt: skip
    assert far.connections == 1


async def test_what_comes_before_the_answer_is_not_it(far, upstream):
    far.said.append(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + answer())
    assert await ask(upstream) == (200, b"{}")


@pytest.mark.parametrize("said", [b"HTTP/1.1 101 X\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100])
async def test_what_never_becomes_an_answer_is_none(far, upstream, said):
    far.said.append(said)
    with pytest.raises(BackendUnavailable, match="did not answer"):
        await ask(upstream)
    await far.left.wait()


async def test_an_answer_may_come_before_the_request_is_whole(far, upstream):
    far.early = True
    far.said.append(answer(status="413 Content Too Large"))
    with await upstream.send("POST", {}, bytes(16 * 1024**2)) as response:
        assert response.status == 413
    far.go_on.set()
    await far.left.wait()


async def test_a_large_request_is_whole(far, upstream):
    far.said += [answer(), answer()]
    body = b"0123456" * 1024**2
    await ask(upstream, body=body)
    await ask(upstream)
    assert far.heard[0][1] == body
    assert far.connections == 1


@pytest.mark.parametrize(
    "said", [answer(b"{}", "Connection: close"), b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"]
)
async def test_a_connection_that_is_to_be_closed_is(far, upstream, said):
    far.said += [said, answer()]
    assert await ask(upstream) == await ask(upstream) == (200, b"{}")
    assert far.connections == 2


async def test_an_answer_without_a_length_ends_with_its_connection(far, upstream):
    far.cuts = True
    far.said.append(b"HTTP/1.1 200 OK\r\n\r\n{}")
    assert await ask(upstream) == (200, b"{}")


@pytest.mark.parametrize(("method", "heard"), [("POST", 2), ("GET", 3), ("DELETE", 3)])
async def test_what_may_have_been_done_is_not_asked_for_twice(far, upstream, method, heard):
    far.said += [answer(), None, answer()]
    await ask(upstream)
    if method == "POST":
        with pytest.raises(BackendUnavailable, match="did not answer"):
            await ask(upstream)
    else:
        assert await ask(upstream, method, body=None) == (200, b"{}")
    assert len(far.heard) == heard


async def test_an_answer_that_nobody_asked_for_is_nobodys(far, upstream):
    far.said += [answer(b"1") + answer(b"2"), answer(b"3")]
    assert [(await ask(upstream))[1] for _ in range(2)] == [b"1", b"3"]


@pytest.mark.parametrize("late", [answer(b"late"), b"HTTP/1.1 200 OK\r\nMcp-Session-Id: evil\r\nX: ", b"H"])
async def test_what_comes_when_nobody_has_asked_closes_the_connection(far, upstream, late):
    far.said += [answer(b"1"), answer(b"2", "X-Own: 2")]
    far.late = late
    assert (await ask(upstream))[1] == b"1"
    far.go_on.set()
    await far.left.wait()
    with await upstream.send("POST", {}, b"{}") as response:
        assert await upstream.body(response, upstream.turns.of(None)) == b"2"
        assert [*response.headers] == ["Content-Length", "X-Own"]
    assert far.connections == 2


@pytest.mark.parametrize("end", ["Mcp-Session-Id: of-another", "Content-Type: text/html", "Content-Encoding: gzip"])
async def test_nothing_of_an_answer_is_found_in_the_next(far, upstream, end):
    chunked = f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n{end}\r\n\r\n".encode()
    far.said += [chunked, answer(b"2", "X-Own: 2")]
    assert await ask(upstream) == (200, b"{}")
    with await upstream.send("POST", {}, b"{}") as response:
        assert await upstream.body(response, upstream.turns.of(None)) == b"2"
        assert [*response.headers] == ["Content-Length", "X-Own"]
    assert far.connections == 1


async def test_who_reads_an_answer_is_told_that_its_rest_is_none(far, upstream):
    far.said.append(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    far.late = b"bad gateway\r\n"
    with await upstream.send("POST", {}, b"{}") as response:
        far.go_on.set()
        with pytest.raises(BackendUnavailable, match="the connection was closed"):
            await upstream.body(response, upstream.turns.of(None))


@pytest.mark.parametrize(
    "said", [b"SSH-2.0\r\n\r\n", answer(b"", "A B: c"), b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"]
)
async def test_what_is_no_http_is_no_answer(far, upstream, said):
    far.said.append(said)
    with pytest.raises(BackendUnavailable, match="did not answer"):
        await ask(upstream)
    await far.left.wait()


@pytest.mark.parametrize("said", [answer(b"{}")[:-1], b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}"])
async def test_what_is_cut_is_no_answer(far, upstream, said):
    far.cuts = True
    far.said.append(said)
    with pytest.raises(BackendUnavailable, match="did not answer"):
        await ask(upstream)


async def test_who_is_cancelled_closes_the_connection(far, upstream):
    far.said.append(b"")
    asking = asyncio.ensure_future(ask(upstream))
    await far.asked.wait()
    asking.cancel()
    await far.left.wait()


async def test_who_leaves_an_answer_closes_the_connection(far, upstream):
    far.said.append(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    with await upstream.send("POST", {}, b"{}") as response:
        assert await response.content.readany() == b"{"
    await far.left.wait()


async def test_who_cannot_prove_to_be_the_server_is_told_nothing(far, tmp_path):
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0, ssl=Authority(tmp_path).server("localhost"))
    upstream = Upstream("far", f"https://localhost:{server.sockets[0].getsockname()[1]}/mcp", {})
    upstream.start()
    with pytest.raises(BackendUnavailable, match="its certificate is not trusted"):
        await ask(upstream)
    assert far.heard == []
    await upstream.close()
    server.close()


async def test_what_is_used_of_aiohttp_is_not_all_documented():
    """With another minor version: read again what `http_client.py` takes from it, and measure; then change this."""
    assert aiohttp.__version__.startswith("3.14.")
    assert list(signature(aiohttp.TCPConnector.connect).parameters) == ["self", "req", "traces", "timeout"]
    assert "read_until_eof" in signature(ResponseHandler.set_response_params).parameters
    async with aiohttp.TCPConnector() as connector:
        assert connector._factory.func is ResponseHandler
    assert list(signature(StreamWriter.write).parameters) == ["self", "chunk", "drain", "LIMIT"]
