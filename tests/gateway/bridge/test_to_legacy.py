"""A modern client and a server of the older era: what needs no question."""

import asyncio
import json

import pytest

from mcpauth.gateway.modern import shared
from tests.fakes.mcp_client import gone, principal

PREFIX = "io.modelcontextprotocol/"
LOG_LEVEL, SUBSCRIPTION, SERVER = PREFIX + "logLevel", PREFIX + "subscriptionId", PREFIX + "serverInfo"
ABOUT = {"name": "old", "version": "1", "title": "Old"}


async def seen(client):
    return json.loads(await client.text("seen"))


async def test_discovery_says_what_the_server_says_to_initialize(to_legacy):
    client = (await to_legacy())()
    result = (await client.request("server/discover"))["result"]
    changes = {"listChanged": True}
    assert result == {
        "resultType": "complete",
        "supportedVersions": ["2026-07-28"],
        "capabilities": {
            "tools": changes,
            "prompts": changes,
            "resources": {**changes, "subscribe": True},
            "completions": {},
            "extensions": {PREFIX + "ui": {}},
        },
        "instructions": "be kind",
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": {SERVER: ABOUT},
    }


@pytest.mark.parametrize("method", ["tools/list", "prompts/list", "resources/list", "resources/templates/list"])
async def test_lists_are_complete_and_not_to_be_kept(to_legacy, method):
    client = (await to_legacy())()
    result = (await client.request(method))["result"]
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    assert result["_meta"] == {SERVER: ABOUT}
    await client.text("echo")  # Now it runs, and answers itself.
    result = (await client.request(method))["result"]
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    assert result["_meta"] == {SERVER: ABOUT}
    if method == "tools/list":
        assert [tool["name"] for tool in result["tools"]] == ["echo", "ask", "seen"]
        assert result["x-kept"] == 1.5


async def test_a_resource_is_read_and_one_that_is_not_there_is_an_invalid_parameter(to_legacy):
    client = (await to_legacy())()
    result = (await client.request("resources/read", {"uri": "mem://a"}))["result"]
    assert result["contents"][0]["text"] == "content"
    assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    error = (await client.request("resources/read", {"uri": "mem://b"}))["error"]
    assert (error["code"], error["data"]) == (-32602, {"uri": "mem://b"})


async def test_a_call_has_no_envelope_on_the_way_and_a_result_type_on_the_way_back(to_legacy):
    client = (await to_legacy())()
    answer = await client.send("tools/call", {"name": "echo", "arguments": {"a": 1}}, **{"x/own": 1})
    (reply,) = await client.frames(answer)
    assert json.loads(reply["result"]["content"][0]["text"]) == {
        "name": "echo",
        "arguments": {"a": 1},
        "_meta": {"x/own": 1},
    }
    assert reply["result"]["resultType"] == "complete"
    assert "ttlMs" not in reply["result"]


@pytest.mark.parametrize(("code", "told"), [(-32001, -32001), (-32022, -32000), (-32050, -32000), (-32603, -32603)])
async def test_codes_that_mean_something_else_now_are_not_passed_on(to_legacy, code, told):
    error = (await (await to_legacy())().call("code", code=code))["error"]
    assert (error["code"], error["message"]) == (told, "as you wish")


async def test_what_the_client_declares_is_declared_to_the_server_and_kept_apart(to_legacy):
    client = await to_legacy()
    with_roots = client(roots={}, elicitation={"form": {}})
    one = await with_roots.text("pid")
    (initialized,) = (await seen(with_roots))["initialize"]
    assert initialized["capabilities"] == {"roots": {}, "elicitation": {"form": {}}}
    assert await with_roots.text("pid") == one
    assert await client(elicitation={"form": {}}, roots={}).text("pid") == one
    assert await client(roots={}).text("pid") != one


async def test_every_grant_has_a_session_of_its_own(to_legacy):
    client = await to_legacy()
    grants = [principal(), principal(grant_id="g2", client_id="chatgpt"), principal(subject="bob", grant_id="g3")]
    assert len({await client(who).text("pid") for who in grants}) == 3


async def test_first_requests_at_the_same_time_share_one_session(to_legacy):
    client = (await to_legacy())()
    assert len(set(await asyncio.gather(*(client.text("pid") for _ in range(5))))) == 1


async def test_the_end_of_a_grant_ends_its_session(to_legacy):
    client = (await to_legacy())()
    pid = int(await client.text("pid"))
    await client.gateway.end_grant("g1")
    await gone(pid)


async def test_a_session_that_nobody_uses_ends_and_another_is_begun(to_legacy, ambient):
    client = (await to_legacy())()
    pid = int(await client.text("pid"))
    ambient.time += 15 * 60
    client.gateway.stop_idle()
    await gone(pid)
    assert int(await client.text("pid")) != pid


async def test_progress_has_the_clients_token(to_legacy):
    client = (await to_legacy())()
    told = await client.frames(await client.send("tools/call", {"name": "progress"}, progressToken="mine"))
    assert [frame["params"] for frame in told[:-1]] == [{"progressToken": "mine", "progress": n} for n in range(3)]


async def test_log_messages_reach_the_request_that_asked_for_them(to_legacy):
    client = (await to_legacy())()

    async def logs(**meta):
        told = await client.frames(await client.send("tools/call", {"name": "log"}, **meta))
        return [frame["params"]["level"] for frame in told[:-1]]

    assert await logs() == []
    assert await logs(**{LOG_LEVEL: "info"}) == ["info", "error"]
    assert await logs(**{LOG_LEVEL: "error"}) == ["error"]
    assert await logs() == []
    assert (await seen(client))["levels"] == ["info"]


async def test_after_a_crash_a_request_with_log_messages_is_sent_in_another_session(to_legacy):
    client = (await to_legacy())()
    await client.call("crash")
    told = await client.frames(await client.send("tools/call", {"name": "log"}, **{LOG_LEVEL: "error"}))
    assert len(told) == 2


async def test_log_messages_that_may_be_anothers_are_left_out(to_legacy):
    client = (await to_legacy())()
    going_on, _ = await client.begun("begin")
    told = await client.frames(await client.send("tools/call", {"name": "log"}, **{LOG_LEVEL: "debug"}))
    assert len(told) == 1
    going_on.leave()


async def test_a_client_that_leaves_cancels_its_request(to_legacy):
    client = (await to_legacy())()
    going_on, _ = await client.begun("begin")
    going_on.leave()
    assert [b"has left" in message async for message in going_on] == [True]
    assert len((await seen(client))["cancelled"]) == 1


async def test_a_crash_answers_whoever_waits_and_the_next_request_works(to_legacy):
    client = (await to_legacy())()
    going_on, _ = await client.begun("begin")
    assert "old ended" in (await client.call("crash"))["error"]["message"]
    assert b"old ended" in await anext(going_on)
    assert (await client.call("echo"))["result"]


async def test_a_server_that_does_not_start_is_a_tool_error(to_legacy):
    client = (await to_legacy())()
    await client.request("tools/list")
    await client.gateway.close()
    result = (await client.call("echo"))["result"]
    assert result["isError"] is True


async def test_a_ping_of_the_servers_is_answered(to_legacy):
    client = (await to_legacy())()
    assert (await client.request("x/ping"))["result"]["answer"] == {"result": {}}


# subscriptions/listen


async def listening(client, request_id="s", **wanted):
    answer = await client.send("subscriptions/listen", {"notifications": wanted}, request_id)
    first = json.loads(await anext(answer.replies))
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["_meta"] == {SUBSCRIPTION: request_id}
    return answer.replies, first["params"]["notifications"]


async def test_a_subscription_hears_what_it_asked_for_and_nothing_else(to_legacy):
    client = (await to_legacy())()
    uris = ["mem://a", "mem://refused"]
    replies, honoured = await listening(client, toolsListChanged=True, resourceSubscriptions=uris)
    assert honoured == {"toolsListChanged": True, "resourceSubscriptions": ["mem://a"]}
    assert (await seen(client))["subscribed"] == ["mem://a"]
    await client.call("change", uris=["mem://other", "mem://a"])
    told = [json.loads(await anext(replies)) for _ in range(2)]
    assert [frame["method"] for frame in told] == [
        "notifications/tools/list_changed",
        "notifications/resources/updated",
    ]
    assert told[1]["params"] == {"uri": "mem://a", "_meta": {SUBSCRIPTION: "s"}}
    replies.leave()
    await asyncio.gather(anext(replies), return_exceptions=True)
    await client.call("echo")
    assert (await seen(client))["unsubscribed"] == ["mem://a"]


async def test_what_two_follow_is_followed_until_both_have_left(to_legacy):
    client = (await to_legacy())()
    one, _ = await listening(client, "a", resourceSubscriptions=["mem://a"])
    other, _ = await listening(client, 7, resourceSubscriptions=["mem://a"])
    assert (await seen(client))["subscribed"] == ["mem://a"]
    one.leave()
    await client.call("change", uris=["mem://a"])
    assert json.loads(await anext(other))["params"]["_meta"] == {SUBSCRIPTION: 7}
    assert (await seen(client))["unsubscribed"] == []
    other.leave()
    await client.call("echo")
    assert (await seen(client))["unsubscribed"] == ["mem://a"]


async def test_changes_that_nobody_reads_do_not_weigh_much(to_legacy):
    client = (await to_legacy())()
    replies, _ = await listening(client, resourceSubscriptions=["mem://a"])
    parts = [f"mem://a/{number}" + "x" * 300_000 for number in range(4)]
    # The same again is told once.
    await client.call("change", uris=parts[:3] * 3)
    assert [len(json.loads(await anext(replies))["params"]["uri"]) > 300_000 for _ in range(3)]
    await client.call("change", uris=parts)
    *_, last = [json.loads(message) async for message in replies]
    assert "too slowly" in last["error"]["message"]


async def test_a_server_that_tells_of_nothing_is_subscribed_to_for_nothing(to_legacy):
    client = (await to_legacy("--quiet"))()
    replies, honoured = await listening(client, toolsListChanged=True, resourceSubscriptions=["mem://a"])
    assert honoured == {}
    assert (await seen(client))["subscribed"] == []
    client.gateway.hang_up()
    (last,) = [json.loads(message) async for message in replies]
    assert last["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: "s"}}


async def test_changes_are_told_to_the_one_whose_session_it_is(to_legacy):
    client = await to_legacy()
    ann, bob = client(), client(principal(subject="bob", grant_id="g3"))
    replies, _ = await listening(bob, toolsListChanged=True)
    await ann.call("change")
    hearing = asyncio.create_task(anext(replies))
    await ann.text("echo")
    await bob.text("echo")
    assert not hearing.done()
    replies.leave()
    await hearing


async def test_a_subscription_ends_with_its_server(to_legacy):
    client = (await to_legacy())()
    replies, _ = await listening(client, toolsListChanged=True)
    await client.call("crash")
    client.gateway.stop_idle()
    assert "error" in json.loads(await anext(replies))


async def test_a_subscription_keeps_its_server(to_legacy, ambient):
    client = (await to_legacy())()
    pid = await client.text("pid")
    replies, _ = await listening(client, toolsListChanged=True)
    for _ in range(3):
        ambient.time += 10 * 60
        client.gateway.stop_idle()
        while (await seen(client))["frames"][-2]["method"] != "ping":
            pass
    ambient.time += 10 * 60
    assert await client.text("pid") == pid
    replies.leave()


async def test_too_many_resources_in_one_subscription_are_refused(to_legacy):
    client = (await to_legacy())()
    wanted = {"notifications": {"resourceSubscriptions": [f"mem://{n}" for n in range(257)]}}
    assert (await client.request("subscriptions/listen", wanted))["error"]["code"] == -32602


async def test_a_user_has_so_many_sessions_even_when_they_begin_at_once(to_legacy, monkeypatch):
    monkeypatch.setattr(shared, "PER_USER", 2)
    join = await to_legacy()
    clients = [join(**{f"x{number}": {}}) for number in range(4)]
    answers = await asyncio.gather(*(client.call("pid") for client in clients))
    refused = [answer["result"]["content"][0]["text"] for answer in answers if "isError" in answer["result"]]
    assert len(refused) == 2
    assert all("are busy for you" in text for text in refused)


async def test_what_begins_when_its_grant_ends_does_not_begin(to_legacy):
    client = (await to_legacy())()
    await client.gateway.settled()
    beginning = asyncio.create_task(client.call("pid"))
    sessions = client.gateway._backends["old"]._bridge._sessions
    while not sessions._opening:  # noqa: ASYNC110 - the request is on its way
        await asyncio.sleep(0)
    ((_, opening),) = sessions._opening.values()
    await client.gateway.end_grant("g1")
    assert "isError" in (await beginning).get("result", {"isError": True})
    await asyncio.wait([opening])
    assert not sessions._entries
