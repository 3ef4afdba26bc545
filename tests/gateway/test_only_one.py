"""Programs of which only one process can run at a time."""

import fcntl

import pytest

from tests.fakes.mcp_client import Client, ModernClient, gone


@pytest.fixture
def alone(child, tmp_path):
    """Makes such a backend; its tool named in ``file`` is there once that is written."""

    def make(**server):
        served = child("one", "a", f"--alone={tmp_path / 'lock'}", f"--tools={tmp_path / 'more'}", **server)
        served.file = tmp_path / "more"
        return served

    return make


async def begin(gateway, backend=None):
    client = Client(gateway, backend)
    await client.initialize()
    return client


async def asked(gateway):
    """Once it has been asked what it offers."""
    while gateway._catalogue.asking("one"):
        await gateway._catalogue.remembered("one")


def state(gateway):
    return next((one.state, one.reason, one.last_line) for one in gateway.backends() if one.name == "one")


@pytest.mark.parametrize("share", ["all", "user", "session"])
async def test_while_it_works_it_has_the_tools_that_it_had(serve, child, alone, share):
    one = alone(share=share)
    gateway = await serve(one, child("two", "b"))
    client, modern = await begin(gateway), ModernClient(gateway, None)
    assert await client.names() == ["a", "b"]
    await client.text("a", do="change", path=str(one.file))
    await asked(gateway)
    kept, reason, last_line = state(gateway)
    assert (kept, "exit status 1" in reason, last_line) == ("ok", True, "another one runs")
    assert await client.names() == await modern.names() == ["a", "b"]
    assert await (await begin(gateway)).names() == ["a", "b"]
    assert "result" in await client.call("a")


async def test_once_its_process_has_ended_it_is_asked_again(serve, alone):
    one = alone(share="all")
    gateway = await serve(one)
    client = await begin(gateway)
    stream = client.listen()
    assert await client.names() == ["a"]
    await client.text("a", do="change", path=str(one.file))
    await asked(gateway)
    gateway.look_around()
    assert not gateway._catalogue.asking("one")
    pid = int(await client.text("a", do="pid"))
    await client.call("a", do="crash")
    await gone(pid)
    gateway.look_around()
    await asked(gateway)
    assert state(gateway) == ("ok", None, "")
    assert await client.names() == ["a", "added"]
    assert b"tools/list_changed" in await anext(stream)


async def test_one_that_fails_and_does_not_run_is_left_out(serve, alone):
    one = alone(share="all")
    gateway = await serve(one)
    client = await begin(gateway)
    assert await client.names() == ["a"]
    pid = int(await client.text("a", do="pid"))
    await client.text("a", do="change", path=str(one.file))
    await asked(gateway)
    with (one.file.parent / "lock").open("r") as elsewhere:
        await client.call("a", do="crash")
        await gone(pid)
        fcntl.flock(elsewhere, fcntl.LOCK_EX)
        gateway.look_around()
        await asked(gateway)
        assert state(gateway)[0] == "failed"
        assert await client.names() == []


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_what_is_old_is_asked_for_when_the_clients_own_process_runs(serve, alone, ambient, make):
    gateway = await serve(alone(share="all"))
    await gateway.settled()
    ambient.time += 300
    client = make(gateway, "one")
    if make is Client:
        await client.initialize()
    assert "result" in await client.call("a")
    assert gateway._catalogue.asking("one")
    await asked(gateway)
    assert state(gateway)[0] == "ok"
    assert "exit status 1" in state(gateway)[1]
    assert "result" in await client.call("a")
