"""Of whatever ran, nothing is left: no process, no file descriptor, no task."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from mcpauth.gateway.configuration import StdioServer
from mcpauth.gateway.reaper import MARK, Reaper
from mcpauth.gateway.served import Served
from mcpauth.gateway.stdio import StdioBackend
from tests.fakes.mcp_client import Client, ModernClient, gone, is_running, principal
from tests.gateway.conftest import CHILD

SESSIONS, AT_ONCE = 200, 10


def processes():
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


def descriptors():
    return len(os.listdir("/proc/self/fd"))


async def settled(count, wanted):
    """Returns once ``count`` gives that; the test's own time limit ends the wait."""
    while count() != wanted:  # noqa: ASYNC110 - the kernel sets no Event
        await asyncio.sleep(0.01)


async def test_two_hundred_sessions_leave_nothing_behind(serve, child):
    # Without site and environment, a child starts in half the time.
    own = ("-I", "-S", str(Path(__file__).parent.parent / "fakes" / "mcp_child.py"), "--dual", "a")
    shared = child("shared", args=own, share="all")
    gateway = await serve(child("own", args=own), shared)
    await gateway.settled()
    # What the loop itself opens with the first of them stays, and so do shared children.
    for number in (0, 8, 9):
        await use(gateway, number)
    before = processes(), descriptors(), asyncio.all_tasks()
    for begun in range(0, SESSIONS, AT_ONCE):
        await asyncio.gather(*(use(gateway, begun + number) for number in range(AT_ONCE)))
    await settled(processes, before[0])
    await settled(descriptors, before[1])
    await settled(asyncio.all_tasks, before[2])
    assert gateway._sessions._sessions == {}
    await settled(lambda: gateway._sessions._closing, {})


async def use(gateway, number):
    """Some of them end with a request that waits, some with their grant, some share a child, some are modern."""
    who = principal(subject=f"u{number % 7}", grant_id=f"g{number}")
    if number % 10 == 9:
        modern = ModernClient(gateway, "shared", who)
        going_on, _ = await modern.begun("a", do="begin")
        going_on.leave()
        assert [message async for message in going_on]
        return
    client = Client(gateway, "shared" if number % 10 == 8 else "own", who)
    await client.initialize()
    stream = client.listen()
    waiting = asyncio.create_task(client.call("a", do="never")) if number % 2 else None
    await client.text("a")
    if number % 3:
        gateway.end_session(who, backend=client.backend, session_id=client.session_id)
    else:
        await gateway.end_grant(who.grant_id)
    if waiting is not None:
        assert "error" in await waiting
    stream.close()


async def test_a_child_that_does_not_mind_the_end_of_its_input_gets_a_signal(serve, child, tmp_path):
    program = f"""
import signal, sys, time
def on_term(*_):
    open({str(tmp_path / "told")!r}, "w").close()
    sys.exit(0)
signal.signal(signal.SIGTERM, on_term)
exec(open({str(Path(__file__).parent.parent / "fakes" / "mcp_child.py")!r}).read())
time.sleep(600)
"""
    gateway = await serve(child("fake", args=("-c", program, "a"), grace=0.3))
    client = Client(gateway, "fake")
    await client.initialize()
    pid = int(await client.text("a", do="pid"))
    gateway.end_session(client.who, backend="fake", session_id=client.session_id)
    await gone(pid)
    assert (tmp_path / "told").exists()


async def test_a_reaper_that_somebody_ended_is_replaced_and_knows_of_all_children(tmp_path):
    reaper = Reaper("test")
    sleeping = [await sleeper(), await sleeper()]
    reaper.watch(reaper.expect(), sleeping[0].pid)
    os.kill(reaper._process.pid, signal.SIGKILL)
    await gone(reaper._process.pid)
    reaper.watch(reaper.expect(), sleeping[1].pid)
    # We are gone, as far as it can tell.
    await reaper.close()
    for one in sleeping:
        assert await one.wait() == -signal.SIGTERM


async def test_a_child_is_known_before_it_starts():
    """We may be gone before anybody can say in which group it is."""
    reaper = Reaper("test")
    marker = reaper.expect()
    ours, another = await sleeper(marker), await sleeper(f"{marker}0")
    await reaper.close()
    assert await ours.wait() == -signal.SIGTERM
    assert another.returncode is None
    another.kill()
    await another.wait()


@pytest.mark.parametrize("how", ["end_session", "crash", "close"])
async def test_what_left_the_group_of_its_child_ends_with_it(serve, tmp_path, ambient, how):
    reaper = Reaper("test")
    server = StdioServer(command=sys.executable, args=(str(CHILD), "escape"), cwd=tmp_path)
    gateway = await serve(Served(StdioBackend("fake", server, ambient, os.environ, 0.5, reaper)))
    client = Client(gateway, "fake")
    await client.initialize()
    escaped = int(await client.text("escape"))
    other = Client(gateway, "fake", principal(subject="bob", grant_id="g2"))
    await other.initialize()
    others = int(await other.text("escape"))
    if how == "end_session":
        gateway.end_session(client.who, backend="fake", session_id=client.session_id)
    elif how == "crash":
        assert "error" in await client.call("escape", do="crash")
    else:
        await gateway.close()
        await gone(others)
    await gone(escaped)
    assert is_running(others) == (how != "close")
    await gateway.close()
    await gone(others)
    await reaper.close()


def sleeper(marker=""):
    program = "import time; time.sleep(600)"
    return asyncio.create_subprocess_exec(
        sys.executable, "-c", program, start_new_session=True, env={**os.environ, MARK: marker}
    )
