"""Servers that are long in starting: no client waits for them without a byte."""

import asyncio
import json
import sys

import pytest

from mcpauth.web.mcp import JSON_WITHIN
from tests.fakes.mcp_client import INITIALIZE
from tests.gateway.test_http import Server, call

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
def changing(serve, child, tmp_path, io_loop):
    """Makes a session whose child is not there, and starts as ``CHANGING`` says; answers are JSON for so long."""
    servers = []

    async def begin(json_within, version=INITIALIZE["protocolVersion"]):
        command = "-c", CHANGING, str(tmp_path), version
        gateway = await serve(child("fake", command=sys.executable, args=command))
        await gateway.settled()
        server = Server(gateway, json_within)
        servers.append(server)
        await server.begin("/mcp/fake", version)
        return server

    yield begin
    for server in servers:
        io_loop.run_sync(server.close)


async def test_that_a_client_must_begin_anew_is_a_status_where_it_is_known_in_time(changing, tmp_path):
    server = await changing(JSON_WITHIN)
    (tmp_path / "more").touch()
    for again in (False, True):
        reply = await server.post("/mcp/fake", call("x"))
        assert reply.code == 404
        assert "initialize again" in json.loads(reply.body)["error"]["message"], again


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("changed", [False, True])
async def test_a_child_that_is_long_in_starting_leaves_no_client_without_a_byte(changing, tmp_path, changed, batch):
    """Whether it is what it was before is not known by then: that it is not is an error in the stream."""
    server = await changing(0.05, "2025-03-26" if batch else INITIALIZE["protocolVersion"])
    (tmp_path / "wait").touch()
    if changed:
        (tmp_path / "more").touch()
    messages = [{"jsonrpc": "2.0", **call("x")}, {"jsonrpc": "2.0", **call("x"), "id": 2}]
    first, come = asyncio.Event(), bytearray()

    def read(chunk):
        come.extend(chunk)
        if b": keep-alive" in come:
            first.set()

    body = json.dumps(messages if batch else messages[0])
    asking = asyncio.ensure_future(server.fetch("/mcp/fake", "POST", body, streaming_callback=read))
    await first.wait()
    (tmp_path / "wait").unlink()
    reply = await asking
    assert reply.code == 200
    assert reply.headers["Content-Type"] == "text/event-stream"
    told = [json.loads(part.split("\ndata: ")[1]) for part in come.decode().split("\n\n") if "\ndata: {" in part]
    assert [message["id"] for message in told] == ([1, 2] if batch else [1])
    for message in told:
        assert message["error"]["code"] == (-32001 if changed else -32601)
        assert ("initialize again" in message["error"]["message"]) == changed
    # In time now: with the next request the client is told to begin anew, and it can.
    assert (await server.post("/mcp/fake", {"id": 3, "method": "ping"})).code == (404 if changed else 200)
    server.session = {}
    await server.begin("/mcp/fake")
    assert json.loads((await server.post("/mcp/fake", call("x"))).body)["error"]["code"] == -32601
