"""Servers that speak other eras than they did."""

import json

import pytest

from tests.fakes.mcp_client import Client, ModernClient

NEWEST = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def becomes(served, **changes):
    """The next process of it is another version."""
    served.file.write_text(json.dumps(json.loads(served.file.read_text()) | changes))


@pytest.mark.parametrize("share", [None, "all"])
@pytest.mark.parametrize("make", [Client, ModernClient])
@pytest.mark.parametrize("backend", ["one", None])
async def test_a_program_that_is_of_the_newer_era_alone_by_now_is_asked_again(serve, lists, share, make, backend):
    one = lists("one", tools=["a"], share=share)
    gateway = await serve(one)
    await gateway.settled()
    client = make(gateway, backend)
    if make is Client:
        await client.initialize(NEWEST)
    assert await client.names() == ["a"]
    becomes(one, era="--modern")
    assert "try again" in json.dumps(await client.call("a"))
    assert '"by": "one"' in await client.text("a")


async def test_who_is_refused_at_the_beginning_can_begin_then(serve, lists):
    one = lists("one", tools=["a"])
    gateway = await serve(one)
    await gateway.settled()
    becomes(one, era="--modern")
    odd = NEWEST | {"clientInfo": {"name": "n" * 5000, "version": "1"}}
    assert "error" in await Client(gateway, "one").initialize(odd)
    while gateway._catalogue.asking("one"):
        await gateway._catalogue.remembered("one")
    client = Client(gateway, "one")
    await client.initialize(odd)
    assert '"by": "one"' in await client.text("a")
