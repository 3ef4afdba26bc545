"""No question of a server of the older era stays without an answer, whatever becomes of the call it was put to."""

import asyncio
import json
import os
import signal

import pytest

from mcpauth.gateway import load
from mcpauth.gateway import served as served_module
from mcpauth.gateway.bridge import legacy_session, unanswered
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import ModernClient, gone, principal
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.bridge.conftest import FAKES
from tests.gateway.bridge.test_questions_to_modern_clients import (
    ANSWERS,
    ELICIT,
    EVERYTHING,
    ROOTS,
    SAMPLE,
    asked,
    asking,
    is_call_again,
    large,
    retry,
    seen,
)
from tests.gateway.test_http_backend import AT_ONCE, until
from tests.gateway.test_http_backend_2024 import OldServer

ELICITED = [{"result": ANSWERS["elicitation/create"]}]
WHERE = {"name": "where"}


@pytest.fixture
def client(to_legacy, io_loop):
    return io_loop.run_sync(to_legacy)(**EVERYTHING)


@pytest.fixture
def at_work(client, io_loop):
    """A call that has begun and will ask."""

    async def start():
        await client.text("pid")
        return asyncio.create_task(client.request("tools/call", asking(ELICIT, tool="ask_later")))

    return io_loop.run_sync(start)


async def answered(client, params, result, answers=None):
    """The text of what comes when the questions are answered."""
    last = (await client.request("tools/call", retry(params, result, answers)))["result"]
    assert last["resultType"] == "complete"
    return json.loads(last["content"][0]["text"])


async def test_what_was_put_to_a_call_that_ends_is_asked_in_the_other(client, at_work):
    # The newest is asked, and has its answer before its client is.
    assert await client.text("let_ask") == "asked"
    result = (await at_work)["result"]
    assert list(result["inputRequests"].values()) == [ELICIT]
    assert await answered(client, asking(ELICIT, tool="ask_later"), result) == ELICITED
    assert (await seen(client))["runs"] == 4


async def test_a_client_that_comes_back_for_another_call_answers_it_there(client, at_work):
    params = {"name": "let_ask", "arguments": {"later": True}}
    result = await asked(client, params)
    await client.text("now")
    await seen(client)  # By then the server's answer has come, too.
    last = await client.request("tools/call", retry(params, result))
    assert last["result"]["content"][0]["text"] == "asked"
    assert json.loads((await at_work)["result"]["content"][0]["text"]) == ELICITED


async def test_a_client_that_comes_back_without_the_answer_is_asked_in_the_other(client, at_work):
    params = {"name": "let_ask", "arguments": {"later": True}}
    result = await asked(client, params)
    await client.text("now")
    await seen(client)
    assert "result" in await client.request("tools/call", retry(params, result, {}))
    result = (await at_work)["result"]
    assert await answered(client, asking(ELICIT, tool="ask_later"), result) == ELICITED


@pytest.mark.parametrize("ended", [False, True], ids=["at work", "answered"])
async def test_a_client_that_does_not_come_back_is_asked_in_the_other(client, at_work, ambient, ended):
    params = {"name": "let_ask", "arguments": {"later": True}}
    first = await asked(client, params)
    if ended:
        await client.text("now")
        await seen(client)
    ambient.time += 301
    client.gateway.stop_idle()
    result = (await at_work)["result"]
    assert await answered(client, asking(ELICIT, tool="ask_later"), result) == ELICITED
    assert is_call_again(await client.request("tools/call", retry(params, first)))
    assert len((await seen(client))["cancelled"]) == (not ended)


async def test_where_there_is_no_other_it_is_asked_before_the_next_call(client):
    assert await client.text("ask_afterwards", requests=[ELICIT, SAMPLE]) == "soon"
    params = {"name": "seen"}
    result = await asked(client, params)
    assert list(result["inputRequests"].values()) == [ELICIT, SAMPLE]
    told = await answered(client, params, result)
    assert told["answers"] == [
        {"id": f"after-{number}", "result": ANSWERS[one["method"]]} for number, one in enumerate((ELICIT, SAMPLE))
    ]
    assert told["runs"] == 2
    # Nothing is left of it.
    assert len((await seen(client))["answers"]) == 2
    assert is_call_again(await client.request("tools/call", retry(params, result)))


async def test_what_is_asked_after_that_comes_before_the_call_too(client):
    await client.call("ask_afterwards", requests=[ROOTS], then=[ELICIT])
    params = {"name": "seen"}
    first = await asked(client, params)
    second = (await client.request("tools/call", retry(params, first)))["result"]
    assert list(second["inputRequests"].values()) == [ELICIT]
    await asyncio.sleep(legacy_session.ACTING)  # By then it would have been sent.
    told = await answered(client, params, second)
    assert ([one["id"] for one in told["answers"]], told["runs"]) == (["after-0", "then"], 2)


async def test_what_is_taken_back_by_then_is_not_asked(client):
    cancelled = {"method": "notifications/cancelled", "params": {"requestId": "after-0"}}
    await client.call("ask_afterwards", requests=[ROOTS, cancelled])
    assert (await seen(client))["answers"] == []


async def test_a_list_is_not_held_up_by_it(client):
    await client.call("ask_afterwards", requests=[ELICIT])
    assert await client.names() == ["echo", "ask", "seen"]


async def test_it_does_not_wait_for_a_next_call_without_end(client, ambient):
    await client.call("ask_afterwards", requests=[ELICIT])
    ambient.time += 301
    client.gateway.stop_idle()
    (answer,) = (await seen(client))["answers"]
    assert answer["id"] == "after-0"
    assert "did not come back" in answer["error"]["message"]


async def test_not_many_wait_and_not_much(client, monkeypatch):
    monkeypatch.setattr(unanswered, "QUESTIONS", 2)
    await client.call("ask_afterwards", requests=[ELICIT, ROOTS, SAMPLE])
    params = {"name": "seen"}
    told = await answered(client, params, await asked(client, params))
    assert [answer["id"] for answer in told["answers"] if "error" in answer] == ["after-2"]
    monkeypatch.setattr(load, "SUSPENDED", 3_000)
    await client.call("ask_afterwards", requests=[large(4_000)])
    assert "too large" in (await seen(client))["answers"][-1]["error"]["message"]


async def test_what_the_client_did_not_declare_does_not_wait(to_legacy):
    client = (await to_legacy())(elicitation={})
    await client.call("ask_afterwards", requests=[ROOTS])
    assert (await seen(client))["answers"][0]["error"]["code"] == -32601


async def test_what_a_call_asked_that_is_given_up_nobody_is_asked(client, ambient):
    await asked(client, asking(ELICIT))
    ambient.time += 301
    client.gateway.stop_idle()
    told = await seen(client)
    assert "did not come back" in told["answers"][0]["error"]["message"]
    assert len(told["cancelled"]) == 1


async def test_a_call_that_is_cancelled_before_it_is_sent_does_not_run_and_the_next_is_asked(client, ambient):
    await client.call("ask_afterwards", requests=[ROOTS])
    answer = await client.calling("echo")
    reading = asyncio.create_task(anext(answer.replies))
    await asyncio.sleep(0)
    answer.replies.leave()
    assert b"has left" in await reading
    params = {"name": "seen"}
    assert (await answered(client, params, await asked(client, params)))["runs"] == 2


async def test_a_question_before_a_call_is_gone_with_its_server_and_the_call_runs_at_another(client):
    pid = int(await client.text("pid"))
    await client.call("ask_afterwards", requests=[ELICIT])
    params = {"name": "pid"}
    result = await asked(client, params)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    last = (await client.request("tools/call", retry(params, result)))["result"]
    assert int(last["content"][0]["text"]) != pid
    assert (await seen(client))["runs"] == 2


async def test_when_the_server_is_replaced_nobody_is_asked_any_more(serve, child, monkeypatch):
    monkeypatch.setattr(served_module, "HANDOVER", 0.0)
    fake = (str(FAKES / "mcp_legacy_server.py"),)
    gateway = await serve(child("old", args=fake))
    client = ModernClient(gateway, "old", capabilities=EVERYTHING)
    await client.text("pid")
    going_on = asyncio.create_task(client.request("tools/call", asking(ELICIT, tool="ask_later")))
    leaving, _ = await client.begun("begin")
    gateway.serve([child("old", args=fake)])
    leaving.leave()  # It asks now, and whoever came back with an answer would come to the new one.
    last = (await going_on)["result"]
    assert "has changed" in json.loads(last["content"][0]["text"])[0]["error"]["message"]


# What a server asks as soon as it is initialized.


@pytest.fixture
def rooted(to_legacy):
    """Makes modern clients of a server that can do nothing before it has the roots."""

    async def start(**given):
        return await to_legacy("--roots", **given)

    return start


@pytest.mark.parametrize("share", [None, "user", "all"])
async def test_the_first_call_comes_after_the_roots(rooted, share):
    client = (await rooted(share=share))(roots={})
    result = await asked(client, WHERE)
    assert [one["method"] for one in result["inputRequests"].values()] == ["roots/list"]
    assert await answered(client, WHERE, result) == ["file:///home"]
    told = await seen(client)
    assert (told["runs"], len(told["answers"])) == (2, 1)
    assert await client.text("where") == '["file:///home"]'


async def test_an_answer_to_a_program_that_is_gone_is_none_to_the_next(rooted):
    client = (await rooted())(roots={})
    pid = int(await answered(client, {"name": "pid"}, await asked(client, {"name": "pid"})))
    await client.call("ask_afterwards", requests=[ROOTS])
    first = await asked(client, WHERE)
    os.kill(pid, signal.SIGKILL)
    await gone(pid)
    # The next asks anew, and its question has the id that the first one's had at the one before.
    second = await asked(client, retry(WHERE, first, {"1": {"roots": [{"uri": "file:///old"}]}}))
    assert await answered(client, WHERE, second) == ["file:///home"]
    told = await seen(client)
    assert (told["runs"], [one["id"] for one in told["answers"]]) == (2, [1])


async def test_who_has_no_roots_is_not_asked(rooted):
    assert await (await rooted())(elicitation={}, sampling={}).text("where") == "access denied"


async def test_of_several_that_are_the_first_one_is_asked_and_the_others_wait_for_it(rooted):
    client = (await rooted())(roots={})
    calls = [asyncio.create_task(client.request("tools/call", WHERE)) for _ in range(3)]
    (first, *_), others = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    assert len(others) == 2
    assert await answered(client, WHERE, (await first)["result"]) == ["file:///home"]
    for other in others:
        assert (await other)["result"]["content"][0]["text"] == '["file:///home"]'


async def test_a_client_that_does_not_answer_is_not_waited_for_without_end(rooted, monkeypatch):
    monkeypatch.setattr(unanswered, "PATIENCE", 0.1)
    client = (await rooted())(roots={})
    await asked(client, WHERE)
    assert await client.text("where") == "access denied"
    monkeypatch.setattr(unanswered, "PATIENCE", 60.0)
    assert await client.text("where") == "access denied"  # once


async def test_at_everybodys_child_nobody_is_asked_for_anothers_sake(rooted):
    clients = await rooted(share="all")
    ann, bob = (clients(principal(subject=name, grant_id=name), roots={}) for name in ("ann", "bob"))
    result = await asked(ann, WHERE)
    assert await bob.text("where") == "access denied"
    assert await answered(ann, WHERE, result) == ["file:///home"]
    assert await bob.text("where") == '["file:///home"]'


# Servers elsewhere: what belongs to no request comes on a stream of its own.


class Listening(McpHttpServer):
    """Streamable HTTP; ``streams`` are the GET streams, by their sessions."""

    def __init__(self):
        super().__init__()
        self.streams = {}
        self.acts |= {"initialize": self.greet, "GET": self.listen}

    async def greet(self, handler):
        self.sessions.append(f"session-{len(self.sessions)}")
        about = {"capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "far", "version": "1"}}
        handler.set_header("Mcp-Session-Id", self.sessions[-1])
        handler.reply({"protocolVersion": handler.message["params"]["protocolVersion"], **about})

    async def listen(self, handler):
        handler.set_header("Content-Type", "text/event-stream")
        await handler.flush()
        self.streams[handler.request.headers["Mcp-Session-Id"]] = handler
        await handler.gone

    async def stream(self):
        """Of the last that has begun."""
        await until(lambda: self.sessions[-1] in self.streams)
        return self.streams[self.sessions[-1]]


class OldListening(OldServer):
    """HTTP+SSE of 2024-11-05."""

    def __init__(self):
        super().__init__()
        self.acts |= {"initialize": self.welcome}

    async def welcome(self, handler):
        about = {"capabilities": {"tools": {"listChanged": True}}, "serverInfo": {"name": "old", "version": "1"}}
        await self.tell(handler, {"protocolVersion": handler.message["params"]["protocolVersion"], **about})

    async def stream(self):
        return self.streams[-1]


@pytest.fixture
def elsewhere(serve, io_loop):
    """A modern client of a remote server, a function that says something on the session's stream, and the server."""
    made = []

    async def start(kind):
        far = kind()
        made.append(far)
        server = RemoteServer(url=far.url, type="sse" if kind is OldListening else "http")
        gateway = await serve(Served(HttpBackend("far", server, {}, AT_ONCE)))
        await gateway.settled()
        client = ModernClient(gateway, "far", capabilities=EVERYTHING)
        news = await client.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
        await anext(news.replies)
        stream = await far.stream()
        far.seen.clear()

        async def say(message):
            """And it was heard."""
            await stream.event(message)
            await stream.event({"method": "notifications/tools/list_changed"})
            await anext(news.replies)

        return client, far, say

    yield start
    for far in made:
        io_loop.run_sync(far.close)


def answers(far):
    return [one.message for one in far.seen if one.message is not None and "method" not in one.message]


@pytest.mark.parametrize("kind", [Listening, OldListening])
async def test_what_comes_on_the_stream_while_nothing_is_at_work_is_asked_before_the_next_call(elsewhere, kind):
    client, far, say = await elsewhere(kind)
    await say({"id": "q", **ELICIT})
    params = {"name": "echo", "arguments": {}}
    result = await asked(client, params)
    assert far.of("tools/call") == []
    assert await answered(client, params, result) == params
    assert [(one["id"], one["result"]) for one in answers(far)] == [("q", ANSWERS["elicitation/create"])]
    told = [one.message.get("method", "the answer") for one in far.seen if one.message is not None]
    assert told.index("the answer") < told.index("tools/call")


@pytest.mark.parametrize("kind", [Listening, OldListening])
async def test_a_question_that_cannot_be_remembered_is_refused(elsewhere, kind):
    client, far, say = await elsewhere(kind)
    await say({"id": 1.5, **ELICIT})
    await say({"method": "notifications/cancelled", "params": {"requestId": None}})
    assert "result" in await client.call("echo")
    await until(lambda: answers(far))
    assert [(one["id"], one["error"]["code"]) for one in answers(far)] == [(1.5, -32600)]


@pytest.mark.parametrize("kind", [Listening, OldListening])
async def test_the_end_of_the_grant_answers_what_nobody_was_asked(elsewhere, kind):
    client, far, say = await elsewhere(kind)
    await say({"id": "q", **ELICIT})
    await client.gateway.end_grant("g1")
    await until(lambda: answers(far))
    assert "error" in answers(far)[0]
