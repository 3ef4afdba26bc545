"""Gateways whose one server speaks one era alone, and clients of the other."""

from pathlib import Path

import pytest

from tests.fakes.mcp_client import Client, ModernClient

FAKES = Path(__file__).parent.parent.parent / "fakes"


@pytest.fixture
def to_legacy(serve, child):
    """A server of the older era, as a function from principals to modern clients with what these declare."""

    async def start(*options, **given):
        gateway = await serve(child("old", args=(str(FAKES / "mcp_legacy_server.py"), *options), **given))
        return lambda who=None, **capabilities: ModernClient(gateway, "old", who, capabilities)

    return start


@pytest.fixture
def to_modern(serve, child):
    """A modern server, as a function that initializes a legacy client with what it declares."""

    async def start(**given):
        gateway = await serve(child("new", args=(str(FAKES / "mcp_modern_server.py"),), **given))

        async def begin(who=None, version="2025-11-25", **capabilities):
            client = Client(gateway, "new", who)
            info = {"name": "test", "version": "1"}
            client.greeting = await client.initialize(
                {"protocolVersion": version, "capabilities": capabilities, "clientInfo": info}
            )
            return client

        return begin

    return start
