"""Gateways with real children."""

import os
import sys
from pathlib import Path

import pytest

from mcpauth.gateway.configuration import StdioServer, ToolFilter
from mcpauth.gateway.gateway import Gateway
from mcpauth.gateway.names import PublishedNames
from mcpauth.gateway.served import Served
from mcpauth.gateway.stdio import StdioBackend
from mcpauth.store.published_names import PublishedNameStore
from tests.fakes.mcp_client import Client

CHILD = Path(__file__).parent.parent / "fakes" / "mcp_child.py"


@pytest.fixture
def child(ambient, tmp_path):
    """Makes a backend whose child has these tools."""

    def make(name, *arguments, tools=None, command=None, grace=2.0, **server):
        given = {"args": (str(CHILD), *arguments), "cwd": tmp_path, **server}
        stdio = StdioServer(command=command or sys.executable, **given)
        return Served(StdioBackend(name, stdio, ambient, os.environ, grace), ToolFilter(**(tools or {})))

    return make


@pytest.fixture
def serve(io_loop, database, ambient):
    """Starts a gateway with these backends; it is closed at the end."""
    started = []

    async def start(*backends):
        gateway = Gateway(backends, PublishedNames(PublishedNameStore(database), ambient), ambient)
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
