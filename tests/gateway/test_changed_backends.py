"""A running gateway is given other backends."""

import asyncio
import json

import pytest

from mcpauth.errors import UnknownBackend, UnknownSession
from mcpauth.gateway import catalogue as catalogue_module
from mcpauth.gateway import gateway as gateway_module
from mcpauth.gateway import served as served_module
from mcpauth.gateway.files.backend import FilesBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient, gone, is_running

CHANGED = "notifications/tools/list_changed"


@pytest.fixture
def no_handover(monkeypatch):
    """What takes the place of a backend that is at work does not wait for it."""
    monkeypatch.setattr(served_module, "HANDOVER", 0.0)


async def begin(gateway, backend=None):
    client = Client(gateway, backend)
    await client.initialize()
    return client


async def pid(client, tool="x"):
    return int(await client.text(tool, do="pid"))


async def told(stream):
    return json.loads(await anext(stream))["method"]


async def test_a_backend_that_is_the_same_notices_nothing(serve, child):
    same, gone_one = child("same", "a"), child("other", "b")
    gateway = await serve(same, gone_one)
    client = await begin(gateway, "same")
    before = await pid(client)
    stream = client.listen()
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    gateway.serve([child("new", "c"), same])
    assert await pid(client) == before
    await client.notify("notifications/cancelled", {"requestId": 3})
    await client.call("log", do="log", data="d")
    assert not waiting.done()
    assert await told(stream) == "notifications/message"
    await gateway.end_grant("g1")
    await waiting


async def test_a_new_backend_is_served_and_clients_are_told(serve, child):
    one = child("one", "a")
    gateway = await serve(one)
    client = await begin(gateway)
    stream = client.listen()
    assert await client.names() == ["a"]
    gateway.serve([child("two", "b"), one])
    assert await told(stream) == CHANGED
    assert await client.names() == ["b", "a"]
    assert await (await begin(gateway, "two")).names() == ["b"]
    assert [state.name for state in gateway.backends()] == ["two", "one"]


async def test_of_several_that_change_at_once_clients_are_told_once(serve, child):
    names = ["one", "two", "three"]
    gateway = await serve(*(child(name, name) for name in names))
    client = await begin(gateway)
    assert await client.names() == names
    stream = client.listen()

    async def heard():
        return [json.loads(message)["method"] async for message in stream]

    hearing = asyncio.create_task(heard())
    gateway.serve([child(name, f"new_{name}") for name in names])
    assert await client.names() == [f"new_{name}" for name in names]
    await client.call("new_one")
    gateway.hang_up()
    assert await hearing == [CHANGED]


async def test_one_that_is_slow_does_not_keep_the_others_from_being_told_of(serve, child, monkeypatch):
    monkeypatch.setattr(catalogue_module, "TOGETHER", 0.1)
    one, slow = child("one", "a"), child("slow", command="sleep", args=("600",), grace=0.2)
    gateway = await serve(one)
    client = await begin(gateway)
    assert await client.names() == ["a"]
    stream = client.listen()
    gateway.serve([child("one", "b"), slow])
    assert await told(stream) == CHANGED
    assert [state.state for state in gateway.backends()][1] == "starting"


async def test_a_backend_that_is_gone_ends_with_its_sessions_and_its_tools(serve, child):
    one, two = child("one", "a", grace=0.2), child("two", "b")
    gateway = await serve(one, two)
    merged, single = await begin(gateway), await begin(gateway, "one")
    assert await merged.names() == ["a", "b"]
    pids = [await pid(single), await pid(merged, "a")]
    streams = [merged.listen(), single.listen()]
    waiting = [asyncio.create_task(client.call("a", do="never")) for client in (merged, single)]
    await single.request("ping")
    gateway.serve([two])
    for number in pids:
        await gone(number)
    assert all("error" in answer for answer in await asyncio.gather(*waiting))
    assert await told(streams[0]) in (CHANGED, "notifications/message")
    assert [message async for message in streams[1]] == []
    assert isinstance((await single.send("ping")).error, UnknownBackend)
    assert await merged.names() == ["b"]
    assert "is gone" in (await merged.call("a"))["result"]["content"][0]["text"]
    # One of that name that comes later is another one, and knows nothing of the sessions that there were.
    gateway.serve([two, child("one", "a")])
    assert isinstance((await single.send("ping")).error, UnknownSession)
    assert await merged.names() == ["b", "a"]


async def test_a_changed_backend_gets_the_new_requests_and_the_old_one_ends_what_it_began(serve, child, no_handover):
    gateway = await serve(child("fake", "a"))
    client = await begin(gateway, "fake")
    before = await pid(client)
    stream = client.listen()
    asking = await client.calling("ask")
    asked = json.loads(await anext(asking.replies))
    gateway.serve([child("fake", "a", "b")])
    assert await told(stream) == CHANGED
    assert await client.names() == ["a", "b"]
    assert await pid(client) != before
    # What was begun is not in the way, and still gets the client's answer.
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"n": 3}})
    assert json.loads((await client.frames(asking))[-1]["result"]["content"][0]["text"]) == {"n": 3}
    await gone(before)


async def test_the_end_of_a_grant_reaches_what_was_begun_before_the_change(serve, child, no_handover):
    gateway = await serve(child("fake", "a", grace=0.2))
    client = await begin(gateway, "fake")
    before = await pid(client)
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    gateway.serve([child("fake", "a")])
    assert await pid(client) != before
    await gateway.end_grant("g1")
    assert "error" in await waiting
    await gone(before)


async def test_a_changed_backend_is_not_waited_for_without_end(serve, child, monkeypatch):
    monkeypatch.setattr(gateway_module, "LEAVING", 0.0)
    gateway = await serve(child("fake", "a", grace=0.2))
    client = await begin(gateway, "fake")
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    gateway.serve([child("fake", "a")])
    assert "error" in await waiting
    assert await client.names() == ["a"]


async def test_modern_callers_of_a_changed_backend(serve, child, no_handover):
    gateway = await serve(child("fake", "--modern", "a"))
    client = ModernClient(gateway, "fake")
    before = await pid(client)
    going_on, _ = await client.begun("a", do="begin")
    listening = await client.send("subscriptions/listen", {"notifications": {}})
    await anext(listening.replies)
    gateway.serve([child("fake", "--modern", "a", "b")])
    # A subscription would never end by itself: whoever has one subscribes again.
    assert "result" in (await client.frames(listening))[-1]
    assert await client.names() == ["a", "b"]
    assert await pid(client) != before
    assert is_running(before)
    # The end of the grant reaches what is still with the old one.
    await gateway.end_grant("g1")
    assert b"has ended" in await anext(going_on)
    await gone(before)


async def test_a_call_that_waits_for_its_client_ends_with_the_old_one(serve, child, no_handover):
    gateway = await serve(child("fake", "a", grace=0.2))
    client = ModernClient(gateway, "fake", capabilities={"elicitation": {"form": {}}})
    before = await pid(client)
    asked = (await client.call("a", do="ask"))["result"]
    gateway.serve([child("fake", "a", grace=0.2)])
    await gone(before)
    # Nobody could go on with it.
    again = {"inputResponses": {}, "requestState": asked["requestState"]}
    answer = await client.request("tools/call", {"name": "a", "arguments": {"do": "ask"}, **again})
    assert answer["error"]["code"] == -32602


async def test_what_the_old_one_still_has_can_be_cancelled(serve, child, no_handover):
    gateway = await serve(child("fake", "a", grace=0.2))
    client = await begin(gateway, "fake")
    before = await pid(client)
    waiting = await client.send("tools/call", {"name": "a", "arguments": {"do": "never"}}, request_id=77)
    await anext(waiting.replies)
    gateway.serve([child("fake", "a", grace=0.2)])
    assert await pid(client) != before
    await client.notify("notifications/cancelled", {"requestId": 77})
    assert b"was cancelled" in await anext(waiting.replies)
    await gone(before)


@pytest.mark.parametrize("era", ["--legacy", "--modern"])
@pytest.mark.parametrize("make", [Client, ModernClient])
@pytest.mark.parametrize("stops", [True, False])
async def test_who_waits_for_one_that_is_gone_is_told(serve, child, era, make, stops):
    gateway = await serve(child("fake", "a", era, grace=0.2))
    client = make(gateway, "fake")
    if make is Client:
        await client.initialize()
    await client.names()
    before = await pid(client)
    waiting = asyncio.create_task(client.call("never"))
    while not gateway._backends["fake"].busy:  # noqa: ASYNC110 - nothing tells that it was sent
        await asyncio.sleep(0.01)
    if stops:
        await gateway.close()
    else:
        gateway.serve([])
    message = (await waiting)["error"]["message"]
    assert "mcpauth is stopping" in message or not stops
    await gone(before)


async def test_stopping_waits_for_what_was_just_taken_out(serve, child):
    gateway = await serve(child("fake", "--modern", "a"))
    before = await pid(ModernClient(gateway, "fake"))
    gateway.serve([])
    await asyncio.sleep(0)
    await gateway.close()
    assert not is_running(before)


async def test_stopping_ends_what_was_replaced_and_is_still_at_work(serve, child):
    gateway = await serve(child("fake", "a", grace=0.2))
    client = await begin(gateway, "fake")
    before = await pid(client)
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    gateway.serve([child("fake", "a", "b")])
    await gateway.close()
    await gone(before)
    assert "error" in await waiting


async def test_another_folder_under_the_same_name(serve, tmp_path, ambient):
    def files(folder):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.md").write_text("plums")
        index = tmp_path / "index.sqlite3"
        about = {"write": False, "index": index, "data_dir": tmp_path / "data", "ambient": ambient}
        return Served(FilesBackend("files", tmp_path / folder, **about))

    gateway = await serve(files("old"))
    client = await begin(gateway, "files")
    assert "old.md" in await client.text("search", query="plums")
    gateway.serve([files("new")])
    found = await client.text("search", query="plums")
    assert "new.md" in found
    assert "old.md" not in found


@pytest.mark.parametrize("times", [3])
async def test_backends_that_change_while_they_start_leave_nothing_behind(serve, child, times):
    gateway = await serve(child("fake", "--silent", grace=0.1))
    for _ in range(times):
        gateway.serve([child("fake", "--silent", grace=0.1)])
        await asyncio.sleep(0)
    gateway.serve([])
    assert gateway.backends() == []
    await gateway.close()
    names = {task.get_coro().__qualname__ for task in asyncio.all_tasks() - {asyncio.current_task()}}
    assert not [name for name in names if name.startswith(("Catalogue", "Gateway", "Served", "StdioSession"))]
