"""A server of the older era asks, and a modern client is told by a result; the server's call waits."""

import asyncio
import json

import pytest

from mcpauth.gateway import frames, load
from mcpauth.gateway.bridge.waiting_calls import PER_GRANT
from tests.fakes.mcp_client import ModernClient, gone, is_running, principal
from tests.gateway.bridge.conftest import FAKES

EVERYTHING = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}

ELICIT = {
    "method": "elicitation/create",
    "params": {"mode": "form", "message": "how many?", "requestedSchema": {"type": "object", "properties": {}}},
}
SAMPLE = {"method": "sampling/createMessage", "params": {"messages": [], "maxTokens": 5}}
ROOTS = {"method": "roots/list", "params": {}}

ANSWERS = {
    "elicitation/create": {"action": "accept", "content": {"n": 5}},
    "sampling/createMessage": {"role": "assistant", "content": {"type": "text", "text": "hm"}, "model": "m"},
    "roots/list": {"roots": [{"uri": "file:///home"}]},
}


def answers_to(questions):
    return {key: ANSWERS[question["method"]] for key, question in questions.items()}


def retry(params, result, answers=None):
    given = answers_to(result["inputRequests"]) if answers is None else answers
    return {**params, "requestState": result["requestState"], "inputResponses": given}


def asking(*requests, tool="ask"):
    return {"name": tool, "arguments": {"requests": list(requests)}}


async def asked(client, params, method="tools/call"):
    """The result that asks."""
    result = (await client.request(method, params))["result"]
    assert result["resultType"] == "input_required"
    return result


async def seen(client):
    return json.loads(await client.text("seen"))


@pytest.fixture
def client(to_legacy, io_loop):
    return io_loop.run_sync(to_legacy)(**EVERYTHING)


@pytest.mark.parametrize("question", [ELICIT, SAMPLE, ROOTS], ids=["elicitation", "sampling", "roots"])
async def test_a_question_in_a_tool_call(client, question):
    params = asking(question)
    result = await asked(client, params)
    assert list(result["inputRequests"].values()) == [question]
    last = (await client.request("tools/call", retry(params, result)))["result"]
    assert last["resultType"] == "complete"
    assert json.loads(last["content"][0]["text"]) == [{"result": ANSWERS[question["method"]]}]
    assert (await seen(client))["runs"] == 2  # with the call that tells it


async def test_a_question_in_a_prompt(client):
    params = {"name": "greet"}
    result = await asked(client, params, "prompts/get")
    last = (await client.request("prompts/get", retry(params, result)))["result"]
    assert json.loads(last["messages"][0]["content"]["text"]) == {"result": ANSWERS["sampling/createMessage"]}


async def test_a_question_in_a_resource(client):
    params = {"uri": "mem://asks"}
    result = await asked(client, params, "resources/read")
    assert "ttlMs" not in result
    last = (await client.request("resources/read", retry(params, result)))["result"]
    assert last["contents"][0]["text"] == "content"


async def test_a_question_anywhere_else_is_refused(client):
    result = (await client.request("completion/complete", {"ref": {}, "argument": {}}))["result"]
    assert json.loads(result["completion"]["values"][0])["error"]["code"] == -32601


async def test_several_questions_at_once(client):
    params = asking(ELICIT, SAMPLE, ROOTS)
    result = await asked(client, params)
    assert sorted(one["method"] for one in result["inputRequests"].values()) == sorted(ANSWERS)
    last = (await client.request("tools/call", retry(params, result)))["result"]
    assert json.loads(last["content"][0]["text"]) == [
        {"result": ANSWERS[one["method"]]} for one in (ELICIT, SAMPLE, ROOTS)
    ]


async def test_what_was_not_answered_is_asked_again(client):
    params = asking(ELICIT, ROOTS)
    first = await asked(client, params)
    key, left = first["inputRequests"]
    some = {key: ANSWERS[first["inputRequests"][key]["method"]]}
    second = await asked(client, retry(params, first, some))
    assert list(second["inputRequests"]) == [left]
    assert (await client.request("tools/call", retry(params, second)))["result"]["resultType"] == "complete"


async def test_questions_in_turn_take_several_rounds(client):
    params = asking(ELICIT, ELICIT, ROOTS, tool="ask_in_turn")
    result, states = await asked(client, params), set()
    for _ in range(3):
        states.add(result["requestState"])
        result = (await client.request("tools/call", retry(params, result)))["result"]
    assert len(json.loads(result["content"][0]["text"])) == 3
    assert len(states) == 3


async def test_what_the_person_declines_the_server_is_told(client):
    params = asking(ELICIT)
    result = await asked(client, params)
    declined = {key: {"action": "decline"} for key in result["inputRequests"]}
    last = (await client.request("tools/call", retry(params, result, declined)))["result"]
    assert json.loads(last["content"][0]["text"]) == [{"result": {"action": "decline"}}]


@pytest.mark.parametrize(
    ("declared", "question"),
    [
        ({}, ELICIT),
        ({"sampling": {}, "roots": {}}, ELICIT),
        ({"elicitation": {}}, {"method": "elicitation/create", "params": {"mode": "url", "url": "https://a"}}),
        ({"elicitation": {"url": {}}}, ELICIT),
        ({"elicitation": {}}, SAMPLE),
        ({"sampling": {}}, {"method": "sampling/createMessage", "params": {"tools": []}}),
        ({"sampling": {}}, ROOTS),
        (EVERYTHING, {"method": "x/unknown", "params": {}}),
    ],
)
async def test_what_the_client_did_not_declare_the_server_may_not_ask(to_legacy, declared, question):
    client = (await to_legacy())(**declared)
    result = (await client.request("tools/call", asking(question)))["result"]
    assert result["resultType"] == "complete"
    assert json.loads(result["content"][0]["text"])[0]["error"]["code"] == -32601


async def test_a_question_that_is_taken_back_is_not_asked(client):
    result = (await client.call("give_up"))["result"]
    assert result["content"][0]["text"] == "without an answer"


async def test_a_question_that_is_taken_back_later_does_not_stand_in_the_way(client):
    params = {"name": "give_up", "arguments": {"later": True}}
    result = await asked(client, params)
    await client.text("now")
    last = (await client.request("tools/call", retry(params, result)))["result"]
    assert last["content"][0]["text"] == "without an answer"


async def test_progress_goes_on_under_the_token_of_the_retry(client):
    params = {"name": "progress", "arguments": {"ask": True}}
    *told, last = await client.frames(await client.send("tools/call", params, progressToken="first"))
    assert [frame["params"]["progressToken"] for frame in told] == ["first"] * 3
    answer = await client.send("tools/call", retry(params, last["result"]), progressToken=2)
    told, last = await client.frames(answer)
    assert told["params"] == {"progressToken": 2, "progress": 3}
    assert last["result"]["content"][0]["text"] == "done"


# requestState


def is_call_again(reply):
    return reply["error"]["code"] == -32602 and "call again" in reply["error"]["message"]


async def test_a_second_use_is_refused_and_runs_nothing(client):
    params = asking(ROOTS)
    result = await asked(client, params)
    again = retry(params, result)
    assert "result" in await client.request("tools/call", again)
    assert is_call_again(await client.request("tools/call", again))
    assert (await seen(client))["runs"] == 2


async def test_two_at_the_same_time_are_one_too_many(client):
    params = asking(ROOTS)
    again = retry(params, await asked(client, params))
    replies = await asyncio.gather(*(client.request("tools/call", again) for _ in range(2)))
    assert sorted("result" in reply for reply in replies) == [False, True]


async def test_it_is_for_the_same_request_alone(client):
    params = asking(ROOTS)
    again = retry(params, await asked(client, params))
    assert is_call_again(await client.request("tools/call", {**again, "arguments": {"requests": []}}))
    assert is_call_again(await client.request("tools/call", {**again, "name": "echo"}))
    assert is_call_again(await client.request("prompts/get", again))
    assert "result" in await client.request("tools/call", again)


@pytest.mark.parametrize("other", [{"grant_id": "g2"}, {"subject": "bob"}], ids=["grant", "user"])
async def test_it_is_of_the_same_grant_alone(to_legacy, other):
    client = await to_legacy()
    params = asking(ROOTS)
    again = retry(params, await asked(client(**EVERYTHING), params))
    assert is_call_again(await client(principal(**other), **EVERYTHING).request("tools/call", again))
    assert "result" in await client(**EVERYTHING).request("tools/call", again)


@pytest.mark.parametrize("made_up", ["", "x", "gAAAAA", None, 7])
async def test_one_that_was_made_up_is_refused(client, made_up):
    assert is_call_again(await client.request("tools/call", {**asking(ROOTS), "requestState": made_up}))
    assert is_call_again(await client.request("tools/call", {**asking(ROOTS), "inputResponses": {}}))


async def test_one_that_was_changed_is_refused(client):
    params = asking(ROOTS)
    result = await asked(client, params)
    state = result["requestState"]
    changed = state[:20] + ("A" if state[20] != "A" else "B") + state[21:]
    assert is_call_again(await client.request("tools/call", retry(params, {**result, "requestState": changed})))


async def test_answers_that_are_none_are_refused_and_may_be_given_again(client):
    params = asking(ROOTS)
    result = await asked(client, params)
    wrong = dict.fromkeys(result["inputRequests"], 5)
    assert (await client.request("tools/call", retry(params, result, wrong)))["error"]["code"] == -32602
    assert "result" in await client.request("tools/call", retry(params, result))


async def test_after_five_minutes_the_call_is_given_up(client, ambient):
    params = asking(ROOTS)
    result = await asked(client, params)
    ambient.time += 301
    assert is_call_again(await client.request("tools/call", retry(params, result)))
    client.gateway.stop_idle()
    told = await seen(client)
    assert len(told["cancelled"]) == 1
    assert told["runs"] == 2


async def test_a_server_that_waits_is_not_idle(to_legacy, ambient):
    client = (await to_legacy(idle_stop=60))(**EVERYTHING)
    params = asking(ROOTS)
    pid = await client.text("pid")
    result = await asked(client, params)
    ambient.time += 299
    client.gateway.stop_idle()
    assert is_running(int(pid))
    assert "result" in await client.request("tools/call", retry(params, result))
    assert await client.text("pid") == pid


async def test_after_a_crash_nothing_runs_again(client):
    params = asking(ROOTS)
    result = await asked(client, params)
    await client.call("crash")
    assert is_call_again(await client.request("tools/call", retry(params, result)))
    assert (await seen(client))["runs"] == 1


async def test_after_a_restart_nothing_runs_again(to_legacy):
    params = asking(ROOTS)
    before = (await to_legacy())(**EVERYTHING)
    again = retry(params, await asked(before, params))
    await before.gateway.close()
    after = (await to_legacy())(**EVERYTHING)
    assert is_call_again(await after.request("tools/call", again))
    assert (await seen(after))["runs"] == 1


async def test_the_end_of_the_grant_ends_what_waits(to_legacy):
    client = (await to_legacy())(**EVERYTHING)
    params = asking(ROOTS)
    pid = int(await client.text("pid"))
    again = retry(params, await asked(client, params))
    await client.gateway.end_grant("g1")
    await gone(pid)
    assert is_call_again(await client.request("tools/call", again))


async def test_a_client_that_leaves_calls_waiting_has_not_many(client):
    params = asking(ROOTS)
    results = [await asked(client, params) for _ in range(PER_GRANT + 1)]
    assert is_call_again(await client.request("tools/call", retry(params, results[0])))
    assert "result" in await client.request("tools/call", retry(params, results[-1]))


def large(size):
    return {**ELICIT, "params": {**ELICIT["params"], "message": "x" * size}}


async def test_calls_that_wait_do_not_weigh_much_together(client, monkeypatch):
    monkeypatch.setattr(load, "SUSPENDED", 10_000)
    params = asking(large(4000))
    results = [await asked(client, params) for _ in range(3)]
    assert is_call_again(await client.request("tools/call", retry(params, results[0])))
    assert len((await seen(client))["cancelled"]) == 1
    for result in results[1:]:
        assert "result" in await client.request("tools/call", retry(params, result))
    # What was given back counts no more, nor what was given up.
    results = [await asked(client, params) for _ in range(2)]
    for result in results:
        assert "result" in await client.request("tools/call", retry(params, result))


async def test_what_comes_while_a_call_waits_counts(client, monkeypatch):
    monkeypatch.setattr(load, "SUSPENDED", 10_000)
    params = {"name": "give_up", "arguments": {"later": True, "size": 7_000}}
    waiting, other = await asked(client, asking(large(4000))), await asked(client, params)
    await client.text("now")
    await seen(client)  # By then the server's answer has come, too.
    assert is_call_again(await client.request("tools/call", retry(asking(large(4000)), waiting)))
    last = (await client.request("tools/call", retry(params, other)))["result"]
    assert last["content"][0]["text"].endswith("xxx")


async def test_all_servers_count_together(serve, child, monkeypatch):
    monkeypatch.setattr(load, "SUSPENDED", 10_000)
    gateway = await serve(*(child(name, args=(str(FAKES / "mcp_legacy_server.py"),)) for name in ("one", "two")))
    one, two = (ModernClient(gateway, name, None, EVERYTHING) for name in ("one", "two"))
    params = asking(large(6000))
    first, second = await asked(one, params), await asked(two, params)
    other = ModernClient(gateway, "one", principal(grant_id="g2"), EVERYTHING)
    third = await asked(other, params)
    assert is_call_again(await one.request("tools/call", retry(params, first)))
    assert "result" in await two.request("tools/call", retry(params, second))
    assert "result" in await other.request("tools/call", retry(params, third))


async def test_a_question_that_would_be_too_large_with_the_others_is_refused(client, monkeypatch):
    monkeypatch.setattr(frames, "LIMIT", 6000)
    params = asking(large(4000), large(3000), ROOTS)
    result = await asked(client, params)
    assert [len(one["params"].get("message", "")) for one in result["inputRequests"].values()] == [4000, 0]
    last = (await client.request("tools/call", retry(params, result)))["result"]
    assert [list(one) for one in json.loads(last["content"][0]["text"])] == [["result"], ["error"], ["result"]]


async def test_calls_that_wait_do_not_get_each_others_answers(client):
    one, other = asking(ELICIT), asking(ROOTS)
    first, second = await asked(client, one), await asked(client, other)
    assert [question["method"] for question in second["inputRequests"].values()] == ["roots/list"]
    last = (await client.request("tools/call", retry(other, second)))["result"]
    assert json.loads(last["content"][0]["text"]) == [{"result": ANSWERS["roots/list"]}]
    last = (await client.request("tools/call", retry(one, first)))["result"]
    assert json.loads(last["content"][0]["text"]) == [{"result": ANSWERS["elicitation/create"]}]


async def test_a_client_that_leaves_in_a_retry_cancels_the_call(client):
    params = asking(ROOTS, tool="ask_in_turn")
    result = await asked(client, params)
    answer = await client.send("tools/call", retry(params, result, {}))
    reading = asyncio.create_task(anext(answer.replies))
    await asyncio.sleep(0)
    answer.replies.leave()
    assert b"has left" in await reading
    assert len((await seen(client))["cancelled"]) == 1


# URLs that a person has to visit first (-32042 in the older era)


async def test_a_visit_that_is_required_is_a_question_and_then_it_is_called_again(client):
    params = {"name": "visit"}
    result = await asked(client, params)
    ((key, question),) = result["inputRequests"].items()
    assert question["method"] == "elicitation/create"
    assert question["params"]["mode"] == "url"
    assert question["params"]["url"] == "https://example.com/in"
    last = (await client.request("tools/call", retry(params, result, {key: {"action": "accept"}})))["result"]
    assert last["content"][0]["text"] == "signed in"
    assert is_call_again(await client.request("tools/call", retry(params, result, {key: {"action": "accept"}})))


async def test_a_visit_that_was_declined_is_not_followed_by_a_call(client):
    params = {"name": "visit"}
    result = await asked(client, params)
    declined = {key: {"action": "decline"} for key in result["inputRequests"]}
    assert "did not" in (await client.request("tools/call", retry(params, result, declined)))["error"]["message"]
    assert (await seen(client))["runs"] == 2


async def test_a_visit_that_the_client_cannot_make_is_a_missing_capability(to_legacy):
    client = (await to_legacy())(elicitation={"form": {}})
    error = (await client.call("visit"))["error"]
    assert (error["code"], error["message"]) == (-32021, "sign in first")
    assert error["data"] == {"requiredCapabilities": {"elicitation": {"url": {}}}}
