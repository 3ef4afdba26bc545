"""Servers that are long in starting: no client waits for them without a byte."""

import asyncio
import json
import sys

import httpx2
import pytest
from mcp import Client as SdkClient
from mcp.client.streamable_http import streamable_http_client

from mcpauth.errors import UnknownSession
from mcpauth.gateway import catalogue, load
from mcpauth.web.mcp import JSON_WITHIN
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, modern_headers, principal
from tests.gateway.conftest import CHILD
from tests.gateway.test_http import Server, call
from tests.gateway.test_http_backend import until
from tests.gateway.test_sse import SseServer

# As one does that has to be downloaded first.
SLOW = 'while [ -e "$0" ]; do sleep 0.02; done; exec "$@"'

# It starts when it may, and has more than before when it is told to.
CHANGING = """
import json, pathlib, sys, time
here = pathlib.Path(sys.argv[1])
while (here / "wait").exists():
    time.sleep(0.01)
able = {"tools": {}, **({"prompts": {}} if (here / "more").exists() else {})}
about = {"protocolVersion": sys.argv[2], "capabilities": able, "serverInfo": {"name": "x", "version": "1"}}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        known = {"initialize": about, "tools/list": {"tools": []}, "prompts/list": {"prompts": []}}.get(asked["method"])
        answer = {"error": {"code": -32601, "message": "no such method"}} if known is None else {"result": known}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
"""


@pytest.fixture
def wait(tmp_path):
    """While this file is there, nothing starts."""
    return tmp_path / "wait"


@pytest.fixture
def slow(child, wait):
    def make(name, *arguments, **server):
        fake = sys.executable, str(CHILD), *arguments
        return child(name, command="/bin/sh", args=("-c", SLOW, str(wait), *fake), grace=0.2, **server)

    return make


@pytest.fixture
def front(io_loop):
    """The HTTP side of a gateway; answers are JSON for so long."""
    servers = []

    def start(gateway, json_within=0.05, kind=Server):
        servers.append(kind(gateway, json_within))
        return servers[-1]

    yield start
    for server in servers:
        io_loop.run_sync(server.close)


async def late(server, path, message, go_on, headers=None):
    """The answer, and all that is said: the client has heard that somebody is there, then ``go_on`` is called."""
    heard, come = asyncio.Event(), bytearray()

    def read(chunk):
        come.extend(chunk)
        if b": keep-alive" in come:
            heard.set()

    body = message if isinstance(message, dict) else json.dumps(message)
    asking = asyncio.ensure_future(server.fetch(path, "POST", body, headers, streaming_callback=read))
    await heard.wait()
    go_on()
    reply = await asking
    assert (reply.code, reply.headers["Content-Type"]) == (200, "text/event-stream")
    parts = come.decode().split("\n\n")
    return reply, [json.loads(part.split("\ndata: ")[1]) for part in parts if "\ndata: {" in part]


# Sessions that are begun again with a child.


@pytest.fixture
def changing(serve, child, front, tmp_path):
    """Makes a session whose child is not there, and starts as ``CHANGING`` says."""

    async def begin(json_within=0.05, version=INITIALIZE["protocolVersion"]):
        gateway = await serve(child("fake", command=sys.executable, args=("-c", CHANGING, str(tmp_path), version)))
        await gateway.settled()
        server = front(gateway, json_within)
        await server.begin("/mcp/fake", version)
        return server

    return begin


async def test_that_a_client_must_begin_anew_is_a_status_where_it_is_known_in_time(changing, tmp_path):
    server = await changing(JSON_WITHIN)
    (tmp_path / "more").touch()
    for again in (False, True):
        reply = await server.post("/mcp/fake", call("x"))
        assert reply.code == 404
        assert "initialize again" in json.loads(reply.body)["error"]["message"], again


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("changed", [False, True])
async def test_a_child_that_is_long_in_starting_leaves_no_client_without_a_byte(
    changing, tmp_path, wait, changed, batch
):
    """Whether it is what it was before is not known by then: that it is not is an error in the stream."""
    server = await changing(version="2025-03-26" if batch else INITIALIZE["protocolVersion"])
    wait.touch()
    if changed:
        (tmp_path / "more").touch()
    messages = [{"jsonrpc": "2.0", **call("x")}, {"jsonrpc": "2.0", **call("x"), "id": 2}]
    _, told = await late(server, "/mcp/fake", messages if batch else messages[0], wait.unlink)
    assert [message["id"] for message in told] == ([1, 2] if batch else [1])
    for message in told:
        assert message["error"]["code"] == (-32001 if changed else -32601)
        assert ("initialize again" in message["error"]["message"]) == changed
    # With the next request the client is told to begin anew, and it can.
    assert (await server.post("/mcp/fake", {"id": 3, "method": "ping"})).code == (404 if changed else 200)
    server.session = {}
    await server.begin("/mcp/fake")
    assert b"-32601" in (await server.post("/mcp/fake", call("x"))).body


async def test_the_sdk_client_is_told_both_times_and_can_begin_anew(changing, tmp_path, wait):
    server = await changing()
    url = f"http://localhost:{server.port}/mcp/fake"
    async with httpx2.AsyncClient(headers={"Authorization": "Bearer good"}, timeout=30) as http:
        async with SdkClient(streamable_http_client(url, http_client=http), mode="legacy") as client:
            wait.touch()
            (tmp_path / "more").touch()
            asyncio.get_running_loop().call_later(0.2, wait.unlink)
            for _ in range(2):
                with pytest.raises(Exception, match="initialize again"):
                    await client.call_tool("x", {})
        async with SdkClient(streamable_http_client(url, http_client=http), mode="legacy") as client:
            assert (await client.list_tools()).tools == []


# First starts, and those of clients that are greeted from memory, in every pair of eras.


@pytest.mark.parametrize("era", ["--modern", "--legacy"])
async def test_a_legacy_client_begins_in_a_stream(serve, slow, front, wait, era):
    wait.touch()
    server = front(await serve(slow("fake", "echo", era)))
    begin = {"id": 1, "method": "initialize", "params": INITIALIZE}
    reply, (greeting,) = await late(server, "/mcp/fake", begin, wait.unlink)
    assert greeting["result"]["protocolVersion"] == INITIALIZE["protocolVersion"]
    server.session = {"Mcp-Session-Id": reply.headers["Mcp-Session-Id"]}
    assert (await server.post("/mcp/fake", {"method": "notifications/initialized"})).code == 202
    assert b"content" in (await server.post("/mcp/fake", call("echo"))).body


async def test_a_legacy_client_of_a_modern_server_waits_in_a_stream(serve, slow, front, wait):
    gateway = await serve(slow("fake", "echo", "--modern"))
    await gateway.settled()
    server = front(gateway)
    await server.begin("/mcp/fake")
    wait.touch()
    _, (answer,) = await late(server, "/mcp/fake", call("echo"), wait.unlink)
    assert "content" in answer["result"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("era", ["--modern", "--legacy"])
async def test_a_modern_client_waits_in_a_stream(serve, slow, front, wait, era, first):
    gateway = await serve(slow("fake", "echo", era))
    if not first:
        await gateway.settled()
    server = front(gateway)
    wait.touch()
    message = ModernClient(None, "fake").message("tools/call", {"name": "echo", "arguments": {}})
    _, (answer,) = await late(server, "/mcp/fake", message, wait.unlink, modern_headers(message))
    assert "content" in answer["result"]


async def test_a_server_that_does_not_start_after_all_leaves_no_session(serve, child, front, wait):
    wait.touch()
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", SLOW, str(wait), "false")))
    server = front(gateway, 0.5)
    begin = {"id": 1, "method": "initialize", "params": INITIALIZE}
    reply, (answer,) = await late(server, "/mcp/fake", begin, wait.unlink)
    assert "exit status 1" in answer["error"]["message"]
    server.session = {"Mcp-Session-Id": reply.headers["Mcp-Session-Id"]}
    assert (await server.post("/mcp/fake", {"id": 2, "method": "ping"})).code == 404
    # In time, there is no id to begin with.
    server.session = {}
    reply = await server.post("/mcp/fake", begin)
    assert (reply.code, "Mcp-Session-Id" in reply.headers) == (200, False)


async def test_a_scope_that_is_missing_is_an_error_where_it_is_too_late_for_a_status(serve, slow, front, wait):
    wait.touch()
    gateway = await serve(slow("fake", "poke"))
    server = front(gateway)
    message = ModernClient(None, "fake").message("tools/call", {"name": "poke", "arguments": {}})
    headers = modern_headers(message) | {"Authorization": "Bearer reads"}
    _, (answer,) = await late(server, "/mcp/fake", message, wait.unlink, headers)
    assert "more than what was allowed" in answer["error"]["message"]
    reply = await server.fetch("/mcp/fake", "POST", message, headers)
    assert (reply.code, reply.headers["WWW-Authenticate"]) == (403, "Bearer insufficient_scope at fake")


# All together.


@pytest.mark.parametrize("share", ["session", "user"])
@pytest.mark.parametrize("era", ["--legacy", "--modern"])
@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_who_waits_for_one_when_we_stop_is_told_that(serve, slow, wait, era, make, share):
    """And keeps the MCP session, which is there again when we are."""
    gateway = await serve(slow("fake", era, "echo", share=share))
    client = make(gateway, "fake")
    await gateway.settled()
    if make is Client:
        await client.initialize()
        await client.call("crash")
    wait.touch()
    answer = await client.calling("echo")
    waiting = asyncio.create_task(client.frames(answer))
    await until(lambda: gateway._backends["fake"]._backend._children._places)
    await gateway.close()
    assert "mcpauth is stopping" in json.dumps(await waiting)
    assert not isinstance(answer.replies.error, UnknownSession)


async def test_the_others_are_listed_and_nobody_waits_twice(serve, child, slow, front, wait, monkeypatch, caplog):
    monkeypatch.setattr(catalogue.Catalogue.__init__, "__kwdefaults__", {"patience": 0.5, "probing": 60.0})
    wait.touch()
    gateway = await serve(slow("slow", "a"), child("quick", "b"))
    await until(lambda: gateway.backends()[1].state == "ok")
    server = front(gateway, 0.1)
    await server.begin("/mcp")
    reader, writer = await server.stream("GET /mcp HTTP/1.1")
    listing = {"id": 1, "method": "tools/list"}
    _, (answer,) = await late(server, "/mcp", listing, lambda: None)
    assert [tool["name"] for tool in answer["result"]["tools"]] == ["b"]
    left_out = [one.fields["backend"] for one in caplog.records if one.message == "backend_left_out"]
    assert left_out == ["slow"]
    reply = await server.post("/mcp", listing)
    assert reply.headers["Content-Type"] == "application/json"
    wait.unlink()
    await reader.readuntil(b"notifications/tools/list_changed")
    writer.close()
    reply = await server.post("/mcp", listing)
    assert [tool["name"] for tool in json.loads(reply.body)["result"]["tools"]] == ["a", "b"]


async def test_over_http_and_sse_messages_are_taken_at_once(serve, slow, front, wait, ambient):
    wait.touch()
    gateway = await serve(slow("fake", "echo"))
    server = front(gateway, kind=lambda gateway, _: SseServer(gateway, ambient))
    stream = await server.connect()
    assert (await server.post(stream.address, {"id": 0, "method": "initialize", "params": INITIALIZE})).code == 202
    assert (await server.post(stream.address, {"id": 1, "method": "tools/list"})).code == 202
    wait.unlink()
    answers = {answer["id"]: answer["result"] for answer in [await stream.message(), await stream.message()]}
    assert answers[0]["protocolVersion"] == INITIALIZE["protocolVersion"]
    assert [tool["name"] for tool in answers[1]["tools"]] == ["echo"]
    await stream.leave()


@pytest.mark.parametrize("backend", ["fake", None])
async def test_only_so_many_requests_of_a_grant_wait(serve, slow, wait, monkeypatch, backend):
    monkeypatch.setattr(load, "UNDECIDED", 3)
    wait.touch()
    gateway = await serve(slow("fake", "echo"))
    client, other = ModernClient(gateway, backend), ModernClient(gateway, backend, principal(grant_id="g2"))
    waiting = [asyncio.create_task(one.request("tools/list")) for one in (client, client, client, other)]
    await asyncio.sleep(0)
    refused = asyncio.create_task(client.request("tools/list"))
    await asyncio.sleep(0)
    assert refused.done()
    assert "wait for a server that is starting" in (await refused)["error"]["message"]
    wait.unlink()
    assert all("result" in answer for answer in await asyncio.gather(*waiting))
    assert "result" in await client.request("tools/list")
