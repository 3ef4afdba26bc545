"""MCP sessions of legacy clients: started late, kept over a restart, and told what their last child knew."""

import asyncio
import json
import sqlite3

import pytest

from mcpauth.errors import UnknownSession
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, gone, principal

# The revision that a backend is asked for by us: what it answers then is known before a client asks.
NEWEST = {**INITIALIZE, "protocolVersion": "2025-11-25"}

# Of a server without authorization: a grant has a row in the database, which has nothing to do with this.
NOBODY = principal(subject="", client_id="", grant_id="")


@pytest.fixture
def one(lists):
    return lists("one", tools=["a"], prompts=["p"], resources=["x:1"])


async def begin(gateway, params=NEWEST, backend="one", who=NOBODY):
    client = Client(gateway, backend, who)
    await client.initialize(params)
    return client


async def restarted(serve, client, lists):
    """The same client, at a gateway that was not there when its session began."""
    await client.gateway.close()
    client.gateway = await serve(lists("one"))
    await client.gateway.settled()
    return client


def started(served):
    """The processes that there were."""
    return served.file.with_suffix(".started").read_text().split()


async def state(client):
    return json.loads(await client.text("a", do="state"))


def messages(heard):
    """What the client would be told now."""
    found = []
    while (message := heard.listener._mailbox.take(heard.listener)) is not None:
        found.append(json.loads(message)["method"])
    return found


CHANGED = [f"notifications/{kind}/list_changed" for kind in ("tools", "prompts", "resources")]


async def is_unknown(client):
    return isinstance((await client.send("ping")).error, UnknownSession)


async def test_only_what_needs_a_process_starts_one(serve, one):
    gateway = await serve(one)
    await gateway.settled()
    before = started(one)
    client = Client(gateway, "one", NOBODY)
    answer = await client.initialize(NEWEST)
    assert answer["result"]["serverInfo"] == {"name": "one", "version": "1"}
    assert await client.names() == ["a"]
    assert (await client.request("prompts/list"))["result"] == {"prompts": [{"name": "p", "x-of": "one"}]}
    assert (await client.request("resources/list"))["result"]["resources"][0]["uri"] == "x:1"
    assert (await client.request("ping"))["result"] == {}
    assert (await client.request("logging/setLevel", {"level": "error"}))["result"] == {}
    assert started(one) == before
    assert (await state(client))["level"] == ["error"]
    assert len(started(one)) == len(before) + 1
    # Now it is asked itself.
    one.file.write_text(json.dumps({"tools": ["a", "b"], "prompts": [], "resources": []}))
    assert await client.names() == ["a", "b"]


async def test_what_is_listed_from_memory_is_what_may_be_used(serve, lists):
    gateway = await serve(lists("one", tools=["look", "poke"], prompts=["p"]))
    await gateway.settled()
    reader = await begin(gateway, who=principal("mcp:read"))
    assert await reader.names() == ["look"]
    assert (await reader.request("prompts/list"))["result"] == {"prompts": []}
    ticked = await begin(gateway, who=principal(servers={"one": frozenset({"poke"})}))
    assert await ticked.names() == ["poke"]


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_what_is_remembered_and_old_is_looked_at_when_a_process_is_started_anyway(serve, one, ambient, make):
    gateway = await serve(one)
    await gateway.settled()
    other, client = await begin(gateway), make(gateway, "one")
    if make is Client:
        await client.initialize(NEWEST)
    one.file.write_text(json.dumps({"tools": ["a", "b"], "prompts": [], "resources": []}))
    before = started(one)
    ambient.time += 300
    assert await client.names() == ["a"]
    assert started(one) == before
    await client.text("a")
    assert await other.names() == ["a", "b"]
    # One for the call, one to look.
    assert len(started(one)) == len(before) + 2


@pytest.mark.parametrize("era", ["--modern", "--legacy", "--dual"])
async def test_modern_clients_start_a_process_with_calls_alone(serve, lists, era):
    one = lists("one", era, tools=["look", "poke"], prompts=["p"], resources=["x:1"])
    gateway = await serve(one)
    await gateway.settled()
    before = started(one)
    for who, tools, others in (
        (principal(), ["look", "poke"], True),
        (principal(servers={"one": frozenset({"poke"})}), ["poke"], True),
        (principal("mcp:read"), ["look"], False),
    ):
        client = ModernClient(gateway, "one", who)
        assert (await client.request("server/discover"))["result"]["supportedVersions"] == ["2026-07-28"]
        assert await client.names() == tools
        for method, member in (("prompts/list", "prompts"), ("resources/list", "resources")):
            result = (await client.request(method))["result"]
            assert bool(result.pop(member)) == others
            result.pop("_meta", None)
            assert result == {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
    assert started(one) == before
    await ModernClient(gateway, "one").text("look")
    assert len(started(one)) == len(before) + 1


async def test_a_list_that_the_server_does_not_have_is_no_list(serve, child):
    gateway = await serve(child("fake", "echo", "--modern"))
    await gateway.settled()
    answer = await ModernClient(gateway, "fake").send("prompts/list")
    assert answer.code == -32601


async def test_a_legacy_client_of_a_modern_server_starts_a_process_with_calls_alone(serve, lists):
    one = lists("one", "--modern", tools=["a"], prompts=["p"])
    gateway = await serve(one)
    await gateway.settled()
    before = started(one)
    client = await begin(gateway, INITIALIZE)
    await client.notify("notifications/initialized")
    assert await client.names() == ["a"]
    assert (await client.request("prompts/list"))["result"]["prompts"]
    assert started(one) == before
    await client.text("a")
    assert len(started(one)) == len(before) + 1


@pytest.mark.parametrize("make", [Client, ModernClient])
async def test_a_list_starts_no_process_in_place_of_one_that_was_idle(serve, one, ambient, make):
    gateway = await serve(one)
    await gateway.settled()
    client = make(gateway, "one")
    if make is Client:
        await client.initialize(NEWEST)
    pid = int(await client.text("a", do="pid"))
    ambient.time += 900
    gateway.stop_idle()
    await gone(pid)
    before = started(one)
    assert await client.names() == ["a"]
    assert started(one) == before


async def test_a_restart_strands_no_client(serve, one, lists):
    gateway = await serve(one)
    client = await begin(gateway)
    await client.request("logging/setLevel", {"level": "warning"})
    await client.request("resources/subscribe", {"uri": "x:1"})
    pid = await client.text("a", do="pid")
    await restarted(serve, client, lists)
    listener = client.listen()
    assert messages(listener) == CHANGED
    assert await state(client) == {"level": ["warning"], "subscribed": ["x:1"], "listening": []}
    assert await client.text("a", do="pid") != pid
    await client.request("resources/unsubscribe", {"uri": "x:1"})
    await restarted(serve, client, lists)
    assert (await state(client))["subscribed"] == []
    client.gateway.end_session(NOBODY, backend="one", session_id=client.session_id)
    await restarted(serve, client, lists)
    assert await is_unknown(client)


async def test_who_listens_again_hears_of_what_it_follows(serve, one, lists):
    client = await begin(await serve(one))
    await client.request("resources/subscribe", {"uri": "x:1"})
    await restarted(serve, client, lists)
    client.listen()
    await asyncio.gather(*client.gateway._reviving)
    assert client.gateway._sessions.of_endpoint("one")[0].linked("one")


async def test_who_only_listens_goes_on_hearing_after_a_crash(serve, one):
    client = await begin(await serve(one))
    heard = client.listen()
    await client.request("resources/subscribe", {"uri": "x:1"})
    assert "error" in await client.call("a", do="exit")
    client.gateway.look_around()
    await asyncio.gather(*client.gateway._reviving)
    # It may have changed while nobody told.
    assert messages(heard) == [*CHANGED, "notifications/resources/updated"]
    assert (await state(client))["subscribed"] == ["x:1"]
    client.gateway.look_around()
    assert not client.gateway._reviving


@pytest.mark.parametrize("era", ["--legacy", "--modern"])
@pytest.mark.parametrize("backend", ["one", None])
async def test_who_only_listens_goes_on_hearing_of_a_server_that_was_changed(serve, lists, backend, era):
    gateway = await serve(lists("one", era, tools=["a"], prompts=["p"], resources=["x:1"]))
    await gateway.settled()
    client = await begin(gateway, backend=backend)
    heard = client.listen()
    await client.request("resources/subscribe", {"uri": "x:1"})
    pid = int(await client.text("a", do="pid"))
    gateway.serve([lists("one", era)])
    await gone(pid)
    async for message in heard:
        if json.loads(message)["method"] == "notifications/resources/updated":
            break
    seen = await state(client)
    assert seen["subscribed"] == ["x:1"] or [one["resourceSubscriptions"] for one in seen["listening"]] == [["x:1"]]


async def test_only_the_owner_finds_a_kept_session(serve, one, lists):
    client = await begin(await serve(one))
    await restarted(serve, client, lists)
    thief = Client(client.gateway, "one", principal(subject="eve", grant_id=""))
    thief.session_id = client.session_id
    assert await is_unknown(thief)
    elsewhere = Client(client.gateway, None, NOBODY)
    elsewhere.session_id = client.session_id
    assert await is_unknown(elsewhere)
    assert not await is_unknown(client)


async def test_the_disk_has_no_session_id_and_no_idle_session(serve, one, lists, ambient, tmp_path):
    gateway = await serve(one)
    client, idle = await begin(gateway), await begin(gateway)
    ambient.time += 1000
    await client.request("ping")
    await client.gateway.close()
    ambient.time += 24 * 3600 - 1000
    await restarted(serve, client, lists)
    idle.gateway = client.gateway
    assert await is_unknown(idle)
    assert not await is_unknown(client)
    with sqlite3.connect(tmp_path / "mcpauth.sqlite3") as database:
        rows = database.execute("select * from mcp_sessions").fetchall()
    database.close()
    assert len(rows) == 1
    assert client.session_id not in str(rows)


async def test_a_grant_has_five_sessions_over_a_restart_too(serve, one, lists):
    gateway = await serve(one)
    clients = [await begin(gateway) for _ in range(5)]
    gateway = (await restarted(serve, clients[2], lists)).gateway
    for client in clients:
        client.gateway = gateway
    await begin(gateway)
    assert [await is_unknown(client) for client in clients] == [True, False, False, False, False]


async def test_who_listens_to_a_session_is_using_it(serve, one):
    gateway = await serve(one)
    clients = [await begin(gateway) for _ in range(5)]
    heard = clients[0].listen()
    await begin(gateway)
    assert [await is_unknown(client) for client in clients] == [False, True, False, False, False]
    heard.close()


async def test_nothing_is_kept_for_a_grant_that_is_not_there(serve, one, lists):
    client = await begin(await serve(one), who=principal())
    assert not await is_unknown(client)
    await restarted(serve, client, lists)
    assert await is_unknown(client)


async def test_the_end_of_a_grant_is_the_end_of_what_was_kept(serve, one, lists):
    client = await begin(await serve(one))
    await client.gateway.end_grant("")
    await restarted(serve, client, lists)
    assert await is_unknown(client)


@pytest.mark.parametrize("size", [300_000, 10])
async def test_a_client_cannot_fill_the_disk(serve, one, lists, size):
    client = await begin(await serve(one), {**NEWEST, "clientInfo": {"name": "x" * size, "version": "1"}})
    assert not await is_unknown(client)
    await restarted(serve, client, lists)
    assert await is_unknown(client) == (size > 10)


async def test_a_client_follows_so_many_resources_and_not_more(serve, lists):
    uris = [f"x:{number}" for number in range(1001)]
    client = await begin(await serve(lists("one", tools=["a"], resources=uris)))
    for uri in uris[:-1]:
        assert "result" in await client.request("resources/subscribe", {"uri": uri})
    assert (await client.request("resources/subscribe", {"uri": uris[-1]}))["error"]["code"] == -32602
    assert (await client.request("resources/subscribe", {"uri": uris[0]}))["result"] == {}


async def test_a_crash_is_an_error_and_nothing_is_run_twice(serve, one):
    client = await begin(await serve(one))
    await client.request("resources/subscribe", {"uri": "x:1"})
    listener = client.listen()
    answer = await client.call("a", do="count", exit=True)
    assert "exit status 3" in answer["error"]["message"]
    assert one.file.with_suffix(".counted").read_text() == "x"
    assert messages(listener) == []
    assert (await state(client))["subscribed"] == ["x:1"]
    assert messages(listener) == CHANGED
    assert await client.text("a", do="count") == "xx"


@pytest.mark.parametrize("crash", [True, False])
async def test_a_server_that_is_another_now_ends_the_session(serve, one, lists, crash):
    client = await begin(await serve(one))
    await client.text("a")
    one.file.write_text(json.dumps({"tools": ["a"]}))
    if crash:
        await client.call("a", do="exit")
    else:
        await restarted(serve, client, lists)
    answer = await client.calling("a")
    (message,) = [message async for message in answer.replies]
    assert json.loads(message)["error"]["code"] == UnknownSession.code
    assert isinstance(answer.replies.error, UnknownSession)
    assert await is_unknown(client)
    again = await begin(client.gateway)
    assert "result" in await again.call("a")


async def test_who_was_told_what_is_not_so_is_told_once(serve, child):
    """The fake child repeats the client's capabilities among its own."""
    gateway = await serve(child("fake", "echo"))
    await gateway.settled()
    about = {**NEWEST, "capabilities": {"experimental": {"x": {}}}}
    client = await begin(gateway, about, backend="fake")
    assert "error" in await client.call("echo")
    assert await is_unknown(client)
    again = await begin(gateway, about, backend="fake")
    assert "result" in await again.call("echo")


async def test_what_a_client_declares_is_not_kept_without_end(serve, one):
    gateway = await serve(one)
    await gateway.settled()
    for number in range(40):
        capabilities = {"experimental": {f"x{number}": {"y": "z" * (10_000 if number % 2 else 10)}}}
        client = await begin(gateway, {**INITIALIZE, "capabilities": capabilities})
        gateway.end_session(NOBODY, backend="one", session_id=client.session_id)
        await asyncio.gather(*gateway._sessions._closing)
    known = gateway._catalogue._inquiries["one"].greetings._given
    assert len(known) == 20
    assert all(len(asked.said) < 200 for asked in known)


async def test_a_greeting_is_known_once_a_client_has_had_it(serve, one):
    gateway = await serve(one)
    await gateway.settled()
    before = len(started(one))
    first = await begin(gateway, INITIALIZE)
    assert len(started(one)) == before + 1
    second = await begin(gateway, INITIALIZE)
    await second.names()
    assert len(started(one)) == before + 1
    for client in (first, second):
        assert "result" in await client.call("a")


async def test_a_stream_keeps_a_session(serve, one, ambient):
    client = await begin(await serve(one))
    listener = client.listen()
    ambient.time += 24 * 3600
    client.gateway.flush()
    listener.close()
    assert not await is_unknown(client)
