"""How many children there may be, when they end, and how soon one that ended is started again."""

import asyncio
import json

import pytest

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.back_off import BackOff
from mcpauth.gateway.children import Children
from mcpauth.gateway.configuration import Limits
from tests.fakes.mcp_client import Client, ModernClient, gone, is_running, principal
from tests.gateway.conftest import CHILD
from tests.gateway.test_unread import until

# It answers initialize, and reads nothing more.
DEAF = """
import json, sys, time
greeted = False
while not greeted:
    asked = json.loads(sys.stdin.readline())
    greeted = asked["method"] == "initialize"
    version = asked["params"].get("protocolVersion")
    about = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "x", "version": "1"}}
    answer = {"result": about} if greeted else {"error": {"code": -32601, "message": "no such method"}}
    print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}), flush=True)
time.sleep(600)
"""


async def begin(gateway, backend="fake", subject="ann", number=1):
    client = Client(gateway, backend, principal(subject=subject, grant_id=f"{subject}{number}"))
    await client.initialize()
    return client


async def pid(client):
    return int(await client.text("x", do="pid"))


async def waiting(client):
    """A call that goes on: the child has it."""
    params = {"name": "x", "arguments": {"do": "begin"}, "_meta": {"progressToken": "t"}}
    answer = await client.send("tools/call", params, 77)
    await anext(answer.replies)
    return answer.replies


async def test_after_it_was_asked_what_it_offers_no_child_goes_on(serve, child, tmp_path):
    started = tmp_path / "started"
    program = f"import os; print(os.getpid(), file=open({str(started)!r}, 'a')); exec(open({str(CHILD)!r}).read())"
    gateway = await serve(child("fake", args=("-c", program, "a")), child("new", args=("-c", program, "--dual", "b")))
    assert [state.state for state in await gateway.settled()] == ["ok", "ok"]
    pids = started.read_text().split()
    assert len(pids) == 6
    for number in pids:
        await gone(int(number))


async def test_what_a_backend_offers_can_be_asked_when_all_its_children_are_busy(serve, child, ambient):
    gateway = await serve(child("fake", "a", children=Children(ambient, Limits(processes_per_server=1))))
    await gateway.settled()
    client = await begin(gateway)
    replies = await waiting(client)
    gateway._catalogue.refresh("fake")
    await gateway._catalogue._inquiries["fake"].probing
    assert gateway.backends()[0].state == "ok"
    await client.notify("notifications/cancelled", {"requestId": 77})
    assert [message async for message in replies]


async def test_a_child_that_does_not_read_is_not_written_to_without_end(serve, child):
    gateway = await serve(child("fake", args=("-c", DEAF), grace=0.1))
    client = await begin(gateway)
    large = "x" * (8 * 2**20)
    asked = []
    while True:
        answer = await client.send("tools/call", {"name": "x", "arguments": {"large": large}})
        reading = asyncio.ensure_future(anext(answer.replies))
        await asyncio.sleep(0)
        if reading.done():
            break
        asked.append(reading)
    assert "does not read" in reading.result().decode()
    assert 4 <= len(asked) <= 8
    await gateway.close()
    assert all(b"mcpauth is stopping" in one for one in await asyncio.gather(*asked))


@pytest.mark.parametrize("share", ["session", "all"])
async def test_what_is_told_to_a_child_that_does_not_read_is_accepted_at_once(serve, child, share):
    """A cancellation above all. Not without end: whoever has much to say waits."""
    gateway = await serve(child("fake", args=("-c", DEAF), grace=0.1, share=share))
    client = await begin(gateway)
    calling = asyncio.create_task(client.call("x", large="y" * 2**20))
    await until(lambda: gateway._backends["fake"].busy)
    for _ in range(100):
        await client.notify("notifications/roots/list_changed", {"x": "z" * 500})
    await client.notify("notifications/cancelled", {"requestId": client.last_id})
    assert "was cancelled" in (await calling)["error"]["message"]
    much = [asyncio.create_task(client.notify("notifications/x", {"x": "z" * 100_000})) for _ in range(9)]
    await asyncio.wait(much, return_when=asyncio.FIRST_COMPLETED)
    assert 0 < sum(task.done() for task in much) < 3
    await gateway.close()
    await asyncio.gather(*much)


async def test_a_child_that_nobody_uses_is_stopped_and_comes_back(serve, child, ambient):
    gateway = await serve(child("fake", "a", idle_stop=60))
    client = await begin(gateway)
    before = await pid(client)
    ambient.time += 59
    await client.request("ping")
    ambient.time += 59
    gateway.stop_idle()
    assert await pid(client) == before
    ambient.time += 60
    gateway.stop_idle()
    await gone(before)
    assert await pid(client) != before


async def test_a_child_is_stopped_after_a_quarter_of_an_hour(serve, child, ambient):
    gateway = await serve(child("fake", "a"))
    client = await begin(gateway)
    before = await pid(client)
    ambient.time += 15 * 60 - 1
    gateway.stop_idle()
    assert is_running(before)
    ambient.time += 1
    gateway.stop_idle()
    await gone(before)


async def test_a_request_a_question_and_a_subscription_keep_a_child(serve, child, ambient):
    gateway = await serve(child("fake", "a"))
    client = await begin(gateway)
    before = await pid(client)

    def idle():
        ambient.time += 3600
        gateway.stop_idle()

    replies = await waiting(client)
    idle()
    assert await pid(client) == before
    await client.notify("notifications/cancelled", {"requestId": 77})
    assert [message async for message in replies]
    asking = await client.calling("ask")
    asked = json.loads(await anext(asking.replies))
    idle()
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {}})
    await client.frames(asking)
    await client.request("resources/subscribe", {"uri": "x://a"})
    idle()
    assert await pid(client) == before
    await client.request("resources/unsubscribe", {"uri": "x://a"})
    idle()
    await gone(before)


@pytest.mark.parametrize(
    ("limits", "named"),
    [
        ({"processes_per_user": 2}, "for one user"),
        ({"processes_per_server": 2}, "of fake"),
        ({"processes": 2}, "for all servers together"),
    ],
)
async def test_the_least_recently_used_that_is_idle_makes_room(serve, child, ambient, limits, named):
    children = Children(ambient, Limits(**limits))
    gateway = await serve(child("fake", "a", children=children))
    await gateway.settled()
    one, two, three = [await begin(gateway, number=number) for number in range(3)]
    # The first made room for the third. It comes back in the place of the second, which has not been used since.
    await pid(three)
    old = await pid(two)
    kept = await pid(three)
    first = await pid(one)
    await gone(old)
    assert is_running(first)
    assert is_running(kept)
    busy = [await waiting(client) for client in (one, three)]
    # To begin a session needs no child, to call a tool does.
    assert (await (await begin(gateway, number=4)).call("x"))["result"]["isError"]
    refused = json.loads((await Client(gateway, "fake", principal(grant_id="x")).send("initialize", {})).reply)
    assert named in refused["error"]["message"]
    assert "busy" in refused["error"]["message"]
    for client, replies in zip((one, three), busy, strict=True):
        await client.notify("notifications/cancelled", {"requestId": 77})
        assert [message async for message in replies]
    assert await pid(await begin(gateway, number=5))


async def test_a_user_who_has_many_leaves_the_others_theirs(serve, child, ambient):
    gateway = await serve(child("fake", "a", children=Children(ambient, Limits(processes_per_user=1))))
    bob = await begin(gateway, subject="bob")
    before = await pid(bob)
    for number in range(3):
        await pid(await begin(gateway, number=number))
    assert await pid(bob) == before


async def test_those_that_will_not_end_are_not_forgotten(ambient):
    """Only that they are ending is no reason to start without end."""

    class Stubborn:
        busy = False

        async def close(self, reason=""):
            await asyncio.Event().wait()

    children = Children(ambient, Limits(processes_per_server=2))
    for _ in range(4):
        children.place("fake", None).child = Stubborn()
    with pytest.raises(BackendUnavailable, match="still ending"):
        children.place("fake", None)
    for task in children._closing:
        task.cancel()


async def test_modern_callers_and_sessions_are_counted_alike(serve, child, ambient):
    gateway = await serve(child("fake", "--dual", "a", children=Children(ambient, Limits(processes_per_user=1))))
    await gateway.settled()
    before = await pid(await begin(gateway))
    modern = ModernClient(gateway, "fake")
    assert await pid(modern) != before
    await gone(before)
    going_on, _ = await modern.begun("x", do="begin")
    assert (await (await begin(gateway, number=2)).call("x"))["result"]["isError"]
    going_on.leave()
    assert [message async for message in going_on]


async def test_one_that_keeps_crashing_is_not_started_in_a_loop(serve, child, ambient):
    gateway = await serve(child("fake", "a"))
    client = await begin(gateway)
    await client.call("x", do="crash", status=3)
    # Once is no reason to wait.
    await client.call("x", do="crash", status=4)
    refused = (await client.call("x"))["result"]["content"][0]["text"]
    assert "exit status 4" in refused
    assert "log reference" in refused
    assert "started again in 1 s" in refused
    # That is this user's affair alone.
    bob = await begin(gateway, subject="bob")
    await pid(bob)
    ambient.time += 1
    await client.call("x", do="crash")
    assert "started again in 2 s" in (await client.call("x"))["result"]["content"][0]["text"]
    ambient.time += 2
    before = await pid(client)
    ambient.time += 60
    await client.call("x", do="crash")
    assert await pid(client) != before


async def test_one_that_crashes_at_its_start_waits_at_once(serve, child, ambient, tmp_path):
    gateway = await serve(child("fake", "a", f"--fail-once={tmp_path / 'failed'}"))
    await gateway.settled()
    (tmp_path / "failed").unlink()
    client = Client(gateway, "fake")
    assert "exit status 7" in (await client.initialize())["error"]["message"]
    assert "started again in 1 s" in (await client.initialize())["error"]["message"]
    assert (tmp_path / "failed").read_text() == "x"
    ambient.time += 1
    assert "exit status 7" in (await client.initialize())["error"]["message"]
    assert "started again in 2 s" in (await client.initialize())["error"]["message"]
    ambient.time += 2
    assert "result" in await client.initialize()


def test_the_pauses_grow_and_a_long_run_or_peace_ends_them(ambient):
    back_off = BackOff(ambient)

    def wait():
        try:
            back_off.check()
        except BackendUnavailable as error:
            return int(error.message.split()[-2])
        return 0

    def ended(lived=0, answered=False):
        back_off.ended("why", lived=lived, answered=answered)
        return wait()

    assert [ended() for _ in range(7)] == [1, 2, 5, 15, 30, 60, 60]
    assert ended(lived=60) == 1
    assert ended() == 2
    ambient.time += 1000
    assert wait() == 0
    assert [ended(answered=True) for _ in range(8)] == [0, 1, 2, 5, 15, 30, 60, 60]
    ambient.time -= 5000
    assert wait() == 0


async def test_a_modern_child_tells_of_its_lists_when_nobody_listens(serve, child, tmp_path):
    tools = tmp_path / "tools"
    gateway = await serve(child("fake", "--modern", "a", f"--tools={tools}"))
    client = ModernClient(gateway, "fake")
    await gateway.settled()
    await client.text("a", do="change", path=str(tools))
    while [tool.name for tool in gateway.backends()[0].tools] != ["a", "added"]:  # noqa: ASYNC110 - nobody is told
        await asyncio.sleep(0.01)
