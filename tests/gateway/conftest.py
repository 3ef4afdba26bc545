"""Gateways with real children."""

import json
import os
import sys
from pathlib import Path

import pytest

from mcpauth.cli.serve import new_event_loop
from mcpauth.gateway import inquiry
from mcpauth.gateway.configuration import StdioServer, ToolFilter
from mcpauth.gateway.gateway import Gateway
from mcpauth.gateway.names import PublishedNames
from mcpauth.gateway.served import Served
from mcpauth.gateway.stdio import StdioBackend
from mcpauth.store.mcp_sessions import McpSessionStore
from mcpauth.store.published_names import PublishedNameStore
from tests.fakes.mcp_client import Client

CHILD = Path(__file__).parent.parent / "fakes" / "mcp_child.py"
LISTS_CHILD = CHILD.with_name("mcp_lists_child.py")


@pytest.fixture
def new_loop():
    """The loop of the server itself: how children, pipes and sockets behave is its affair."""
    return new_event_loop


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    """Backends are asked what they offer as often as there is a reason, not once in two seconds."""
    monkeypatch.setattr(inquiry, "PAUSE", 0.0)


@pytest.fixture
def child(ambient, tmp_path):
    """Makes a backend whose child has these tools."""

    def make(name, *arguments, tools=None, command=None, grace=2.0, children=None, **server):
        given = {"args": (str(CHILD), *arguments), "cwd": tmp_path, **server}
        stdio = StdioServer(command=command or sys.executable, **given)
        backend = StdioBackend(name, stdio, ambient, os.environ, grace, children=children)
        return Served(backend, ToolFilter(**(tools or {})))

    return make


@pytest.fixture
def serve(io_loop, database, ambient):
    """Starts a gateway with these backends; it is closed at the end."""
    started = []

    async def start(*backends):
        gateway = Gateway(
            backends, PublishedNames(PublishedNameStore(database), ambient), McpSessionStore(database), ambient
        )
        await gateway.start()
        started.append(gateway)
        return gateway

    yield start
    for gateway in started:
        io_loop.run_sync(gateway.close)


@pytest.fixture
def connect(serve, child):
    """An initialized client at the address of one fake child."""

    async def start(*arguments, **options):
        client = Client(await serve(child("fake", *(arguments or ("echo",)), **options)), "fake")
        await client.initialize()
        return client

    return start


@pytest.fixture
def lists(ambient, tmp_path):
    """Makes a backend whose child has these lists (see tests/fakes/mcp_lists_child.py); ``file`` is where they are.

    Once more without lists, it is the same server in another process of ours.
    """

    def make(name, era="--legacy", tools_filter=None, share=None, **lists):
        file = tmp_path / f"{name}.json"
        if lists:
            file.write_text(json.dumps(lists))
        args = (str(LISTS_CHILD), str(file), era)
        stdio = StdioServer(command=sys.executable, args=args, cwd=tmp_path, share=share)
        served = Served(StdioBackend(name, stdio, ambient, os.environ, 2.0), ToolFilter(**(tools_filter or {})))
        served.file = file
        return served

    return make
