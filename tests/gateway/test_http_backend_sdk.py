"""Remote backends, real ones: the SDK's servers, each in a process of its own."""

import asyncio
import contextlib
import functools
import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, gone

ROOT = Path(__file__).parents[2]
LEGACY = ["stream", "json", "stateless", "sse"]


@pytest.fixture(scope="module")
def run():
    """Starts a server of this kind: its address, and its process."""
    with contextlib.ExitStack() as stack:

        def start(kind):
            listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            command = [sys.executable, "-m", "tests.fakes.mcp_sdk_http", str(listening.fileno()), kind]
            process = stack.enter_context(subprocess.Popen(command, cwd=ROOT, pass_fds=[listening.fileno()]))
            stack.callback(process.terminate)
            return f"http://127.0.0.1:{listening.getsockname()[1]}/{'sse' if kind == 'sse' else 'mcp'}", process

        yield start


@pytest.fixture(scope="module")
def running(run):
    """The one of its kind, which is started for the first who wants it."""
    return functools.cache(run)


@pytest.fixture
def sdk(serve, running):
    """An initialized client at a server of this kind, at /mcp/remote or at /mcp."""

    async def start(kind, backend="remote", url=None):
        server = RemoteServer(url=url or running(kind)[0], type="sse" if kind == "sse" else "http")
        gateway = await serve(Served(HttpBackend("remote", server, {})))
        client = Client(gateway, backend)
        await client.initialize()
        return client

    return start


@pytest.mark.parametrize("kind", LEGACY)
async def test_tools_are_listed_and_called(sdk, kind):
    client = await sdk(kind)
    assert await client.names() == ["echo", "count", "ask"]
    assert await client.text("echo", text="ähnlich\n") == "ähnlich\n"
    texts = [f"text {number}" for number in range(20)]
    assert await asyncio.gather(*(client.text("echo", text=text) for text in texts)) == texts


@pytest.mark.parametrize("kind", LEGACY)
async def test_together_with_others(sdk, kind):
    client = await sdk(kind, backend=None)
    assert await client.names() == ["echo", "count", "ask"]
    assert await client.text("echo", text="a") == "a"


@pytest.mark.parametrize("kind", ["stream", "stateless", "sse"])
async def test_progress_comes_with_the_client_s_own_token(sdk, kind):
    client = await sdk(kind)
    params = {"name": "count", "arguments": {"to": 3}, "_meta": {"progressToken": "mine"}}
    *progress, response = await client.frames(await client.send("tools/call", params))
    assert [frame["params"]["progress"] for frame in progress] == [0, 1, 2]
    assert {frame["params"]["progressToken"] for frame in progress} == {"mine"}
    assert response["result"]["content"][0]["text"] == "counted"


@pytest.mark.parametrize("kind", ["stream", "sse"])
async def test_a_person_is_asked(sdk, kind):
    client = await sdk(kind)
    answer = await client.calling("ask")
    asked = json.loads(await anext(answer.replies))
    assert asked["method"] == "elicitation/create"
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"n": 3}}})
    assert json.loads(await anext(answer.replies))["result"]["content"][0]["text"] == "3"


@pytest.mark.parametrize("kind", ["stream", "sse"])
async def test_large_messages_pass_both_ways(sdk, kind):
    client = await sdk(kind)
    text = "x" * (4 * 2**20 - 1000)  # The SDK takes requests of 4 MiB.
    assert await client.text("echo", text=text) == text


@pytest.mark.parametrize("kind", ["stream", "sse"])
async def test_a_server_that_is_killed_is_a_failure_and_no_hang(sdk, run, kind):
    url, process = run(kind)
    client = await sdk(kind, url=url)
    answer = await client.calling("ask")
    await anext(answer.replies)
    process.kill()
    await gone(process.pid)
    error = json.loads(await anext(answer.replies))["error"]
    assert error["code"] == -32000
    assert "the server remote ended its" in error["message"]
