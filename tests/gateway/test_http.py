"""The streamable HTTP transport, with a gate that knows two tokens."""

import asyncio
import json

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.testing import bind_unused_port

from mcpauth.errors import InsufficientScope, InvalidToken
from mcpauth.web import event_stream
from mcpauth.web.limits import LimitedApplication
from mcpauth.web.mcp import JSON_WITHIN, McpHandler
from mcpauth.web.overdue import Overdue
from mcpauth.web.server import LimitedServer
from mcpauth.web.site import Site
from tests.fakes.mcp_client import INITIALIZE, principal

BOTH = "application/json, text/event-stream"


class Gate:
    """In place of ours, which needs all of OAuth."""

    ended = False

    def admit(self, request, backend):
        if self.ended:
            raise InvalidToken("the session has ended")
        match request.headers.get("Authorization"):
            case "Bearer good":
                return principal()
            case "Bearer reads":
                return principal("mcp:read", grant_id="g2")
            case "Bearer none":
                raise InsufficientScope("more is needed", "mcp")
        raise InvalidToken("no token")

    def challenge(self, request, error, backend):
        return f"Bearer {error.error} at {backend}"

    def allows_everybody(self, origin):
        return origin == "https://ours.example"

    async def allows(self, origin, principal):
        return origin in ("https://ours.example", "https://claude.ai")


def call(tool, /, **arguments):
    return {"id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


class Server:
    def __init__(self, gateway, json_within=JSON_WITHIN):
        self.gateway, self.gate = gateway, Gate()
        self._client = AsyncHTTPClient(force_instance=True)
        site = Site("http://localhost", "/auth/oauth", "0", False, 86400, ())
        services = {"gateway": gateway, "gate": self.gate, "slow": Overdue(json_within)}
        routes = [(r"/mcp/?", McpHandler, services), (r"/mcp/(?P<backend>[^/]+)/?", McpHandler, services)]
        self._server = LimitedServer(LimitedApplication(routes, site=site), most=1000)
        listening, self.port = bind_unused_port()
        self._server.add_socket(listening)
        self.session = {}

    async def fetch(self, path, method="GET", body=None, headers=None, **options):
        given = {"Authorization": "Bearer good", "Accept": BOTH, **self.session, **(headers or {})}
        if isinstance(body, dict):
            body = json.dumps({"jsonrpc": "2.0", **body})
        if body is not None:
            given.setdefault("Content-Type", "application/json")
        request = HTTPRequest(
            f"http://127.0.0.1:{self.port}{path}",
            method=method,
            headers={name: value for name, value in given.items() if value is not None},
            body=body,
            follow_redirects=False,
            allow_nonstandard_methods=True,
            **options,
        )
        return await self._client.fetch(request, raise_error=False)

    def post(self, path, body, **headers):
        return self.fetch(path, "POST", body, {name.replace("_", "-"): value for name, value in headers.items()})

    async def begin(self, path, version=INITIALIZE["protocolVersion"]):
        params = {**INITIALIZE, "protocolVersion": version}
        reply = await self.post(path, {"id": 0, "method": "initialize", "params": params})
        self.session = {"Mcp-Session-Id": reply.headers["Mcp-Session-Id"]}
        assert (await self.post(path, {"method": "notifications/initialized"})).code == 202
        return reply

    async def stream(self, head, message=None):
        """A connection that has sent this and may read or leave as it likes."""
        body = "" if message is None else json.dumps({"jsonrpc": "2.0", **message})
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [head, "Host: localhost", "Authorization: Bearer good", f"Accept: {BOTH}"]
        lines += [f"{name}: {value}" for name, value in self.session.items()]
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        writer.write("\r\n".join([*lines, "", body]).encode())
        return reader, writer

    async def close(self):
        self._client.close()
        self._server.stop()
        await self._server.close_all_connections()


@pytest.fixture
def server(io_loop, serve, child):
    gateway = io_loop.run_sync(lambda: serve(child("fake", "echo", grace=0.2)))

    async def start():
        return Server(gateway)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


def events(reply):
    """The messages of an event stream."""
    parts = reply.body.decode().split("\n\n")
    assert parts.pop() == ""
    return [json.loads(part.split("\ndata: ")[1]) for part in parts if "event: message\ndata: " in part]


async def test_a_path_leads_to_its_server_however_often_and_whatever_else_was_asked_for(server):
    await server.begin("/mcp/fake")
    for number in range(110):
        assert (await server.post(f"/mcp/nobody-{number % 105}", call("echo"))).code == 404
        for text in ("short", "long" * 10_000) if number % 50 == 0 else ():
            reply = await server.post("/mcp/fake", call("echo", text=text))
            assert json.loads(reply.body)["result"]["content"][0]["text"]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/", "/mcp/fake", "/mcp/fake/"])
async def test_a_session_from_beginning_to_end(server, path):
    reply = await server.begin(path)
    assert reply.code == 200
    assert reply.headers["Content-Type"] == "application/json"
    reply = await server.post(path, call("echo", a=1))
    assert reply.headers["Content-Type"] == "application/json"
    assert "Mcp-Session-Id" not in reply.headers
    assert json.loads(json.loads(reply.body)["result"]["content"][0]["text"])["arguments"] == {"a": 1}
    assert (await server.fetch(path, "DELETE")).code == 204
    reply = await server.post(path, call("echo"))
    assert reply.code == 404
    assert json.loads(reply.body)["id"] == 1


async def test_frames_before_the_answer_make_it_a_stream(server):
    await server.begin("/mcp/fake")
    reply = await server.post("/mcp/fake", call("x", do="flood", count=3, size=2))
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["Cache-Control"] == "no-cache, no-transform"
    assert reply.headers["X-Accel-Buffering"] == "no"
    told = events(reply)
    assert [message.get("method") for message in told] == ["notifications/message"] * 3 + [None]


async def test_a_client_that_takes_no_streams_gets_the_answer_alone(server):
    await server.begin("/mcp/fake")
    reply = await server.post("/mcp/fake", call("x", do="flood", count=3, size=2), Accept="application/json")
    assert reply.headers["Content-Type"] == "application/json"
    assert json.loads(reply.body)["result"]["content"][0]["text"] == "flooded"


async def test_an_answer_that_takes_long_becomes_a_stream_that_is_kept_alive(serve, child, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    server = Server(await serve(child("fake")), json_within=0.05)
    await server.begin("/mcp/fake")
    reader, writer = await server.stream("POST /mcp/fake HTTP/1.0", call("never"))
    assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
    # What the child says, and comments, in whatever order they come.
    for _ in range(3):
        await reader.readuntil(b": keep-alive\n\n")
    await server.post("/mcp/fake", {"method": "notifications/cancelled", "params": {"requestId": 1}})
    assert b'"error"' in await reader.read()
    writer.close()
    await server.close()


async def test_what_the_server_says_by_itself_comes_over_get(server, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    await server.begin("/mcp/fake")
    reader, writer = await server.stream("GET /mcp/fake HTTP/1.1")
    assert b"text/event-stream" in await reader.readuntil(b"\r\n\r\n")
    await reader.readuntil(b": keep-alive\n\n")
    waiting = [asyncio.ensure_future(server.post("/mcp/fake", call("never"))) for _ in range(2)]
    await reader.readuntil(b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/message"')
    assert (await server.fetch("/mcp/fake", "DELETE")).code == 204
    await reader.readuntil(b"0\r\n\r\n")
    for reply in await asyncio.gather(*waiting):
        assert b"the MCP session has ended" in reply.body
    writer.close()


async def test_a_client_that_leaves_does_not_cancel_and_hears_the_rest_elsewhere(server):
    """One of a revision that has no event ids, and could not come back to the same stream."""
    await server.begin("/mcp/fake", "2024-11-05")
    reader, writer = await server.stream("POST /mcp/fake HTTP/1.1", call("x", do="ask"))
    await reader.readuntil(b"elicitation/create")
    writer.close()
    await writer.wait_closed()
    # The child still has the call; told something, it speaks, and then it takes the answer.
    told = {"method": "notifications/progress", "params": {"progressToken": 1}}
    assert (await server.post("/mcp/fake", told)).code == 202
    reader, writer = await server.stream("GET /mcp/fake HTTP/1.1")
    await reader.readuntil(b"notifications/message")
    writer.close()
    assert (await server.post("/mcp/fake", {"id": 1, "result": {}})).code == 202
    reply = await server.post("/mcp/fake", call("x", do="cancelled"))
    assert json.loads(reply.body)["result"]["content"][0]["text"] == "[]"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "HEAD"])
@pytest.mark.parametrize("path", ["/mcp", "/mcp/fake", "/mcp/nothing"])
async def test_without_a_token_nothing_else_is_looked_at(server, method, path):
    headers = {"Authorization": None, "Origin": "https://evil.example", "Accept": "image/*", "Content-Type": "x"}
    body = "{" if method == "POST" else None
    reply = await server.fetch(path, method, body, headers)
    assert reply.code == 401
    assert reply.headers["WWW-Authenticate"].startswith("Bearer invalid_token")


async def test_without_a_token_the_body_is_not_waited_for(server):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n")
    assert b" 401 " in await reader.readline()
    writer.close()


async def test_a_refused_request_leaves_the_connection_for_the_next(server):
    """Closed under a client that is still sending, it would see a reset in place of the challenge."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for _ in range(2):
        writer.write(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 401 ")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        assert json.loads(await reader.readexactly(length))["error"]["code"] == -32600
        writer.write(b"x" * 200_000)
        await writer.drain()
    writer.close()


async def test_what_is_out_of_scope_is_a_403(server):
    assert (await server.post("/mcp", {"id": 1, "method": "ping"}, Authorization="Bearer none")).code == 403
    reply = await server.post(
        "/mcp/fake", {"id": 1, "method": "initialize", "params": INITIALIZE}, Authorization="Bearer reads"
    )
    server.session = {"Mcp-Session-Id": reply.headers["Mcp-Session-Id"], "Authorization": "Bearer reads"}
    reply = await server.post("/mcp/fake", call("echo"))
    assert reply.code == 403
    assert json.loads(reply.body)["error"]["message"].startswith("insufficient_scope: ")


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Origin": "https://evil.example"}, "{", 403),
        ({"Content-Type": "text/plain"}, "{}", 415),
        ({"Content-Type": "application/json; charset=utf-8"}, "{", 400),
        ({"MCP-Protocol-Version": "2026-07-28"}, {"id": 1, "method": "ping"}, 400),
        ({"Mcp-Session-Id": None}, {"id": 1, "method": "ping"}, 400),
        ({"Mcp-Session-Id": "other"}, {"id": 1, "method": "ping"}, 404),
        ({"Accept": None}, {"id": 1, "method": "ping"}, 200),
        ({"Accept": "text/event-stream"}, {"id": 1, "method": "ping"}, 200),
        ({}, {"id": 1, "method": "prompts/list"}, 200),
    ],
)
async def test_what_is_wrong_with_a_post(server, headers, body, status):
    await server.begin("/mcp")
    reply = await server.fetch("/mcp", "POST", body, headers)
    assert reply.code == status
    assert reply.headers["Content-Type"].startswith("application/json")
    assert json.loads(reply.body)["jsonrpc"] == "2.0"


async def test_a_get_that_can_have_no_stream_is_a_405(server):
    for headers in ({}, {"Mcp-Session-Id": "x", "Accept": "application/json"}):
        reply = await server.fetch("/mcp", "GET", None, headers)
        assert reply.code == 405
        assert "POST" in reply.headers["Allow"]
    assert (await server.fetch("/mcp", "GET", None, {"Mcp-Session-Id": "x"})).code == 404
    assert (await server.fetch("/mcp", "PUT", "")).code == 405


async def test_head_answers_as_get_without_a_body(server):
    assert (await server.fetch("/mcp", "HEAD")).code == 405
    await server.begin("/mcp")
    reply = await server.fetch("/mcp", "HEAD")
    assert reply.code == 200
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.body == b""


async def test_an_unknown_server_is_a_404(server):
    assert (await server.post("/mcp/nothing", {"id": 1, "method": "ping"})).code == 404


@pytest.mark.parametrize("framing", ["Content-Length: 16777217", "Transfer-Encoding: chunked"])
async def test_a_body_of_more_than_sixteen_mebibytes_is_refused(server, framing):
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    head = f"POST /mcp HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer good\r\n{framing}\r\n"
    writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode())
    if "chunked" in framing:
        for _ in range(20):
            writer.write(b"100000\r\n" + b" " * 2**20 + b"\r\n")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
    assert b" 413 " in await reader.readline()
    assert b"Connection: close" in await reader.readuntil(b"\r\n\r\n")
    assert b'"jsonrpc":"2.0"' in await reader.readuntil(b"}}")
    writer.close()


async def test_a_browser_of_an_allowed_origin_may_read_the_answers(server):
    asked = {
        "Authorization": None,
        "Origin": "https://ours.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, mcp-param-x",
    }
    reply = await server.fetch("/mcp", "OPTIONS", None, asked)
    assert reply.code == 204
    assert reply.headers["Access-Control-Allow-Origin"] == "https://ours.example"
    assert reply.headers["Access-Control-Allow-Headers"] == "authorization, mcp-param-x"
    assert "DELETE" in reply.headers["Access-Control-Allow-Methods"]
    for headers in ({"Origin": "https://ours.example", "Authorization": None}, {"Origin": "https://claude.ai"}):
        reply = await server.fetch("/mcp", "POST", {"id": 1, "method": "ping"}, headers)
        assert reply.headers["Access-Control-Allow-Origin"] == headers["Origin"]
        assert reply.headers["Access-Control-Expose-Headers"] == "WWW-Authenticate, Mcp-Session-Id"
    reply = await server.fetch("/mcp", "OPTIONS", None, {**asked, "Origin": "https://evil.example"})
    assert reply.code == 403
    assert "Access-Control-Allow-Origin" not in reply.headers
