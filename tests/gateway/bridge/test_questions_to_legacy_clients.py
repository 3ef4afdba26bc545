"""A modern server asks by its result, and a legacy client is asked by requests."""

import asyncio
import json

import pytest

from mcpauth.gateway import load, served
from tests.fakes.mcp_client import gone, is_running
from tests.gateway.bridge.conftest import FAKES
from tests.gateway.bridge.test_questions_to_modern_clients import ANSWERS, ELICIT, ROOTS, SAMPLE

EVERYTHING = {"elicitation": {"form": {}, "url": {}}, "sampling": {}, "roots": {}}


@pytest.fixture
def client(to_modern, io_loop):
    async def start():
        return await (await to_modern())(**EVERYTHING)

    return io_loop.run_sync(start)


async def answered(client, method, params, answer=lambda asked: {"result": ANSWERS[asked["method"]]}):
    """The response, and the questions that were answered on the way."""
    answer_to = await client.send(method, params)
    told = []
    async for message in answer_to.replies:
        told.append(json.loads(message))
        if "method" in told[-1]:
            await client.post({"jsonrpc": "2.0", "id": told[-1]["id"], **answer(told[-1])})
    *questions, response = told
    return response, questions


def asking(*requests):
    return {"name": "ask", "arguments": {"requests": list(requests)}}


def text(response):
    return json.loads(response["result"]["content"][0]["text"])


@pytest.mark.parametrize("question", [ELICIT, SAMPLE, ROOTS], ids=["elicitation", "sampling", "roots"])
async def test_a_question_in_a_tool_call(client, question):
    response, (asked,) = await answered(client, "tools/call", asking(question))
    assert (asked["method"], asked["params"]) == (question["method"], question["params"])
    assert text(response) == {"q0": ANSWERS[question["method"]]}
    assert "resultType" not in response["result"]


async def test_a_question_in_a_prompt(client):
    response, _ = await answered(client, "prompts/get", {"name": "greet"})
    said = json.loads(response["result"]["messages"][0]["content"]["text"])
    assert said == {"s": ANSWERS["sampling/createMessage"]}


async def test_a_question_in_a_resource(client):
    response, _ = await answered(client, "resources/read", {"uri": "mem://asks"})
    assert response["result"]["contents"][0]["text"] == "content"


async def test_several_questions_at_once(client):
    response, questions = await answered(client, "tools/call", asking(ELICIT, SAMPLE, ROOTS))
    assert len({question["id"] for question in questions}) == 3
    assert list(text(response).values()) == [ANSWERS[one["method"]] for one in (ELICIT, SAMPLE, ROOTS)]


async def test_calls_that_wait_for_the_client_do_not_weigh_much_together(client, monkeypatch):
    monkeypatch.setattr(load, "SUSPENDED", 10_000)
    large = {**ELICIT, "params": {**ELICIT["params"], "message": "x" * 4000}}
    waiting = []
    for _ in range(3):
        waiting.append((await client.send("tools/call", asking(large, ROOTS))).replies)
        questions = [json.loads(await anext(waiting[-1])) for _ in range(2)]
    assert "too large together" in json.loads(await anext(waiting[0]))["error"]["message"]
    # So do the answers, as long as they are not all there.
    content = {"action": "accept", "content": {"text": "y" * 3000}}
    await client.post({"jsonrpc": "2.0", "id": questions[0]["id"], "result": content})
    assert "too large together" in json.loads(await anext(waiting[1]))["error"]["message"]
    await client.post({"jsonrpc": "2.0", "id": questions[1]["id"], "result": ANSWERS["roots/list"]})
    assert text(json.loads(await anext(waiting[2])))["q0"] == content
    # What is over counts no more.
    for _ in range(4):
        response, _ = await answered(client, "tools/call", asking(large))
        assert "result" in response


async def test_questions_in_turn(client):
    params = {"name": "ask_in_turn", "arguments": {"times": 4}}
    response, questions = await answered(client, "tools/call", params)
    assert len(questions) == len(text(response)) == 4


async def test_a_server_that_asks_without_end_is_given_up(client):
    params = {"name": "ask_in_turn", "arguments": {"times": 99}}
    response, questions = await answered(client, "tools/call", params)
    assert "without end" in response["error"]["message"]
    assert len(questions) <= 11


async def test_a_server_that_asks_for_patience_is_asked_again(client):
    response, questions = await answered(client, "tools/call", {"name": "later"})
    assert response["result"]["content"][0]["text"] == "now"
    assert questions == []


async def test_an_elicitation_that_fails_is_cancelled(client):
    refusal = {"error": {"code": -1, "message": "no window"}}
    response, _ = await answered(client, "tools/call", asking(ELICIT), lambda asked: refusal)
    assert text(response) == {"q0": {"action": "cancel"}}


@pytest.mark.parametrize("question", [SAMPLE, ROOTS], ids=["sampling", "roots"])
async def test_anything_else_that_fails_is_an_error_of_the_call(client, question):
    refusal = {"error": {"code": -1, "message": "no model"}}
    response, _ = await answered(client, "tools/call", asking(question), lambda asked: refusal)
    assert question["method"] in response["error"]["message"]


@pytest.mark.parametrize("question", [ELICIT, SAMPLE, ROOTS], ids=["elicitation", "sampling", "roots"])
async def test_what_the_client_does_not_offer_it_is_not_asked(to_modern, question):
    client = await (await to_modern())()
    response, questions = await answered(client, "tools/call", asking(question))
    assert "does not offer" in response["error"]["message"]
    assert questions == []


VISIT = {"method": "elicitation/create", "params": {"mode": "url", "message": "sign in", "url": "https://example.com"}}


async def test_an_address_to_visit(client):
    response, (asked,) = await answered(client, "tools/call", asking(VISIT))
    assert asked["params"] == VISIT["params"]
    assert text(response) == {"q0": ANSWERS["elicitation/create"]}


async def test_an_address_is_not_for_clients_that_know_forms_alone(to_modern):
    client = await (await to_modern())(elicitation={})
    response, questions = await answered(client, "tools/call", asking(VISIT))
    assert "does not offer" in response["error"]["message"]
    assert questions == []


async def test_a_cancellation_ends_the_wait_for_the_client(client):
    answer = await client.send("tools/call", asking(ROOTS), "mine")
    asked = json.loads(await anext(answer.replies))
    await client.notify("notifications/cancelled", {"requestId": "mine"})
    assert b"cancelled" in await anext(answer.replies)
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWERS["roots/list"]})
    assert (await client.call("echo"))["result"]


async def test_the_end_of_the_session_ends_the_wait_for_the_client(client):
    answer = await client.send("tools/call", asking(ROOTS))
    await anext(answer.replies)
    client.gateway.end_session(client.who, backend="new", session_id=client.session_id)
    assert "has ended" in json.loads(await anext(answer.replies))["error"]["message"]


async def test_a_client_that_takes_no_stream_is_asked_over_its_own(client):
    listening = client.listen()
    answer = await client.send("tools/call", asking(ROOTS))
    answer.replies.streams = False
    reading = asyncio.create_task(client.frames(answer))
    asked = json.loads(await anext(listening))
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": ANSWERS["roots/list"]})
    (response,) = await reading
    assert text(response) == {"q0": ANSWERS["roots/list"]}
    listening.close()


async def test_a_call_that_waits_for_its_client_goes_on_with_a_server_that_was_changed(to_modern, child, monkeypatch):
    monkeypatch.setattr(served, "HANDOVER", 0.0)
    client = await (await to_modern())(**EVERYTHING)
    before = await client.text("pid")
    waiting, asked = [], []
    for _ in range(2):
        waiting.append((await client.send("tools/call", asking(ELICIT))).replies)
        asked.append(json.loads(await anext(waiting[-1])))
    client.gateway.serve([child("new", args=(str(FAKES / "mcp_modern_server.py"),))])
    assert await client.text("pid") != before
    await client.post({"jsonrpc": "2.0", "id": asked[0]["id"], "result": ANSWERS["elicitation/create"]})
    assert text(json.loads(await anext(waiting[0]))) == {"q0": ANSWERS["elicitation/create"]}
    # It stays as long as another waits.
    assert is_running(int(before))
    await client.notify("notifications/cancelled", {"requestId": 4})
    assert "cancelled" in json.loads(await anext(waiting[1]))["error"]["message"]
    await gone(int(before))
