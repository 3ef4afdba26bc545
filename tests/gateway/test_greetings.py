"""A server that greets each client by its name: what it says to one is never shown to another."""

import pytest

from tests.fakes.mcp_client import Client, principal

ANN, BOB = principal(), principal(subject="bob", client_id="chatgpt", grant_id="g2")


@pytest.fixture
def greeted(serve, child, io_loop):
    """What clients are told by a server that is shared like this: whose process, and for whom."""

    async def start(share=None):
        gateway = await serve(child("fake", "--greets", "echo", share=share, grace=0.2))
        await gateway.settled()

        async def greet(who, name, version="2025-06-18"):
            client = Client(gateway, "fake", who)
            about = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}
            pid, _, greeted = (await client.initialize(about))["result"]["instructions"].partition(" greets ")
            return client, pid, greeted

        return greet

    return start


@pytest.mark.parametrize("share", ["session", "user"])
async def test_nobody_is_shown_what_was_said_to_another(greeted, share):
    greet = await greeted(share)
    assert (await greet(ANN, "ann's own"))[2] == "ann's own"
    assert (await greet(BOB, "bob's own"))[2] == "bob's own"


async def test_what_was_said_to_the_same_is_remembered_and_starts_no_process(greeted):
    greet = await greeted()
    _, pid, _ = await greet(ANN, "claude")
    client, again, name = await greet(BOB, "claude")
    assert (again, name) == (pid, "claude")
    assert await client.text("echo", do="pid") != pid


async def test_what_was_said_to_us_is_for_everybody_and_starts_no_process(greeted):
    greet = await greeted()
    _, pid, name = await greet(ANN, "ann's own", "2025-11-25")
    assert name == "mcpauth"
    client, again, name = await greet(BOB, "bob's own", "2025-11-25")
    assert (again, name) == (pid, "mcpauth")
    assert await client.text("echo", do="pid") != pid


async def test_a_child_that_is_everybodys_knows_no_clients_name(greeted):
    greet = await greeted("all")
    one, pid, name = await greet(ANN, "ann's own")
    assert name == "mcpauth"
    other, again, name = await greet(BOB, "bob's own")
    assert (again, name) == (pid, "mcpauth")
    assert await one.text("echo", do="pid") == await other.text("echo", do="pid") == pid
