"""``idle_stop`` of a server holds for clients of either era."""

import asyncio
import json

import pytest

from tests.fakes.mcp_client import Client, ModernClient, gone, is_running

SWEEP = 30


@pytest.mark.parametrize("server", ["--modern", "--legacy"])
@pytest.mark.parametrize("make", [Client, ModernClient])
@pytest.mark.parametrize("idle_stop", [60, 3600])
async def test_a_process_that_nobody_uses_ends_when_its_time_has_come(serve, child, ambient, server, make, idle_stop):
    gateway = await serve(child("fake", "echo", *([server] if server == "--modern" else []), idle_stop=idle_stop))
    client = make(gateway, "fake")
    if make is Client:
        await client.initialize()
        await client.notify("notifications/initialized")
    pid = int(await client.text("echo", do="pid"))
    ambient.time += idle_stop - SWEEP
    gateway.stop_idle()
    assert await client.text("echo", do="pid") == str(pid)
    for _ in range(idle_stop // SWEEP - 1):
        ambient.time += SWEEP
        gateway.stop_idle()
    assert is_running(pid)
    # Who only hears of changes is told that it ends, and then it does: two looks, and one for the rounding.
    for _ in range(3):
        ambient.time += SWEEP
        gateway.stop_idle()
        await settle()
    await gone(pid)


@pytest.mark.parametrize("share", ["session", "user"])
async def test_what_a_client_follows_keeps_no_process_when_it_is_away(serve, lists, ambient, share):
    gateway = await serve(lists("one", tools=["a"], resources=["x:1"], share=share))
    client = Client(gateway, "one")
    await client.initialize()
    heard = client.listen()
    assert "result" in await client.request("resources/subscribe", {"uri": "x:1"})
    pid = int(await client.text("a", do="pid"))
    for _ in range(3):
        ambient.time += 900
        gateway.look_around()
        await settle()
    assert is_running(pid)
    heard.close()
    for _ in range(3):
        ambient.time += 900
        gateway.look_around()
        await settle()
    await gone(pid)
    # It is followed again when the client is back.
    client.listen()
    await asyncio.gather(*gateway._reviving)
    assert json.loads(await client.text("a", do="state"))["subscribed"] == ["x:1"]


async def settle():
    """Whatever was begun by a look around has been done."""
    for _ in range(50):
        await asyncio.sleep(0)
