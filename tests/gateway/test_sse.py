"""HTTP+SSE at the front: the mcp SDK's client of it, and what it must not do."""

import asyncio
import json

import httpx2
import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client
from tornado.httpclient import AsyncHTTPClient
from tornado.testing import bind_unused_port

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.sse_connections import REQUESTS, ROOM, SseConnections
from mcpauth.web import event_stream
from mcpauth.web.limits import WITH_MESSAGES, LimitedApplication
from mcpauth.web.mcp import JSON_WITHIN, McpHandler
from mcpauth.web.overdue import Overdue
from mcpauth.web.server import LimitedServer
from mcpauth.web.site import Site
from mcpauth.web.sse import MessagesHandler, SseHandler
from tests.fakes.mcp_client import INITIALIZE, gone, principal
from tests.gateway.test_http import Gate, Server, call
from tests.gateway.test_restart import configure, token
from tests.gateway.test_resumption import Stream
from tests.live import LiveServer


class OtherUsers(Gate):
    def admit(self, request, backend):
        if request.headers.get("Authorization") == "Bearer eve":
            return principal(subject="eve", grant_id="g3")
        return super().admit(request, backend)


class SseServer(Server):
    def __init__(self, gateway, ambient):
        self.gateway, self.connections = gateway, SseConnections(gateway, ambient)
        self._client = AsyncHTTPClient(force_instance=True)
        site = Site("http://localhost", "/auth/oauth", "0", False, 86400, ())
        services = {"gateway": gateway, "gate": OtherUsers(), "connections": self.connections}
        mcp = {"gateway": gateway, "gate": services["gate"], "slow": Overdue(JSON_WITHIN)}
        routes = [("/sse", SseHandler, services), ("/messages", MessagesHandler, services), ("/mcp", McpHandler, mcp)]
        self._server = LimitedServer(LimitedApplication(routes, site=site, unlimited=WITH_MESSAGES), most=1000)
        listening, self.port = bind_unused_port()
        self._server.add_socket(listening)
        self.session = {}

    async def connect(self):
        stream = Stream(*await self.stream("GET /sse HTTP/1.1"))
        begun = await stream.event()
        assert begun["event"] == "endpoint"
        stream.address = begun["data"]
        return stream

    async def begin(self):
        stream = await self.connect()
        await self.post(stream.address, {"id": 0, "method": "initialize", "params": INITIALIZE})
        assert (await stream.message())["result"]["protocolVersion"] == INITIALIZE["protocolVersion"]
        await self.post(stream.address, {"method": "notifications/initialized"})
        return stream


@pytest.fixture
def server(io_loop, serve, child, ambient):
    gateway = io_loop.run_sync(lambda: serve(child("fake", "echo", grace=0.2)))

    async def start():
        await gateway.settled()
        return SseServer(gateway, ambient)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


async def test_the_sdk_client_finds_what_is_at_mcp(server):
    url = f"http://localhost:{server.port}/sse"
    async with (
        sse_client(url, headers={"Authorization": "Bearer good"}) as streams,
        ClientSession(*streams) as session,
    ):
        await session.initialize()
        assert [tool.name for tool in (await session.list_tools()).tools] == ["echo"]
        answer = await session.call_tool("echo", {"a": 1})
        assert json.loads(answer.content[0].text)["arguments"] == {"a": 1}


async def test_everything_comes_over_the_stream(server):
    stream = await server.begin()
    reply = await server.post(stream.address, call("echo") | {"id": "x"})
    assert (reply.code, reply.body) == (202, b"Accepted")
    assert (await stream.message())["id"] == "x"
    await server.post(stream.address, call("echo", do="ask"))
    asked = await stream.message()
    assert asked["method"] == "elicitation/create"
    await server.post(stream.address, {"id": asked["id"], "result": {"n": 7}})
    assert "7" in (await stream.message())["result"]["content"][0]["text"]
    assert (await server.post(stream.address, call("echo", do="pid", text="x" * 1_000_000))).code == 202
    assert (await stream.message())["id"] == 1
    await server.post(stream.address, {"id": 5, "method": "x/unknown"})
    assert (await stream.message())["error"]["code"] == -32601
    await stream.leave()


async def test_a_stream_is_its_users(server):
    stream = await server.begin()
    for address, headers, status in (
        (stream.address, {"Authorization": None}, 401),
        (stream.address, {"Authorization": "Bearer eve"}, 404),
        ("/messages?session_id=x", {}, 404),
        ("/messages", {}, 404),
    ):
        reply = await server.fetch(address, "POST", call("echo"), headers)
        assert reply.code == status
    assert (await server.fetch("/sse", "GET", None, {"Authorization": None})).code == 401
    assert (await server.fetch(stream.address, "POST", "{")).code == 400
    await stream.leave()


async def test_with_the_stream_the_session_ends(server):
    stream = await server.begin()
    await server.post(stream.address, call("echo", do="pid"))
    pid = int((await stream.message())["result"]["content"][0]["text"])
    await stream.leave()
    await gone(pid)
    assert (await server.fetch(stream.address, "POST", call("echo"))).code == 404
    assert server.gateway._sessions.of_endpoint(None) == []


async def test_with_the_grant_the_stream_ends(server):
    stream = await server.begin()
    await server.gateway.end_grant("g1")
    await stream.reader.readuntil(b"0\r\n\r\n")
    await stream.leave()


async def test_a_grant_has_five_streams(server):
    streams = [await server.connect() for _ in range(6)]
    await streams[0].reader.readuntil(b"0\r\n\r\n")
    assert len(server.connections._connections) == 5
    server.connections.hang_up()
    for stream in streams[1:]:
        await stream.reader.readuntil(b"0\r\n\r\n")
    for stream in streams:
        await stream.leave()


async def test_a_stream_is_kept_alive(server, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    stream = await server.connect()
    for _ in range(2):
        await stream.reader.readuntil(b": keep-alive\n\n")
    await stream.leave()


async def test_a_client_that_does_not_read_is_waited_for(server):
    """What is written for it stays with the child, not with us."""
    connection = server.connections.open(principal())
    body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}
    await connection.take(principal(), json.dumps(body).encode())
    flood = {"jsonrpc": "2.0", **call("echo", do="flood", count=2000, size=1000)}
    await connection.take(principal(), json.dumps(flood).encode())
    while len(connection._messages) < ROOM:  # noqa: ASYNC110 - the child writes
        await asyncio.sleep(0.01)
    heard = [json.loads(await anext(connection)) for _ in range(2002)]
    assert len(connection._messages) <= ROOM
    assert heard[-1]["result"]["content"][0]["text"] == "flooded"
    connection.close()


async def test_a_client_that_does_not_read_may_not_say_more_and_more(server):
    connection = server.connections.open(principal())
    ping = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}).encode()
    waiting = [asyncio.create_task(connection.take(principal(), ping)) for _ in range(ROOM + REQUESTS + 1)]
    await asyncio.wait(waiting[:ROOM])
    with pytest.raises(BackendUnavailable):
        await connection.take(principal(), ping)
    connection.close()
    await asyncio.gather(*waiting)


async def test_a_stream_that_ends_during_initialize_leaves_no_session(server):
    connection = server.connections.open(principal())
    body = json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": INITIALIZE}).encode()
    beginning = asyncio.create_task(connection.take(principal(), body))
    while not server.gateway._sessions.of_endpoint(None):  # noqa: ASYNC110 - it has begun
        await asyncio.sleep(0)
    connection.close()
    await beginning
    assert server.gateway._sessions.of_endpoint(None) == []


async def test_it_is_there_when_it_is_wanted(tmp_path):
    configure(tmp_path)
    async with LiveServer(tmp_path, MCP_OAUTH_LEGACY_SSE="true") as server:
        headers = {"Authorization": f"Bearer {await token(server, f'{server.origin}/mcp')}"}
        async with sse_client(f"{server.origin}/sse", headers=headers) as streams, ClientSession(*streams) as session:
            await session.initialize()
            assert [tool.name for tool in (await session.list_tools()).tools] == ["a"]
        # An open stream does not keep the server from stopping.
        idle = httpx2.AsyncClient(headers=headers)
        async with idle, idle.stream("GET", f"{server.origin}/sse") as stream:
            assert stream.status_code == 200
            assert await server.stop() == 0


async def test_it_is_off_unless_it_is_wanted(app, http_server, base_url):
    async with httpx2.AsyncClient() as http:
        for path in ("/sse", "/.well-known/oauth-protected-resource/sse"):
            assert (await http.get(base_url + path, headers={"Host": "host.example.ts.net"})).status_code == 404
