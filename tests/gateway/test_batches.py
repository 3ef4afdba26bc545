"""Several messages in one, of clients whose revision has that."""

import asyncio
import json

import pytest

from mcpauth.errors import ClientPaused, InsufficientScope, InvalidMessage, ParseError, UnknownSession
from mcpauth.gateway import frames
from tests.fakes.mcp_client import INITIALIZE, Client, principal
from tests.gateway.test_http import Server, events

PATH = "/mcp/fake"


def calling(number, do="echo", **arguments):
    params = {"name": "echo", "arguments": {"do": do, **arguments}}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def notification(method="notifications/x"):
    return {"jsonrpc": "2.0", "method": method}


@pytest.fixture
def begin(serve, child):
    async def start(version="2025-03-26", who=None):
        client = Client(await serve(child("fake", "echo")), "fake", who)
        await client.initialize({**INITIALIZE, "protocolVersion": version})
        return client

    return start


async def answered(client, *messages):
    """The whole answer, by the ids."""
    (reply,) = await client.frames(await client.post(json.dumps(messages).encode()))
    return {one["id"]: one for one in reply}


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26"])
async def test_all_requests_are_answered_in_one_array(begin, version):
    client = await begin(version)
    answers = await answered(client, calling(1), notification(), calling("a", "pid"), {**calling(3), "method": "ping"})
    assert set(answers) == {1, "a", 3}
    assert all("result" in answer for answer in answers.values())


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_revisions_have_none(begin, version):
    client = await begin(version)
    answer = await client.post(json.dumps([calling(1)]).encode())
    assert isinstance(answer.error, InvalidMessage)
    assert b"one message at a time" in answer.reply


async def test_what_nobody_waits_for_is_accepted(begin):
    client = await begin()
    answer = await client.post(json.dumps([notification(), {"jsonrpc": "2.0", "id": 9, "result": {}}]).encode())
    assert (answer.reply, answer.replies) == (None, None)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"[]", InvalidMessage),
        (b"[{]", ParseError),
        (b'["\xff"]', ParseError),
        (b"[" * 100_000, ParseError),
        (json.dumps([calling(1)] * (frames.BATCH + 1)).encode(), InvalidMessage),
    ],
)
async def test_what_is_no_batch_is_refused(begin, body, kind):
    answer = await (await begin()).post(body)
    assert isinstance(answer.error, kind)
    assert json.loads(answer.reply)["error"]["code"] == kind.code


async def test_what_is_wrong_with_one_is_said_of_that_one(begin):
    client = await begin()
    initialize = {"jsonrpc": "2.0", "id": 2, "method": "initialize", "params": INITIALIZE}
    answers = await answered(client, calling(1), initialize, 7, {"jsonrpc": "2.0", "id": 4})
    assert "result" in answers[1]
    assert [answers[number]["error"]["code"] for number in (2, None, 4)] == [-32600] * 3


async def test_a_batch_needs_its_session(begin):
    client = await begin()
    client.session_id = "x"
    assert isinstance((await client.post(json.dumps([calling(1)]).encode())).error, UnknownSession)
    client.session_id = None
    assert isinstance((await client.post(json.dumps([calling(1)]).encode())).error, InvalidMessage)


async def test_where_one_may_not_be_none_is_begun(begin, tmp_path):
    client = await begin(who=principal("mcp:read"))
    with pytest.raises(InsufficientScope):
        await client.post(json.dumps([calling(1, "change", path=str(tmp_path / "x")), calling(2)]).encode())
    assert not (tmp_path / "x").exists()


async def test_what_comes_before_the_answers_makes_it_a_stream_of_single_messages(serve, child, io_loop):
    server = Server(await serve(child("fake", "echo", grace=0.2)))
    await server.begin(PATH, "2025-03-26")
    asked = {**calling(1, "progress", steps=20), "id": 1}
    asked["params"]["_meta"] = {"progressToken": "t"}
    reply = await server.fetch(PATH, "POST", json.dumps([asked, calling(2)]))
    assert reply.headers["Content-Type"] == "text/event-stream"
    told = events(reply)
    assert sum(message.get("method") == "notifications/progress" for message in told) == 20
    assert {message["id"] for message in told if "id" in message} == {1, 2}
    reply = await server.fetch(PATH, "POST", json.dumps([asked, calling(2)]), {"Accept": "application/json"})
    assert {message["id"] for message in json.loads(reply.body)} == {1, 2}
    await server.close()


async def test_one_that_waits_does_not_stop_the_others(begin):
    client = await begin()
    answer = await client.post(json.dumps([calling(1, "never"), calling(2)]).encode())
    answer.replies.begin_stream()
    heard = []
    reading = asyncio.create_task(_read(answer.replies, heard))
    while 2 not in [message.get("id") for message in heard]:  # noqa: ASYNC110 - the client hears it
        await asyncio.sleep(0.01)
    await client.notify("notifications/cancelled", {"requestId": 1})
    await reading
    assert "error" in next(message for message in heard if message.get("id") == 1)


async def _read(replies, heard):
    async for message in replies:
        heard.append(json.loads(message))


async def test_a_paused_client_may_do_nothing_by_a_batch_either(begin):
    client = await begin()
    client.who = client.who.model_copy(update={"paused": True})
    answer = await client.post(json.dumps([calling(1)]).encode())
    assert isinstance(answer.error, ClientPaused)
    with pytest.raises(ClientPaused):
        client.listen()
