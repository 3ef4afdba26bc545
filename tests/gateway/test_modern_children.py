"""Children that modern callers share: who shares them, what each caller hears, and when they end."""

import asyncio
import json
import logging

import msgspec
import pytest

from mcpauth.errors import GatewayError
from mcpauth.gateway import exchange
from tests.fakes.mcp_client import ModernClient, forward, gone, is_running, principal

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
LOG_LEVEL = "io.modelcontextprotocol/logLevel"

ANN, ALSO_ANN, BOB = principal(), principal(grant_id="g2", client_id="chatgpt"), principal(subject="bob", grant_id="g3")


@pytest.fixture
def shared(serve, child):
    """A gateway whose one child is shared like this, as a function from principals to clients."""

    async def start(share=None, **options):
        gateway = await serve(child("fake", "--modern", "echo", share=share, **options))
        return lambda who=ANN, **capabilities: ModernClient(gateway, "fake", who, capabilities)

    return start


async def pid(client):
    return int(await client.text("echo", do="pid"))


@pytest.mark.parametrize(
    ("share", "same_user", "same_machine"),
    [("session", False, False), ("user", True, False), (None, True, False), ("all", True, True)],
)
async def test_who_shares_a_child(shared, share, same_user, same_machine):
    client = await shared(share)
    ann = await pid(client())
    assert await pid(client()) == ann
    assert (await pid(client(ALSO_ANN)) == ann) == same_user
    assert (await pid(client(BOB)) == ann) == same_machine
    assert (await pid(client(sampling={})) == ann) == (share != "session")


async def test_what_is_declared_is_compared_by_what_it_means(shared):
    client = await shared("session")
    one = await pid(client(sampling={"tools": {}, "context": {}}))
    assert await pid(client(sampling={"context": {}, "tools": {}})) == one
    deep = {}
    for _ in range(400):
        deep = {"x": deep}
    assert await pid(client(experimental=deep)) != one


async def test_first_requests_at_the_same_time_share_one_child(shared):
    client = await shared()
    assert len(set(await asyncio.gather(*(pid(client()) for _ in range(5))))) == 1


async def test_nobody_has_processes_without_end(shared):
    client = await shared("session")
    pids = [await pid(client(experimental={"x": {"n": number}})) for number in range(10)]
    await gone(pids[0])
    await gone(pids[1])
    assert all(is_running(one) for one in pids[2:])


async def test_ids_and_tokens_are_each_callers_own(shared):
    client = await shared("all")

    async def run(who, token):
        params = {"name": "x", "arguments": {"do": "progress", "steps": 3}}
        return await client(who).frames(await client(who).send("tools/call", params, 5, progressToken=token))

    callers = [(ANN, 1), (BOB, 1), (ANN, "1"), (BOB, 2)]
    for (_, token), told in zip(callers, await asyncio.gather(*(run(*one) for one in callers)), strict=True):
        assert [frame["params"]["progressToken"] for frame in told[:-1]] == [token] * 3
        assert told[-1]["id"] == 5


async def test_a_token_cannot_be_smuggled_in(shared):
    """Ours are small numbers: whoever got one through unchanged would speak to another's request."""
    client = await shared("all")
    going_on, _ = await client(BOB).begun("echo", do="begin")
    meta = client().message("x")["params"]["_meta"]
    for smuggled in ('"_meta":{"progress\\u0054oken":1,%s', '"_meta":{"progressToken":1},"_meta":{%s'):
        params = '{"name":"x","arguments":{"do":"progress","steps":1},' + smuggled % json.dumps(meta)[1:] + "}"
        body = '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":' + params + "}"
        answer = await forward(
            client().gateway,
            ANN,
            body.encode(),
            backend="fake",
            session_id=None,
            protocol_version="2026-07-28",
            headers=[("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", "tools/call"), ("Mcp-Name", "x")],
        )
        told = await client().frames(answer)
        assert len(told) == (2 if "u0054" in smuggled else 1)
    hearing = asyncio.create_task(anext(going_on))
    await client().text("echo")
    assert not hearing.done()
    going_on.leave()
    assert b"has left" in await hearing


async def test_what_belongs_to_no_request_reaches_nobody(shared):
    client = await shared("all")
    bob, _ = await client(BOB).begun("echo", do="begin")
    hearing = asyncio.create_task(anext(bob))
    assert len(await client().frames(await client().calling("echo", do="leak"))) == 1
    assert not hearing.done()
    bob.leave()
    assert b"secret" not in await hearing


@pytest.mark.parametrize(("share", "heard"), [("user", 1), ("all", 0)])
async def test_logs_are_heard_by_whoever_is_alone_and_asked(shared, share, heard):
    client = await shared(share)
    params = {"name": "x", "arguments": {"do": "log", "data": "d"}}

    async def logs(**meta):
        return len(await client().frames(await client().send("tools/call", params, **meta))) - 1

    assert await logs() == 0
    assert await logs(**{LOG_LEVEL: "debug"}) == heard
    other, _ = await client().begun("echo", do="begin")
    assert await logs(**{LOG_LEVEL: "debug"}) == 0
    other.leave()


async def test_of_a_child_that_users_share_no_logs_are_asked_for(shared):
    client = await shared("all")
    params = {"name": "x", "arguments": {"do": "raw"}}
    (reply,) = await client().frames(await client().send("tools/call", params, **{LOG_LEVEL: "debug"}))
    assert "logLevel" not in reply["result"]["content"][0]["text"]


async def test_a_client_that_does_not_read_holds_up_nobody_else_for_long(shared, monkeypatch):
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    client = await shared("all")
    arguments = {"do": "flood", "count": 400, "size": 5000}
    flood = await client(BOB).send("tools/call", {"name": "x", "arguments": arguments}, progressToken=1)
    await anext(flood.replies)
    listening = await client(BOB).send("subscriptions/listen", {"notifications": {}})
    await anext(listening.replies)
    # Bob reads no more of his flood, and Ann gets her answers: what he does not take of his progress is gone.
    await client(ANN).text("echo")
    told = await client(BOB).frames(flood)
    assert 10 < len(told) < 400
    assert told[-1]["result"]["content"][0]["text"] == "flooded"
    listening.replies.leave()
    await client(BOB).frames(listening)


@pytest.mark.parametrize(("share", "nuisance"), [("all", BOB), ("user", ALSO_ANN)])
async def test_a_client_that_does_not_read_one_request_after_the_other_is_waited_for_once(
    shared, monkeypatch, share, nuisance
):
    monkeypatch.setattr(exchange, "PATIENCE", 0.05)
    monkeypatch.setattr(exchange, "WINDOW", 3600.0)
    client = await shared(share)
    floods = []
    for _ in range(3):
        arguments = {"do": "flood", "count": 400, "size": 5000}
        floods.append(await client(nuisance).send("tools/call", {"name": "x", "arguments": arguments}, progressToken=1))
        await anext(floods[-1].replies)
        await client(ANN).text("echo")
        monkeypatch.setattr(exchange, "PATIENCE", 3600.0)  # What others have is as before.
    for flood in floods:
        assert 10 < len(await client(nuisance).frames(flood)) < 400
    arguments = {"do": "flood", "count": 400, "size": 5000}
    flood = await client(ANN).send("tools/call", {"name": "x", "arguments": arguments}, progressToken=1)
    assert len(await client(ANN).frames(flood)) == 401


async def test_a_client_that_reads_a_little_again_and_again_is_not_waited_for_without_end(io_loop):
    held = []
    pace = exchange.SharedPace(
        lambda: held.append(1),
        held.clear,
        lambda _: False,
        lambda late: late.fail(GatewayError("late")),
    )
    slow = exchange.Exchange(msgspec.Raw(b"1"), pace)
    while not slow.ended:
        while not (slow.full or slow.ended):
            slow.put({})
        await asyncio.sleep(0.02)
        for _ in range(exchange.HIGH - exchange.LOW):
            await anext(slow)
    assert not held


async def test_a_subscription_that_is_not_read_is_ended_and_has_no_gaps(shared, monkeypatch, tmp_path):
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)
    client = await shared("all")
    listening = await client(BOB).send("subscriptions/listen", {"notifications": {}})
    await anext(listening.replies)
    for _ in range(30):
        await client(ANN).text("echo", do="change", path=str(tmp_path / "x"))
    *changes, last = await client(BOB).frames(listening)
    assert 16 <= len(changes) < 30
    assert "too slowly" in last["error"]["message"]
    # The subscription's is the first cancellation that the child hears.
    assert len(json.loads(await client(ANN).text("echo", do="cancelled"))) == 1


@pytest.mark.parametrize(("params", "meta"), [({"_Meta": {"progressToken": 1}}, {}), ({}, {"ProgressToken": 1})])
async def test_a_request_that_has_somebody_elses_token_to_some_readers_is_not_sent(shared, params, meta):
    client = await shared("all")
    answer = await client(BOB).send("tools/call", {"name": "echo", "arguments": {}, **params}, **meta)
    (reply,) = await client(BOB).frames(answer)
    assert reply["result"]["isError"] is True


async def test_a_client_that_is_alone_is_waited_for(shared, monkeypatch):
    monkeypatch.setattr(exchange, "PATIENCE", 0.001)
    client = await shared("all")
    arguments = {"do": "flood", "count": 400, "size": 5000}
    flood = await client(BOB).send("tools/call", {"name": "x", "arguments": arguments}, progressToken=1)
    await anext(flood.replies)
    assert len(await client(BOB).frames(flood)) == 400


async def test_a_client_that_leaves_cancels_its_request(shared):
    client = await shared("all")
    ann, _ = await client(ANN).begun("echo", do="begin")
    bob, _ = await client(BOB).begun("echo", do="begin")
    ann.leave()
    assert [b"has left" in message async for message in ann] == [True]
    (told,) = json.loads(await client().text("echo", do="cancelled"))
    # The same id was in flight twice: bob's goes on.
    hearing = asyncio.create_task(anext(bob))
    await client().text("echo")
    assert not hearing.done()
    bob.leave()
    await hearing
    both = json.loads(await client().text("echo", do="cancelled"))
    assert both[0] == told
    assert both[1]["requestId"] != told["requestId"]


async def test_a_client_that_leaves_before_the_child_has_started_asks_it_nothing(shared):
    client = await shared()
    answer = await client().calling("echo", do="never")
    answer.replies.leave()
    (reply,) = await client().frames(answer)
    assert reply["result"]["isError"] is True
    assert json.loads(await client().text("echo", do="cancelled")) == []


async def test_the_end_of_a_grant_cancels_its_requests_and_no_other(shared):
    client = await shared()
    one, _ = await client(ANN).begun("echo", do="begin")
    other, _ = await client(ALSO_ANN).begun("echo", do="begin")
    await client().gateway.end_grant(ANN.grant_id)
    assert b"has ended" in await anext(one)
    hearing = asyncio.create_task(anext(other))
    assert len(json.loads(await client(ALSO_ANN).text("echo", do="cancelled"))) == 1
    assert not hearing.done()
    other.leave()
    await hearing


async def test_the_end_of_a_grant_ends_the_child_that_it_has_for_itself(shared):
    client = await shared("session")
    ann, bob = await pid(client(ANN)), await pid(client(BOB))
    await client().gateway.end_grant(ANN.grant_id)
    await gone(ann)
    assert is_running(bob)


async def test_a_subscription_has_its_own_name_and_hears_what_it_asked_for(shared, tmp_path):
    client = await shared()
    filters = {"notifications": {"toolsListChanged": True}}
    listening = [await client().send("subscriptions/listen", filters, request_id) for request_id in ("a", 7)]
    for request_id, answer in zip(("a", 7), listening, strict=True):
        first = json.loads(await anext(answer.replies))
        assert first["method"] == "notifications/subscriptions/acknowledged"
        assert first["params"] == {**filters, "_meta": {SUBSCRIPTION: request_id}}
    await client().text("echo", do="change", path=str(tmp_path / "changed"))
    for request_id, answer in zip(("a", 7), listening, strict=True):
        told = json.loads(await anext(answer.replies))
        assert told["method"] == "notifications/tools/list_changed"
        assert told["params"]["_meta"] == {SUBSCRIPTION: request_id}
    client().gateway.hang_up()
    for request_id, answer in zip(("a", 7), listening, strict=True):
        (last,) = await client().frames(answer)
        assert last["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: request_id}}
    assert len(json.loads(await client().text("echo", do="cancelled"))) == 2


async def test_a_subscription_that_the_child_ends_has_ended(shared):
    client = await shared()
    answer = await client().send("subscriptions/listen", {"notifications": {}}, "a")
    await anext(answer.replies)
    await client().text("echo", do="end")
    (last,) = await client().frames(answer)
    assert last["id"] == "a"
    assert last["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: "a"}}
    assert json.loads(await client().text("echo", do="cancelled")) == []


async def test_a_request_of_the_childs_is_refused(shared):
    client = await shared()
    reply = await client().request("x/ask")
    assert json.loads(reply["result"]["content"][0]["text"])["code"] == -32601


async def test_a_child_that_nobody_uses_is_stopped_and_comes_back(shared, ambient):
    client = await shared(idle_stop=60)
    before = await pid(client())
    ambient.time += 59
    client().gateway.stop_idle()
    assert await pid(client()) == before
    ambient.time += 60
    client().gateway.stop_idle()
    await gone(before)
    assert await pid(client()) != before


async def test_a_subscription_keeps_its_child(shared, ambient):
    client = await shared()
    before = await pid(client())
    answer = await client().send("subscriptions/listen", {"notifications": {}})
    await anext(answer.replies)
    ambient.time += 3600
    client().gateway.stop_idle()
    assert is_running(before)
    answer.replies.leave()
    assert await pid(client()) == before
    ambient.time += 15 * 60
    client().gateway.stop_idle()
    await gone(before)


async def test_a_crash_answers_whoever_waits_and_the_next_request_works(shared, caplog):
    caplog.set_level(logging.INFO)
    client = await shared()
    before = await pid(client())
    waiting, _ = await client(ALSO_ANN).begun("echo", do="begin")
    error = (await client().call("echo", do="crash", status=3))["error"]
    assert error["code"] == -32000
    assert "fake ended (exit status 3)" in error["message"]
    assert "for the owner" not in error["message"]
    assert json.loads(await anext(waiting))["error"] == error
    reference = error["message"].split()[-1]
    told = [one.message for one in caplog.records if getattr(one, "fields", {}).get("reference") == reference]
    assert told[0] == "backend_started"
    assert {*told[1:]} == {"backend_stderr", "backend_exited"}
    assert await pid(client()) != before


async def test_nothing_is_left_after_the_end(shared):
    client = await shared(grace=0.2)
    pids = [await pid(client()), await pid(client(BOB)), int(await client().text("echo", do="grandchild"))]
    waiting, _ = await client().begun("echo", do="begin")
    await client().gateway.close()
    for one in pids:
        await gone(one)
    assert b"was stopped: mcpauth is stopping; try again shortly" in await anext(waiting)
    assert "is stopping" in (await client().call("echo"))["result"]["content"][0]["text"]
