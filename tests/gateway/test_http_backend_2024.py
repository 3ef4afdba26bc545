"""Remote backends of 2024-11-05: one stream for everything, and an address for what is said."""

import asyncio
import json

import pytest

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client
from tests.fakes.mcp_http_server import McpHttpServer


class OldServer(McpHttpServer):
    """Answers over the stream that the query of the address names."""

    def __init__(self):
        super().__init__()
        self.streams = []
        self.endpoint = "/mcp?stream={}"
        self.acts |= {
            "GET": self.listen,
            "initialize": self.greet,
            "tools/list": self.answer,
            "tools/call": self.answer,
            "ping": self.answer,
        }

    async def listen(self, handler):
        self.streams.append(handler)
        handler.set_header("Content-Type", "text/event-stream; charset=utf-8")
        handler.write(f"event: endpoint\r\ndata: {self.endpoint.format(len(self.streams) - 1)}\r\n\r\n")
        await handler.flush()
        await handler.gone

    def stream_of(self, handler):
        return self.streams[int(handler.get_query_argument("stream"))]

    async def greet(self, handler):
        version = handler.message["params"]["protocolVersion"]
        await self.tell(handler, {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": {}})

    async def answer(self, handler):
        await self.tell(handler, handler.text(json.dumps(handler.message.get("params"))))

    async def tell(self, handler, result):
        await self.accept(handler)
        await self.stream_of(handler).event({"id": handler.message["id"], "result": result})


@pytest.fixture
def old(io_loop):
    async def start():
        return OldServer()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.fixture
def begin(serve, old):
    async def start(**given):
        gateway = await serve(Served(HttpBackend("remote", RemoteServer(url=old.url, type="sse", **given), {})))
        await gateway.settled()
        old.seen.clear()
        return Client(gateway, "remote")

    return start


@pytest.fixture
def connect(begin):
    async def start(**given):
        client = await begin(**given)
        await client.initialize()
        return client

    return start


async def test_everything_goes_to_the_address_and_comes_over_the_stream(connect, old):
    client = await connect(headers={"X-Key": "k"})
    texts = [str(number) for number in range(20)]
    answers = await asyncio.gather(*(client.text("echo", text=text) for text in texts))
    assert [json.loads(answer)["arguments"]["text"] for answer in answers] == texts
    assert len(old.of("GET")) == 1
    assert all(handler.request.headers["X-Key"] == "k" for handler in old.seen)
    await client.gateway.close()
    for stream in old.streams:
        await stream.gone


async def test_when_the_stream_ends_so_does_the_session_and_the_next_request_begins_another(connect, old):
    async def hang_up(handler):
        await old.accept(handler)
        await old.stream_of(handler).cut()

    client = await connect()
    old.acts["tools/call"] = hang_up
    error = (await client.call("echo"))["error"]
    assert error["message"] == "the server remote ended its stream"
    old.acts["tools/call"] = old.answer
    assert json.loads(await client.text("echo", a=1))["arguments"] == {"a": 1}
    assert len(old.of("GET")) == 2


async def test_a_message_that_is_refused_is_an_error(connect, old):
    async def refuse(handler):
        handler.set_status(401)
        handler.finish()

    client = await connect()
    old.acts["tools/call"] = refuse
    assert "refuses our credentials" in (await client.call("echo"))["error"]["message"]
    assert "result" in await client.request("ping")


async def test_a_flood_waits_for_its_reader(connect, old):
    told = []

    async def flood(handler):
        await old.accept(handler)
        for number in range(1000):
            params = {"progressToken": handler.message["id"], "progress": number, "message": "x" * 50_000}
            await old.stream_of(handler).event({"method": "notifications/progress", "params": params})
            told.append(number)
        await old.stream_of(handler).event({"id": handler.message["id"], "result": {}})

    client = await connect()
    old.acts["tools/call"] = flood
    answer = await client.send("tools/call", {"name": "echo", "_meta": {"progressToken": "t"}})
    await anext(answer.replies)
    other = Client(client.gateway, "remote")
    await other.initialize()
    before = -1
    while len(told) != before:
        before = len(told)
        for _ in range(20):
            await other.request("ping")
    assert before < 1000
    *progress, response = await client.frames(answer)
    assert [frame["params"]["progress"] for frame in progress] == list(range(1, 1000))
    assert response["result"] == {}


@pytest.mark.parametrize(
    "endpoint",
    [
        "http://127.0.0.1:1/steal",
        "//example.com/steal",
        "https://127.0.0.1/mcp",
        "http://[x",
        "file:///a",
        "//a@{}",
    ],
)
async def test_messages_are_not_sent_to_another_server(begin, old, endpoint):
    old.endpoint = endpoint
    client = await begin()
    error = (await client.initialize())["error"]
    assert error["message"] == "the server remote wants its messages sent to another server; that is refused"
    await old.streams[-1].gone
    assert old.of("POST") == []


@pytest.mark.parametrize(("status", "said"), [(401, "refuses our credentials"), (404, "see its url and type")])
async def test_a_stream_that_is_refused_is_an_error(begin, old, status, said):
    async def refuse(handler):
        handler.set_status(status)
        handler.finish()

    old.acts["GET"] = refuse
    assert said in (await (await begin()).initialize())["error"]["message"]


@pytest.mark.parametrize(("given", "fix"), [("http", 'set "type": "sse" for it'), ("sse", "see its url and type")])
async def test_a_type_that_is_missing_is_asked_for_and_no_other(serve, old, given, fix):
    server = RemoteServer(url=f"{old.url.removesuffix('/mcp')}/sse", type=given)
    gateway = await serve(Served(HttpBackend("remote", server, {})))
    (state,) = await gateway.settled()
    assert state.reason == f"the server remote is not at this address (HTTP 404); {fix} in mcp.json"


async def test_a_session_may_end_while_it_is_being_opened(begin, old):
    asked = asyncio.Event()

    async def keep_quiet(handler):
        asked.set()
        await handler.gone

    client = await begin()
    old.acts["GET"] = keep_quiet
    beginning = asyncio.create_task(client.initialize())
    await asked.wait()
    await client.gateway.close()
    assert "error" in await beginning
    await old.of("GET")[0].gone


async def test_a_ping_is_answered_here(connect, old):
    told = asyncio.get_running_loop().create_future()

    async def take(handler):
        await old.accept(handler)
        told.set_result(handler.message)

    old.acts["answer"] = take
    await connect()
    await old.streams[-1].event({"id": "p", "method": "ping"})
    assert await told == {"jsonrpc": "2.0", "id": "p", "result": {}}
