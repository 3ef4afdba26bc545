"""Children that sessions of the legacy era have together: who shares them, and what each of them hears."""

import asyncio
import json

import pytest

from mcpauth.errors import InvalidMessage
from mcpauth.gateway import exchange
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, gone, is_running, principal

ANN, ALSO_ANN, BOB = principal(), principal(grant_id="g2", client_id="chatgpt"), principal(subject="bob", grant_id="g3")

REFUSES = """
import json, sys
for line in sys.stdin:
    if "id" in (asked := json.loads(line)):
        error = {"code": -1, "message": "not now"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}), flush=True)
"""


@pytest.fixture
def shared(serve, child):
    """A gateway whose one child is shared like this, as a function from principals to initialized clients."""

    async def start(share, **options):
        gateway = await serve(child("fake", "echo", share=share, **options))

        async def client(who=ANN, **changes):
            client = Client(gateway, "fake", who)
            client.greeting = await client.initialize({**INITIALIZE, **changes})
            return client

        return client

    return start


async def pid(client):
    return int(await client.text("echo", do="pid"))


async def begun(client, request_id=None):
    """A call that goes on: the child has it."""
    params = {"name": "x", "arguments": {"do": "begin"}, "_meta": {"progressToken": "t"}}
    answer = await client.send("tools/call", params, request_id)
    await anext(answer.replies)
    return answer.replies


async def told(answers):
    return [json.loads(message) async for message in answers]


async def ended(client, replies, request_id):
    """The client gives the call up."""
    await client.notify("notifications/cancelled", {"requestId": request_id})
    return await told(replies)


async def mail(client, stream, number):
    """So many of the messages that came outside of requests, and that there are no more."""
    messages = [json.loads(await anext(stream)) for _ in range(number)]
    waiting = asyncio.ensure_future(anext(stream))
    await client.request("ping")
    assert not waiting.done()
    waiting.cancel()
    return messages


@pytest.mark.parametrize(
    ("share", "same_user", "same_machine"),
    [("session", False, False), (None, False, False), ("user", True, False), ("all", True, True)],
)
async def test_who_shares_a_child(shared, share, same_user, same_machine):
    client = await shared(share)
    one = await pid(await client())
    assert (await pid(await client()) == one) == same_user
    assert (await pid(await client(ALSO_ANN)) == one) == same_user
    assert (await pid(await client(BOB)) == one) == same_machine


async def test_who_is_told_something_else_by_initialize_has_another(shared):
    client = await shared("all")
    # What it says to initialize depends on the client: from the second on, each of them asks it itself.
    for capabilities in ({}, {"roots": {}}):
        await (await client(capabilities=capabilities)).call("echo")
    one = await client(capabilities={"elicitation": {}, "roots": {"listChanged": True}})
    same = {"roots": {"listChanged": True}, "elicitation": {}}
    assert await pid(await client(BOB, capabilities=same, clientInfo={"name": "x", "version": "2"})) == await pid(one)
    assert await pid(await client(capabilities={})) != await pid(one)
    assert await pid(await client(capabilities=same, protocolVersion="2025-03-26")) != await pid(one)


async def test_modern_callers_share_it_too(serve, child):
    gateway = await serve(child("fake", "echo", share="all"))
    await gateway.settled()
    ann, bob = ModernClient(gateway, "fake", ANN), ModernClient(gateway, "fake", BOB)
    legacy = Client(gateway, "fake", BOB)
    await legacy.initialize({**INITIALIZE, "protocolVersion": "2025-11-25", "capabilities": {}})
    first = await pid(ann)
    one = ModernClient(gateway, "fake", ANN, {"elicitation": {}})
    asked = (await one.call("ask", id="q"))["result"]
    assert asked["resultType"] == "input_required"
    (key,) = asked["inputRequests"]
    answers = {
        "inputResponses": {key: {"action": "accept", "content": {"n": 3}}},
        "requestState": asked["requestState"],
    }
    done = await one.request("tools/call", {"name": "ask", "arguments": {"id": "q"}, **answers})
    assert json.loads(done["result"]["content"][0]["text"])["content"] == {"n": 3}
    assert await pid(bob) == await pid(legacy) == first


async def test_it_is_initialized_once_and_everybody_gets_its_answer(shared):
    client = await shared("all")
    ann, bob = await asyncio.gather(client(ANN), client(BOB))
    assert ann.greeting == bob.greeting
    assert ann.greeting["result"]["x-unknown"] == [1.0, None]
    heard = json.loads(await bob.text("echo", do="heard"))
    assert heard.count("initialize") == heard.count("notifications/initialized") == 1


async def test_ids_and_tokens_are_each_sessions_own(shared):
    client = await shared("all")

    async def run(who, token):
        params = {"name": "x", "arguments": {"do": "progress", "steps": 3}, "_meta": {"progressToken": token}}
        one = await client(who)
        return await one.frames(await one.send("tools/call", params, 5))

    callers = [(ANN, 1), (BOB, 1), (ANN, "1"), (BOB, 2)]
    for (_, token), frames in zip(callers, await asyncio.gather(*(run(*one) for one in callers)), strict=True):
        assert [frame["params"]["progressToken"] for frame in frames[:-1]] == [token] * 3
        assert frames[-1]["id"] == 5


async def test_a_session_cancels_its_own_requests_alone(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    of_ann, of_bob = await begun(ann, 7), await begun(bob, 7)
    assert "was cancelled" in (await ended(bob, of_bob, 7))[-1]["error"]["message"]
    waiting = asyncio.create_task(told(of_ann))
    assert len(json.loads(await ann.text("echo", do="cancelled"))) == 1
    await bob.notify("notifications/cancelled", {"requestId": 7})
    assert len(json.loads(await ann.text("echo", do="cancelled"))) == 1
    assert not waiting.done()
    await ann.notify("notifications/cancelled", {"requestId": 7})
    await waiting


@pytest.mark.parametrize("share", ["user", "all"])
async def test_a_question_goes_to_whoever_must_be_meant(shared, share):
    client = await shared(share)
    ann = await client()
    other = await client(BOB if share == "all" else ALSO_ANN)
    answer = await ann.calling("ask", id="q")
    asked = json.loads(await anext(answer.replies))
    assert asked["method"] == "elicitation/create"
    # Nobody else can answer it, and nothing else is asked meanwhile.
    for request_id in (asked["id"], "q", 1):
        await other.post({"jsonrpc": "2.0", "id": request_id, "result": {"from": "other"}})
    refused = await other.text("ask", id="r")
    assert json.loads(refused)["code"] == -32601
    await ann.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"from": "ann"}})
    assert json.loads((await told(answer.replies))[-1]["result"]["content"][0]["text"]) == {"from": "ann"}


async def test_a_question_that_may_be_about_what_another_user_gave_up_is_not_asked(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    await ended(bob, await begun(bob, 7), 7)
    assert json.loads(await ann.text("ask"))["code"] == -32601


async def test_what_comes_late_of_ones_call_reaches_no_other_user(shared):
    """The child goes on about ann's call, which is over, while bob alone is at work."""
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    streams = [ann.listen(), bob.listen()]
    params = {"name": "x", "arguments": {"do": "remember", "secret": "of ann"}, "_meta": {"progressToken": "t"}}
    assert (await ann.request("tools/call", params))["result"]
    answer = await bob.send("tools/call", {"name": "x", "arguments": {"do": "gossip"}, "_meta": {"progressToken": "t"}})
    (response,) = await bob.frames(answer)
    (refused,) = json.loads(response["result"]["content"][0]["text"])
    assert refused["code"] == -32601
    for one, stream in zip((ann, bob), streams, strict=True):
        assert await mail(one, stream, 0) == []


@pytest.mark.parametrize("share", ["user", "all"])
async def test_a_late_question_is_asked_where_it_can_be_only_ones_own(shared, share):
    client = await shared(share)
    ann = await client()
    assert (await ann.call("echo", do="remember", secret="s"))["result"]
    answer = await ann.calling("echo", do="gossip")
    frames = [json.loads(await anext(answer.replies))]
    while "id" not in frames[-1]:
        frames.append(json.loads(await anext(answer.replies)))
    assert frames[-1]["params"]["message"] == "s"
    await ann.post({"jsonrpc": "2.0", "id": frames[-1]["id"], "result": {}})
    assert json.loads((await told(answer.replies))[-1]["result"]["content"][0]["text"]) == [{}]


async def test_what_nobody_asked_for_goes_to_nobody(shared):
    client = await shared("user")
    one = await client()
    stream = one.listen()
    assert await one.text("echo", do="alone") == "soon"
    # It comes after all the others, and is for everybody.
    (heard,) = await mail(one, stream, 1)
    assert heard["method"] == "notifications/tools/list_changed"
    (refused,) = json.loads(await one.text("echo", do="cancelled"))
    assert refused["code"] == -32601


async def test_logs_of_ones_own_child_reach_the_one_that_is_at_work_as_it_wants_them(shared):
    client = await shared("user")
    one, other = await client(), await client(ALSO_ANN)

    async def logs(client, level):
        answer = await client.calling("echo", do="log", data="d", level=level)
        return [frame["params"]["level"] for frame in (await client.frames(answer))[:-1]]

    assert await logs(one, "info") == ["info"]
    await one.request("logging/setLevel", {"level": "warning"})
    await other.request("logging/setLevel", {"level": "debug"})
    assert await logs(one, "info") == []
    assert await logs(one, "error") == ["error"]
    assert await logs(other, "debug") == ["debug"]
    # The child is asked for as much as any of them wants.
    asked = await one.request("logging/setLevel", {"level": "alert"})
    assert asked["result"]["params"] == {"level": "debug"}
    assert (await one.request("logging/setLevel", {"level": "loud"}))["error"]["code"] == -32602
    replies = await begun(other, 7)
    assert await logs(one, "emergency") == []
    assert len(await ended(other, replies, 7)) == 1


async def test_of_everybodys_child_nothing_is_heard_that_names_no_request(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    streams = [ann.listen(), bob.listen()]
    assert (await ann.request("logging/setLevel", {"level": "debug"}))["result"] == {}
    assert len(await ann.frames(await ann.calling("echo", do="log", data="secret"))) == 1
    replies = await begun(bob, 7)
    assert len(await ann.frames(await ann.calling("echo", do="leak"))) == 1
    listed = await mail(ann, streams[0], 1), await mail(bob, streams[1], 1)
    assert [message["method"] for messages in listed for message in messages] == [
        "notifications/tools/list_changed"
    ] * 2
    assert len(await ended(bob, replies, 7)) == 1
    assert "logging/setLevel" not in json.loads(await ann.text("echo", do="heard"))


async def test_changes_of_resources_are_told_to_those_who_follow_them(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    streams = [ann.listen(), bob.listen()]
    await ann.request("resources/subscribe", {"uri": "x://a"})
    await bob.request("resources/subscribe", {"uri": "x://a"})
    await bob.request("resources/subscribe", {"uri": "x://b"})
    await ann.text("echo", do="update", uri="x://b/part")
    await ann.text("echo", do="update", uri="x://bc")
    assert [one["params"]["uri"] for one in await mail(bob, streams[1], 1)] == ["x://b/part"]
    assert await mail(ann, streams[0], 0) == []
    # The child is not told to stop while another one follows it.
    await ann.request("resources/unsubscribe", {"uri": "x://a"})
    await ann.text("echo", do="update", uri="x://a")
    assert [one["params"]["uri"] for one in await mail(bob, streams[1], 1)] == ["x://a"]
    assert await mail(ann, streams[0], 0) == []
    assert "resources/unsubscribe" not in json.loads(await ann.text("echo", do="heard"))
    bob.gateway.end_session(bob.who, backend="fake", session_id=bob.session_id)
    while json.loads(await ann.text("echo", do="heard")).count("resources/unsubscribe") != 2:
        pass


async def test_a_cancellation_that_names_another_request_to_some_readers_is_refused(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    replies = await begun(bob, 7)
    params = {"requestId": 7, "RequestID": 1}
    answer = await bob.post({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params})
    assert isinstance(answer.error, InvalidMessage)
    assert await ann.text("echo", do="cancelled") == "[]"
    await ended(bob, replies, 7)


@pytest.mark.parametrize(
    "meta",
    [
        {"_meta": {"ProgressToken": 1}},
        {"_Meta": {"progressToken": 1}},
        {"_META": {"PROGRESSTOKEN": 1}},
        {"_meta": {"progressToken": 1, "progressto\u212aen": 2}},
        {"_meta": {"progre\u017f\u017fToken": 2}},
    ],
)
async def test_a_request_that_has_somebody_elses_token_to_some_readers_is_not_sent(shared, meta):
    client = await shared("all")
    bob = await client(BOB)
    answer = await bob.request("tools/call", {"name": "echo", "arguments": {"do": "raw"}, **meta})
    assert "is called almost as" in answer["result"]["content"][0]["text"]
    assert answer["result"]["isError"] is True


async def test_a_server_that_reads_the_first_of_two_members_finds_no_token_either(shared):
    client = await shared("all")
    bob = await client(BOB)
    params = '{"name":"echo","arguments":{"do":"raw"},"_meta":{"progressToken":1},"_meta":{}}'
    body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + params + "}"
    answer = (await bob.frames(await bob.post(body.encode())))[-1]
    assert "progressToken" not in answer["result"]["content"][0]["text"]


async def test_a_crash_answers_whoever_waits_and_the_next_request_works(shared):
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    before = await pid(ann)
    replies = await begun(bob, 7)
    error = (await ann.call("echo", do="crash", status=3))["error"]
    assert "fake ended (exit status 3)" in error["message"]
    assert (await told(replies))[-1]["error"] == error
    assert await pid(ann) == await pid(bob) != before


async def test_a_client_that_does_not_read_holds_up_nobody_else_for_long(shared, monkeypatch):
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    client = await shared("all")
    ann, bob = await client(ANN), await client(BOB)
    arguments = {"do": "flood", "count": 400, "size": 5000}
    flood = await bob.send("tools/call", {"name": "x", "arguments": arguments, "_meta": {"progressToken": 1}})
    await anext(flood.replies)
    await ann.text("echo")
    frames = await told(flood.replies)
    assert 10 < len(frames) < 400
    assert frames[-1]["result"]["content"][0]["text"] == "flooded"


@pytest.mark.parametrize(("share", "nuisance"), [("all", BOB), ("user", ALSO_ANN)])
async def test_a_client_that_does_not_read_session_after_session_is_waited_for_once(
    shared, monkeypatch, share, nuisance
):
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    monkeypatch.setattr(exchange, "WINDOW", 3600.0)
    client = await shared(share)
    ann = await client(ANN)
    for _ in range(3):
        other = await client(nuisance)
        arguments = {"do": "flood", "count": 400, "size": 5000}
        flood = await other.send("tools/call", {"name": "x", "arguments": arguments, "_meta": {"progressToken": 1}})
        await anext(flood.replies)
        await ann.text("echo")
        monkeypatch.setattr(exchange, "PATIENCE", 3600.0)  # What others have is as before.
        assert 10 < len(await told(flood.replies)) < 400


async def test_a_session_that_ends_gives_up_its_requests_and_leaves_the_child_to_the_others(shared):
    client = await shared("user")
    one, other = await client(), await client(ALSO_ANN)
    before = await pid(one)
    asking = await other.calling("ask", id="q")
    await anext(asking.replies)
    other.gateway.end_session(other.who, backend="fake", session_id=other.session_id)
    assert "error" in (await told(asking.replies))[-1]
    while not json.loads(await one.text("echo", do="cancelled")):
        pass
    assert await pid(one) == before


async def test_a_child_that_nobody_uses_is_stopped_and_comes_back(shared, ambient):
    client = await shared("user", idle_stop=60)
    one, other = await client(), await client(ALSO_ANN)
    before = await pid(one)
    replies = await begun(other, 7)
    ambient.time += 60
    one.gateway.stop_idle()
    assert is_running(before)
    await ended(other, replies, 7)
    await one.request("resources/subscribe", {"uri": "x://a"})
    ambient.time += 60
    one.gateway.stop_idle()
    assert is_running(before)
    await one.request("resources/unsubscribe", {"uri": "x://a"})
    ambient.time += 60
    one.gateway.stop_idle()
    await gone(before)
    assert await pid(one) == await pid(other) != before


async def test_one_that_refuses_or_does_not_start_is_not_kept(serve, child):
    gateway = await serve(child("fake", args=("-c", REFUSES), share="all"))
    client = Client(gateway, "fake")
    for _ in range(2):
        assert (await client.initialize())["error"]["message"] == "not now"
    gateway.serve([child("fake", command="no-such-program", share="all")])
    assert "no-such-program" in (await client.initialize())["error"]["message"]


async def test_nothing_is_left_after_the_end(shared):
    client = await shared("all", grace=0.2)
    ann, bob = await client(ANN), await client(BOB)
    pids = [await pid(ann), int(await ann.text("echo", do="grandchild"))]
    replies = await begun(bob, 7)
    await ann.gateway.close()
    for one in pids:
        await gone(one)
    assert "error" in (await told(replies))[-1]


@pytest.mark.parametrize("share", ["session", "user", "all"])
async def test_a_ping_is_answered_here_though_the_client_does_not_listen(shared, share):
    client = await (await shared(share))()
    told = await client.frames(await client.calling("echo", do="ping"))
    assert [message["result"]["content"][0]["text"] for message in told] == ["{}"]
