"""npm's server-everything, which has some of its tools only for clients that can be asked, over every transport."""

import asyncio
import itertools
import os
from asyncio.subprocess import DEVNULL, PIPE
from contextlib import asynccontextmanager

import httpx2
import mcp_types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from tornado.testing import bind_unused_port

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.e2e.chromium import need
from tests.gateway.bridge.test_sdk_clients import rooted, sampled
from tests.gateway.test_http import Server
from tests.node import MODULES, node

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

EVERYTHING = MODULES / "@modelcontextprotocol/server-everything/dist/index.js"
# What is asked of the client in the course of each, and what the tool says of the answer.
ASKING = {
    "get-roots-list": ({}, "file:///home"),
    "trigger-elicitation-request": ({}, "Ada"),
    "trigger-url-elicitation": ({"url": "https://example.com/", "message": "look"}, "accept"),
    "trigger-sampling-request": ({"prompt": "p", "maxTokens": 5}, "hm"),
}


@pytest.fixture
def front(serve, child, io_loop):
    """The HTTP side of a gateway that has it three times."""
    need("npm's server-everything (npm ci --prefix tests/npm)", EVERYTHING.exists())
    need("Node", bool(node()))
    processes = []

    async def run(kind):
        listening, port = bind_unused_port()
        listening.close()
        process = await asyncio.create_subprocess_exec(
            node(), str(EVERYTHING), kind, env={**os.environ, "PORT": str(port)}, stdout=DEVNULL, stderr=PIPE
        )
        processes.append(process)
        while b"port" not in await process.stderr.readline():
            pass
        return f"http://127.0.0.1:{port}"

    async def start():
        streamable, sse = await asyncio.gather(run("streamableHttp"), run("sse"))
        gateway = await serve(
            child("stdio", command=node(), args=(str(EVERYTHING), "stdio"), grace=0.2),
            Served(HttpBackend("http", RemoteServer(url=f"{streamable}/mcp"), {})),
            Served(HttpBackend("sse", RemoteServer(url=f"{sse}/sse", type="sse"), {})),
        )
        assert [state.state for state in await gateway.settled()] == ["ok"] * 3
        return Server(gateway)

    async def stop():
        await server.close()
        for process in processes:
            process.kill()
            await process.communicate()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(stop)


async def elicited(context, params):
    content = {"name": "Ada"} if params.mode == "form" else None
    return mcp_types.ElicitResult(action="accept", content=content)


@asynccontextmanager
async def connected(front, path, mode, **callbacks):
    async with (
        httpx2.AsyncClient(headers={"Authorization": "Bearer good"}, timeout=30) as http,
        Client(
            streamable_http_client(f"http://localhost:{front.port}{path}", http_client=http), mode=mode, **callbacks
        ) as client,
    ):
        yield client


ALL = {"elicitation_callback": elicited, "sampling_callback": sampled, "list_roots_callback": rooted}


def kind(name):
    """The tool's own name."""
    return name.rpartition("__")[2]


async def names(client):
    return [tool.name for tool in (await client.list_tools()).tools]


async def test_who_can_be_asked_has_all_its_tools_at_once_and_the_others_have_theirs(front):
    for state in await front.gateway.settled():
        assert ASKING.keys() <= {tool.name for tool in state.tools}  # The consent page has a box for each.
    for path, mode in itertools.product(("/mcp/stdio", "/mcp/http", "/mcp/sse", "/mcp"), ("legacy", "2026-07-28")):
        async with connected(front, path, mode) as client:
            fewer = await names(client)
        async with connected(front, path, mode, **ALL) as client:
            listed = await names(client)
            more = [name for name in listed if name not in fewer]
            assert {kind(name) for name in more} == ASKING.keys()
            assert set(fewer) < set(listed)
            for name in more:
                arguments, said = ASKING[kind(name)]
                answer = await client.call_tool(name, arguments)
                assert said in "".join(part.text for part in answer.content), (path, mode, name)
            assert await names(client) == listed
