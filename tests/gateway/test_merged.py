"""`/mcp`."""

import asyncio
import json

import pytest

from mcpauth.errors import InsufficientScope
from mcpauth.gateway import catalogue
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, principal


@pytest.fixture
def merge(serve):
    """An initialized client at /mcp."""

    async def start(*backends, who=None):
        client = Client(await serve(*backends), None, who)
        await client.initialize()
        return client

    return start


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("2024-11-05", "2024-11-05"),
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
        ("1.0", "2025-11-25"),
    ],
)
async def test_initialize_is_answered_by_us(serve, child, asked, given):
    client = Client(await serve(child("one", "a")))
    result = (await client.initialize({**INITIALIZE, "protocolVersion": asked}))["result"]
    assert result["protocolVersion"] == given
    assert result["serverInfo"]["name"] == "mcpauth"
    assert result["capabilities"] == {"tools": {"listChanged": True}}
    assert client.session_id.isascii()
    assert len(client.session_id) >= 22


async def test_the_tools_of_all_servers_are_in_one_list(merge, child):
    client = await merge(child("one", "a", "b", "c"), child("two", "b", "d"))
    assert await client.names() == ["a", "b", "c", "two__b", "d"]
    assert json.loads(await client.text("two__b", n=1)) == {"name": "b", "arguments": {"n": 1}}
    assert await client.text("b", do="pid") != await client.text("two__b", do="pid")


async def test_no_name_says_that_it_is_of_another_server(merge, child):
    client = await merge(child("one", "a", "two__a", "one__b", "x__y"), child("two", "a"))
    assert await client.names() == ["a", "one__two__a", "one__b", "x__y", "two__a"]
    assert json.loads(await client.text("one__two__a"))["name"] == "two__a"
    assert json.loads(await client.text("two__a"))["name"] == "a"


async def test_a_definition_is_the_servers_own_but_for_the_name(merge, child):
    client = await merge(child("one", "a"), child("two", "a:read"))
    assert (await client.request("tools/list"))["result"]["tools"][1] == {
        "name": "two__a",
        "inputSchema": {"type": "object", "$comment": "kept"},
        "x-unknown": 1.5,
        "annotations": {"readOnlyHint": True},
    }


async def test_a_tool_may_be_called_before_anybody_listed_it(merge, child):
    client = await merge(child("one", "a"))
    assert json.loads(await client.text("a"))["name"] == "a"
    assert (await client.call("b"))["error"]["code"] == -32602


async def test_only_what_may_be_used_is_listed_and_called(merge, child):
    who = principal("mcp:read mcp:two", servers={"one": frozenset({"a", "b"}), "two": None})
    client = await merge(
        child("one", "a:read", "b", "c:read"),
        child("two", "d", "e", tools={"deny": ("e",)}),
        child("three", "f"),
        who=who,
    )
    assert await client.names() == ["a", "d"]
    assert json.loads(await client.text("a"))["name"] == "a"
    with pytest.raises(InsufficientScope):
        await client.call("b")
    for name in ("c", "e", "f"):
        assert (await client.call(name))["result"]["isError"] is True


async def test_a_server_that_fails_is_left_out_and_the_rest_works(merge, child, caplog):
    client = await merge(child("one", "a"), child("bad", "b", command="no-such-program"), child("two", "c"))
    assert await client.names() == ["a", "c"]
    assert "backend_left_out" in caplog.text
    states = {state.name: (state.state, state.reason) for state in client.gateway.backends()}
    assert states["one"] == ("ok", None)
    assert states["bad"][0] == "failed"
    assert "no-such-program" in states["bad"][1]


async def test_a_silent_server_delays_the_list_only_so_long(merge, child, monkeypatch):
    monkeypatch.setattr(catalogue.Catalogue.__init__, "__kwdefaults__", {"patience": 0.5, "probing": 60.0})
    client = await merge(child("one", "a"), child("silent", "b", "--silent", grace=0.1))
    assert await client.names() == ["a"]
    assert [state.state for state in client.gateway.backends()] == ["ok", "starting"]


async def test_a_server_that_comes_back_is_announced_and_keeps_its_names(merge, child, ambient, tmp_path):
    client = await merge(child("one", f"--fail-once={tmp_path / 'failed'}", "a"), child("two", "a"))
    assert await client.names() == ["a"]
    stream = client.listen()
    ambient.time += 3600
    await client.names()
    assert json.loads(await anext(stream))["method"] == "notifications/tools/list_changed"
    assert await client.names() == ["one__a", "a"]


async def test_a_server_that_comes_back_is_announced_though_nobody_asks(merge, child, ambient, tmp_path):
    client = await merge(child("one", f"--fail-once={tmp_path / 'failed'}", "a"))
    assert await client.names() == []
    stream = client.listen()
    client.gateway.look_around()
    assert [state.state for state in client.gateway.backends()] == ["failed"]
    ambient.time += 600
    client.gateway.look_around()
    assert json.loads(await anext(stream))["method"] == "notifications/tools/list_changed"
    assert await client.names() == ["a"]


async def test_a_change_of_tools_is_announced_once_it_is_in_the_list(merge, child, tmp_path):
    client = await merge(child("one", "a", f"--tools={tmp_path / 'more'}"))
    assert await client.names() == ["a"]
    stream = client.listen()
    answer = await client.calling("a", do="change", path=str(tmp_path / "more"))
    assert len(await client.frames(answer)) == 1
    assert json.loads(await anext(stream))["method"] == "notifications/tools/list_changed"
    assert await client.names() == ["a", "added"]


async def test_what_is_not_merged_is_no_method(merge, child):
    client = await merge(child("one", "a"))
    for method in ("tasks/list", "x/new"):
        assert (await client.request(method))["error"]["code"] == -32601
    assert (await client.request("ping"))["result"] == {}


async def test_first_calls_at_the_same_time_share_one_child(merge, child):
    client = await merge(child("one", "a"))
    assert len(set(await asyncio.gather(*(client.text("a", do="pid") for _ in range(5))))) == 1


async def test_questions_of_several_servers_find_their_way_back(merge, child):
    client = await merge(child("one", "a"), child("two", "b"))
    answers = [await client.calling("a", do="ask"), await client.calling("b", do="ask")]
    asked = [json.loads(await anext(answer.replies)) for answer in answers]
    assert asked[0]["id"] != asked[1]["id"]
    for number, question in reversed(list(enumerate(asked))):
        await client.post({"jsonrpc": "2.0", "id": question["id"], "result": {"n": number}})
    for number, answer in enumerate(answers):
        result = json.loads(await anext(answer.replies))["result"]
        assert json.loads(result["content"][0]["text"]) == {"n": number}


async def test_a_cancellation_reaches_the_server_that_has_the_request(merge, child):
    client = await merge(child("one", "a"), child("two", "b"))
    waiting = asyncio.create_task(client.request("tools/call", {"name": "b", "arguments": {"do": "never"}}, "x"))
    await client.text("a")
    await client.text("b")
    await client.notify("notifications/cancelled", {"requestId": "x"})
    assert "cancelled" in (await waiting)["error"]["message"]


async def test_a_tool_of_a_server_that_does_not_start_answers_with_an_error(merge, child, tmp_path, database, ambient):
    client = await merge(child("one", "a"))
    await client.names()
    await client.gateway.close()
    client = await merge(child("one", "a", command="no-such-program"))
    result = (await client.call("a"))["result"]
    assert result["isError"] is True
    assert "no-such-program" in result["content"][0]["text"]


async def test_a_tool_of_a_server_that_was_never_heard_of_is_no_reason_to_ask_for_more_scope(merge, serve, child):
    assert await (await merge(child("one", "a"))).names() == ["a"]  # A name that is its own from now on.
    reader = principal("mcp:read")
    gateway = await serve(child("one", "a", command="no-such-program"))
    for client in (Client(gateway, None, reader), ModernClient(gateway, None, reader)):
        if isinstance(client, Client):
            await client.initialize()
        result = (await client.call("a"))["result"]
        assert result["isError"]
        assert "is not there" in result["content"][0]["text"]
