"""Servers that are long in starting: no client waits for them without a byte."""

import asyncio
import json
import sys

import httpx2
import pytest
from mcp import Client as SdkClient
from mcp.client.streamable_http import streamable_http_client

from mcpauth.errors import UnknownSession
from mcpauth.gateway import catalogue, inquiry, load
from mcpauth.gateway.eras import NEWEST_LEGACY
from mcpauth.web.mcp import JSON_WITHIN
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, modern_headers, principal
from tests.gateway.conftest import CHILD
from tests.gateway.test_http import Server, call
from tests.gateway.test_http_backend import until
from tests.gateway.test_sse import SseServer

# As one does that has to be downloaded first.
SLOW = 'echo $$ >> "$0.started"; while [ -e "$0" ]; do sleep 0.02; done; exec "$@"'

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
def started(tmp_path):
    """The processes that were."""
    file = tmp_path / "wait.started"
    return lambda: file.read_text().split() if file.exists() else []


@pytest.fixture
def limit(monkeypatch):
    """How long lists wait for what was never heard of, how long a probe may take, and whatever else is limited."""

    def make(patience=10.0, probing=60.0, **others):
        monkeypatch.setattr(catalogue.Catalogue.__init__, "__kwdefaults__", {"patience": patience, "probing": probing})
        for name, seconds in others.items():
            monkeypatch.setattr(inquiry, name, seconds)

    return make


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


@pytest.mark.parametrize("era", ["--modern", "--legacy"])
@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_who_wants_a_server_waits_for_it_longer_than_a_list_does(serve, slow, wait, started, limit, make, era):
    limit(patience=0.01)
    wait.touch()
    client = make(await serve(slow("fake", "echo", era)), "fake")
    asyncio.get_running_loop().call_later(0.2, wait.unlink)
    if make is Client:
        as_we_ask = {**INITIALIZE, "protocolVersion": NEWEST_LEGACY, "capabilities": {}}
        assert "result" in await client.initialize(as_we_ask)
        # No process but those that were asked what they offer, twice in the era that they speak.
        assert len(started()) == (3 if era == "--modern" else 2)
    assert "content" in (await client.call("echo"))["result"]


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_whoever_has_waited_long_is_told_and_comes_again(serve, slow, wait, started, limit, ambient, make):
    limit(WAITING=0.1)
    wait.touch()
    gateway = await serve(slow("fake", "echo"))
    await until(started)
    ambient.time += 73
    client = make(gateway, "fake")
    begin = client.initialize if make is Client else lambda: client.request("server/discover")
    told = (await begin())["error"]["message"]
    assert told == "the server fake is still starting: 73 s so far; try again shortly"
    assert len(started()) == 1
    wait.unlink()
    await gateway.settled()
    assert "result" in await begin()


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_who_has_waited_long_goes_on_with_what_is_known(serve, child, wait, started, limit, make):
    """Each start may be as slow as the first, and what it offers to others takes one more: here, for ever."""
    limit(WAITING=0.5, patience=0.1)
    program = 'echo $$ >> "$0.started"; [ $(wc -l < "$0.started") -ne 2 ] || sleep 1000; exec "$@"'
    fake = sys.executable, str(CHILD), "echo"
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", program, str(wait), *fake), grace=0.1))
    await until(lambda: len(started()) == 2)
    client = make(gateway, "fake")
    if make is Client:
        await client.initialize()
    assert "content" in (await client.call("echo"))["result"]
    assert gateway.backends()[0].state == "starting"


async def test_a_call_that_may_only_read_waits_until_it_is_known_what_does(serve, slow, wait, limit):
    limit(patience=0.01)
    gateway = await serve(slow("fake", "peek:read"))
    reader = Client(gateway, "fake", principal("mcp:read"))
    await reader.initialize()
    wait.touch()
    gateway.serve([slow("fake", "peek:read", idle_stop=1)])
    asyncio.get_running_loop().call_later(0.2, wait.unlink)
    assert "content" in (await reader.call("peek"))["result"]


async def test_who_may_only_read_is_not_told_to_ask_for_more_by_a_server_that_does_not_start(serve, child, tmp_path):
    works = tmp_path / "works"
    program = f'[ -e {works} ] && exec "$0" "$@"; exit 7'
    fake = sys.executable, str(CHILD), "peek:read"
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", program, *fake)))
    await gateway.settled()
    works.touch()
    reader = Client(gateway, "fake", principal("mcp:read"))
    assert "result" in await reader.initialize()
    assert "exit status 7" in (await reader.call("peek"))["error"]["message"]


async def test_a_first_start_may_take_long_and_the_owner_sees_that(serve, slow, wait, started, limit, ambient):
    limit(probing=0.05)
    wait.touch()
    gateway = await serve(slow("fake", "echo"))
    await until(started)
    ambient.time += 200
    asyncio.get_running_loop().call_later(0.3, wait.unlink)
    (state,) = gateway.backends()
    assert (state.state, state.reason) == ("starting", "still starting: 200 s so far")
    (first,) = started()
    (state,) = await gateway.settled()
    assert (state.state, state.reason) == ("ok", None)
    assert started()[0] == first


async def test_once_it_was_heard_of_it_has_no_more_time_than_others(serve, slow, wait, limit):
    limit(probing=0.5)
    gateway = await serve(slow("fake", "echo"))
    await gateway.settled()
    wait.touch()
    gateway._catalogue.refresh("fake")
    await until(lambda: gateway.backends()[0].state == "failed")
    assert gateway.backends()[0].reason.startswith("the server fake gave no answer in ")


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_while_it_is_asked_again_what_it_said_last_is_listed(serve, slow, wait, monkeypatch, make):
    """Many say that their lists have changed whenever they start."""
    monkeypatch.setattr(catalogue, "AGAIN", 0.1)
    gateway = await serve(slow("fake", "echo"))
    await gateway.settled()
    client = make(gateway, "fake")
    if make is Client:
        await client.initialize()
    wait.touch()
    gateway._catalogue.refresh("fake")
    assert await client.names() == ["echo"]
    assert gateway._catalogue.asking("fake")


async def test_one_that_hangs_for_ever_is_ended_at_last(serve, child, limit):
    limit(FIRST_PROBING=0.6)
    hangs = "-c", "echo Downloading >&2; exec sleep 1000"
    gateway = await serve(child("fake", command="/bin/sh", args=hangs, grace=0.1))
    await until(lambda: gateway.backends()[0].last_line == "Downloading")
    assert gateway.backends()[0].state == "starting"
    await gateway.settled()
    (state,) = gateway.backends()
    assert (state.state, state.last_line) == ("failed", "Downloading")
    assert state.reason == "the server fake gave no answer in 1 seconds"
    assert not gateway._backends["fake"]._backend._sessions


async def test_what_failed_and_is_tried_again_is_waited_for(serve, slow, child, wait, started, limit, ambient):
    limit(WAITING=0.1)
    program = 'echo $$ >> "$0.started"; [ -e "$0" ] || exit 7; while [ -e "$0" ]; do sleep 0.02; done; exec "$@"'
    fake = sys.executable, str(CHILD), "echo"
    gateway = await serve(child("fake", command="/bin/sh", args=("-c", program, str(wait), *fake), grace=0.2))
    (state,) = await gateway.settled()
    assert "exit status 7" in state.reason
    before = len(started())
    wait.touch()
    ambient.time += 600
    for make in (Client, ModernClient):
        client = make(gateway, "fake")
        answer = await (client.initialize() if make is Client else client.request("server/discover"))
        assert "still starting: 0 s so far" in answer["error"]["message"]
    assert len(started()) == before + 1
    assert gateway.backends()[0].reason == f"{state.reason}; it is tried again, still starting: 0 s so far"


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


async def test_the_others_are_listed_and_nobody_waits_twice(serve, child, slow, front, wait, limit, caplog):
    limit(patience=0.5)
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
