"""Modern clients at a remote server of 2024-11-05, where everything comes over one stream."""

import asyncio
import json

import pytest

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import ModernClient, principal
from tests.gateway.bridge.test_questions_to_modern_clients import ANSWERS, ELICIT, asked, retry
from tests.gateway.test_http_backend import until
from tests.gateway.test_http_backend_2024 import OldServer

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CALL = {"name": "echo", "arguments": {}}


class Asking(OldServer):
    """Its tool asks for something, and tells what it got; ``answers`` are who waits, by the stream and the id."""

    def __init__(self):
        super().__init__()
        self.answers = {}
        self.acts |= {"tools/list": self.offer, "tools/call": self.ask, "answer": self.hear}

    async def greet(self, handler):
        version, changes = handler.message["params"]["protocolVersion"], {"listChanged": True}
        about = {"capabilities": {"tools": changes}, "serverInfo": {"name": "old", "version": "1"}}
        await self.tell(handler, {"protocolVersion": version, **about})

    async def offer(self, handler):
        await self.tell(handler, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})

    async def ask(self, handler):
        await self.accept(handler)
        stream, ours = self.stream_of(handler), f"q{len(self.answers)}"
        answer = self.answers[stream, ours] = asyncio.get_running_loop().create_future()
        await stream.event({"id": ours, **ELICIT})
        told = handler.text(json.dumps([handler.message["params"], await answer]))
        await stream.event({"id": handler.message["id"], "result": told})

    async def hear(self, handler):
        await self.accept(handler)
        self.answers[self.stream_of(handler), handler.message["id"]].set_result(handler.message.get("result"))


@pytest.fixture
def old(io_loop):
    async def start():
        return Asking()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.fixture
def client(serve, old, io_loop):
    """Makes modern clients of the gateway."""

    async def start():
        gateway = await serve(Served(HttpBackend("far", RemoteServer(url=old.url, type="sse"), {})))
        await gateway.settled()
        old.seen.clear()
        return lambda **who: ModernClient(gateway, "far", principal(**who), {"elicitation": {}})

    return io_loop.run_sync(start)


async def test_what_needs_no_question(client, old):
    old.acts["tools/call"] = old.answer
    modern = client()
    assert (await modern.request("server/discover"))["result"]["capabilities"] == {"tools": {"listChanged": True}}
    assert await modern.names() == ["echo"]
    assert json.loads(await modern.text("echo", a=1)) == {"name": "echo", "arguments": {"a": 1}}
    (initialize,) = old.of("initialize")
    assert initialize.message["params"]["capabilities"] == {"elicitation": {}}
    assert len(old.of("GET")) == 1


async def test_a_question_on_the_stream_is_a_result_and_its_answer_goes_to_the_address(client, old):
    modern = client()
    result = await asked(modern, CALL)
    assert list(result["inputRequests"].values()) == [ELICIT]
    last = (await modern.request("tools/call", retry(CALL, result)))["result"]
    assert json.loads(last["content"][0]["text"]) == [CALL, ANSWERS["elicitation/create"]]
    assert len(old.of("tools/call")) == 1


async def test_questions_of_two_grants_do_not_meet(client, old):
    ann, bob = client(), client(subject="bob", grant_id="g2")
    results = await asyncio.gather(asked(ann, CALL), asked(bob, CALL))
    answers = [{"action": "accept", "content": {"who": name}} for name in ("ann", "bob")]
    for modern, result, answer in zip((ann, bob), results, answers, strict=True):
        (key,) = result["inputRequests"]
        last = (await modern.request("tools/call", retry(CALL, result, {key: answer})))["result"]
        assert json.loads(last["content"][0]["text"])[1] == answer
    assert len(old.streams) == 4  # with the two that asked what there is


async def test_another_grant_cannot_answer(client, old):
    result = await asked(client(), CALL)
    stranger = client(subject="bob", grant_id="g2")
    assert (await stranger.request("tools/call", retry(CALL, result)))["error"]["code"] == -32602
    assert not any(answer.done() for answer in old.answers.values())


async def test_when_the_stream_ends_while_the_client_is_asked_nothing_runs_again(client, old):
    modern = client()
    result = await asked(modern, CALL)
    (waiting,) = modern.gateway._backends["far"]._bridge._waiting._waiting.values()
    await old.streams[-1].cut()
    await until(lambda: waiting.call.failure)  # Nobody is told that the stream has ended.
    assert (await modern.request("tools/call", retry(CALL, result)))["error"]["code"] == -32602
    assert len(old.of("tools/call")) == 1
    assert (await asked(modern, CALL))["requestState"] != result["requestState"]


async def test_when_the_stream_ends_once_the_client_has_answered_nothing_runs_again(client, old):
    async def hang_up(handler):
        await old.accept(handler)
        await old.stream_of(handler).cut()

    modern = client()
    result = await asked(modern, CALL)
    old.acts["answer"] = hang_up
    assert (await modern.request("tools/call", retry(CALL, result)))["error"]["code"] == -32000
    assert len(old.of("tools/call")) == 1
    assert (await asked(modern, CALL))["requestState"] != result["requestState"]


async def test_a_client_that_leaves_is_told_to_the_server(client, old):
    begun = asyncio.get_running_loop().create_future()

    async def take(handler):
        await old.accept(handler)
        begun.set_result(handler.message["id"])

    old.acts["tools/call"] = take
    answer = await client().calling("echo")
    reading = asyncio.create_task(anext(answer.replies))
    number = await begun
    answer.replies.leave()
    assert b"has left" in await reading
    await until(lambda: old.of("notifications/cancelled"))
    assert old.of("notifications/cancelled")[0].message["params"]["requestId"] == number


async def test_changes_that_come_over_the_stream_are_told_to_who_listens(client, old):
    answer = await client().send("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "s")
    acknowledged = json.loads(await anext(answer.replies))
    assert acknowledged["params"]["notifications"] == {"toolsListChanged": True}
    await old.streams[-1].event({"method": "notifications/tools/list_changed"})
    told = json.loads(await anext(answer.replies))
    assert (told["method"], told["params"]) == ("notifications/tools/list_changed", {"_meta": {SUBSCRIPTION: "s"}})
    answer.replies.leave()
