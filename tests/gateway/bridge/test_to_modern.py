"""A legacy client and a server of the modern era: what needs no question."""

import asyncio
import json

import pytest

from mcpauth.gateway.bridge import listening
from mcpauth.gateway.eras import LEGACY
from tests.fakes.mcp_client import gone, principal

PREFIX = "io.modelcontextprotocol/"
META = {
    PREFIX + "protocolVersion": "2026-07-28",
    PREFIX + "clientCapabilities": {},
    PREFIX + "clientInfo": {"name": "test", "version": "1"},
}


async def seen(client):
    return json.loads(await client.text("seen"))


async def heard(stream):
    return json.loads(await anext(stream))


@pytest.mark.parametrize("version", LEGACY)
async def test_initialize_says_what_the_server_says_to_discovery(to_modern, version):
    client = await (await to_modern())(version=version)
    changes = {"listChanged": True}
    assert client.greeting["result"] == {
        "protocolVersion": version,
        "capabilities": {
            "tools": changes,
            "prompts": {},
            "resources": {**changes, "subscribe": True},
            "logging": {},
            "extensions": {"io.modelcontextprotocol/ui": {}},
        },
        "serverInfo": {"name": "new", "version": "2", "title": "New"},
        "instructions": "be new",
    }


async def test_a_version_that_nobody_knows_becomes_the_newest_legacy_one(to_modern):
    client = await (await to_modern())(version="2020-01-01")
    assert client.greeting["result"]["protocolVersion"] == "2025-11-25"


async def test_ping_is_answered_by_us(to_modern):
    client = await (await to_modern())()
    assert (await client.request("ping"))["result"] == {}
    assert [frame["method"] for frame in (await seen(client))["frames"]] == ["tools/call"]


@pytest.mark.parametrize(
    ("method", "member"),
    [("tools/list", "tools"), ("prompts/list", "prompts"), ("resources/list", "resources")],
)
async def test_lists_have_nothing_that_only_modern_clients_know(to_modern, method, member):
    client = await (await to_modern())()
    assert (await client.request(method))["result"].keys() == {member}
    await client.text("echo")
    result = (await client.request(method))["result"]
    assert result.keys() == {member, "_meta"}
    assert result[member]


async def test_every_request_says_what_the_client_said_once(to_modern):
    client = await (await to_modern())(roots={"listChanged": True})
    meta = {**META, PREFIX + "clientCapabilities": {"roots": {"listChanged": True}}}
    assert json.loads(await client.text("echo", a=1)) == {"name": "echo", "arguments": {"a": 1}, "_meta": meta}
    await client.request("resources/list")
    assert [frame["params"]["_meta"] for frame in (await seen(client))["frames"]] == [meta] * 3


async def test_an_envelope_of_the_clients_own_does_not_count(to_modern):
    client = await (await to_modern())()
    own = {PREFIX + "clientCapabilities": {"sampling": {}}, PREFIX + "logLevel": "debug", "x/own": 1}
    params = {"name": "echo", "_meta": own, "requestState": "x", "inputResponses": {}}
    result = (await client.request("tools/call", params))["result"]
    assert json.loads(result["content"][0]["text"]) == {"name": "echo", "_meta": {**META, "x/own": 1}}


async def test_log_messages_of_the_level_that_was_set(to_modern):
    client = await (await to_modern())()
    assert len(await client.frames(await client.calling("log"))) == 1
    assert (await client.request("logging/setLevel", {"level": "warning"}))["result"] == {}
    told, _ = await client.frames(await client.calling("log"))
    assert (told["method"], told["params"]["level"]) == ("notifications/message", "warning")
    assert (await client.request("logging/setLevel", {"level": "loud"}))["error"]["code"] == -32602


async def test_progress_has_the_clients_token(to_modern):
    client = await (await to_modern())()
    params = {"name": "progress", "_meta": {"progressToken": "mine"}}
    told = await client.frames(await client.send("tools/call", params))
    assert [frame["params"] for frame in told[:-1]] == [{"progressToken": "mine", "progress": n} for n in range(3)]


async def test_a_cancellation_reaches_the_server(to_modern):
    client = await (await to_modern())()
    answer = await client.send("tools/call", {"name": "begin", "_meta": {"progressToken": 1}}, "mine")
    await anext(answer.replies)
    await client.notify("notifications/cancelled", {"requestId": "mine"})
    assert b"cancelled" in await anext(answer.replies)
    assert len((await seen(client))["cancelled"]) == 1


async def test_an_unknown_resource_has_the_code_of_this_era(to_modern):
    client = await (await to_modern())()
    assert (await client.request("resources/read", {"uri": "mem://b"}))["error"]["code"] == -32002
    assert (await client.request("resources/read", {"uri": "mem://a"}))["result"]["contents"][0]["text"] == "content"


@pytest.mark.parametrize(("code", "told"), [(-32602, -32602), (-32021, -32603), (-32001, -32001)])
async def test_codes_of_the_modern_era_stay_there(to_modern, code, told):
    error = (await (await (await to_modern())()).call("code", code=code))["error"]
    assert (error["code"], error["message"]) == (told, "as you wish")


async def test_completion(to_modern):
    client = await (await to_modern())()
    ref = {"ref": {"type": "ref/prompt", "name": "greet"}, "argument": {"name": "a", "value": ""}}
    assert (await client.request("completion/complete", ref))["result"]["completion"] == {"values": ["done"]}


async def test_a_crash_answers_whoever_waits_and_the_session_goes_on(to_modern):
    client = await (await to_modern())()
    assert "new ended" in (await client.call("crash"))["error"]["message"]
    assert (await client.call("echo"))["result"]


async def test_two_users_share_no_child(to_modern):
    begin = await to_modern()
    ann, bob = await begin(), await begin(principal(subject="bob", grant_id="g2"))
    assert await ann.text("pid") != await bob.text("pid")


async def test_what_a_session_of_its_own_means_is_kept(to_modern):
    begin = await to_modern(share="session")
    one, other = await begin(), await begin(principal(grant_id="g2"))
    assert await one.text("pid") != await other.text("pid")


# What is told outside of requests.


async def test_changes_of_lists_are_told(to_modern):
    client = await (await to_modern())()
    with_stream = client.listen()
    await listened(client, 1)
    await client.call("change")
    assert await heard(with_stream) == {"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {}}
    with_stream.close()


async def listened(client, times):
    """Once the server has had so many subscriptions."""
    while len((told := await seen(client))["listened"]) < times + 1:
        pass  # One of them is the gateway's own.
    return told["listened"][-1]


async def test_a_resource_that_is_subscribed_to(to_modern):
    client = await (await to_modern())()
    stream = client.listen()
    assert (await client.request("resources/subscribe", {"uri": "mem://a"}))["result"] == {}
    assert (await seen(client))["listened"][-1] == {
        "toolsListChanged": True,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["mem://a"],
    }
    await client.call("change", uris=["mem://b", "mem://a"])
    told = [await heard(stream), await heard(stream)]
    assert told[1] == {"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "mem://a"}}
    assert (await client.request("resources/unsubscribe", {"uri": "mem://a"}))["result"] == {}
    assert "resourceSubscriptions" not in (await seen(client))["listened"][-1]
    stream.close()


async def test_one_subscription_takes_the_place_of_the_one_before(to_modern):
    client = await (await to_modern())()
    await listened(client, 1)
    before = len((await seen(client))["cancelled"])
    for uri in ("mem://a", "mem://b"):
        await client.request("resources/subscribe", {"uri": uri})
    told = await seen(client)
    assert told["listened"][-1]["resourceSubscriptions"] == ["mem://a", "mem://b"]
    while len((await seen(client))["cancelled"]) - before < 2:
        pass


async def test_a_subscription_that_is_not_taken_is_an_error(to_modern):
    client = await (await to_modern())()
    assert "error" in await client.request("resources/subscribe", {"uri": "mem://refused"})
    assert (await client.request("resources/subscribe", {"uri": "mem://a"}))["result"] == {}
    assert (await seen(client))["listened"][-1]["resourceSubscriptions"] == ["mem://a"]


async def test_a_subscription_that_breaks_is_opened_again_and_what_was_missed_is_told(to_modern, monkeypatch):
    monkeypatch.setattr(listening, "BACK_OFF", (0.0,))
    client = await (await to_modern())()
    stream = client.listen()
    await client.request("resources/subscribe", {"uri": "mem://a"})
    await client.call("end")
    told = [(await heard(stream))["method"] for _ in range(3)]
    assert told == [
        "notifications/tools/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    ]
    stream.close()


async def test_a_server_that_crashed_is_listened_to_again(to_modern, monkeypatch):
    monkeypatch.setattr(listening, "BACK_OFF", (0.0,))
    client = await (await to_modern())()
    await client.request("resources/subscribe", {"uri": "mem://a"})
    await client.call("crash")
    assert (await listened(client, 1))["resourceSubscriptions"] == ["mem://a"]


async def test_who_only_waits_for_changes_of_lists_does_not_keep_the_server(to_modern, ambient):
    client = await (await to_modern(idle_stop=60))()
    pid = int(await client.text("pid"))
    await listened(client, 1)
    ambient.time += 15 * 60
    client.gateway.stop_idle()
    await asyncio.sleep(0)
    ambient.time += 60
    client.gateway.stop_idle()
    await gone(pid)
    assert int(await client.text("pid")) != pid


async def test_the_end_of_a_session_ends_its_subscription(to_modern):
    begin = await to_modern()
    client, other = await begin(), await begin(principal(grant_id="g2"))
    await client.request("resources/subscribe", {"uri": "mem://a"})
    before = len((await seen(other))["cancelled"])
    client.gateway.end_session(client.who, backend="new", session_id=client.session_id)
    while len((await seen(other))["cancelled"]) == before:
        pass


async def test_a_session_goes_on_after_a_restart(to_modern):
    nobody = principal(subject="", client_id="", grant_id="")  # A grant has a row in the database.
    client = await (await to_modern())(nobody, roots={})
    await client.request("logging/setLevel", {"level": "warning"})
    await client.request("resources/subscribe", {"uri": "mem://a"})
    await client.gateway.close()
    client.gateway = (await (await to_modern())()).gateway
    await client.gateway.settled()
    told, _ = await client.frames(await client.calling("log"))
    assert told["params"]["level"] == "warning"
    assert json.loads(await client.text("echo"))["_meta"][PREFIX + "clientCapabilities"] == {"roots": {}}
    assert (await seen(client))["listened"][-1]["resourceSubscriptions"] == ["mem://a"]
