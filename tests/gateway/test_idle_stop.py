"""``idle_stop`` of a server holds for clients of either era."""

import asyncio

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


async def settle():
    """Whatever was begun by a look around has been done."""
    for _ in range(50):
        await asyncio.sleep(0)
