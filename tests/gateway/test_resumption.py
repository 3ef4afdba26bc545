"""Streams that were cut, and clients that come back for the rest with Last-Event-ID."""

import json
import re

import pytest

from mcpauth.gateway import event_log
from mcpauth.gateway.event_log import EventLog
from mcpauth.web import event_stream
from tests.gateway.test_http import Server, call

PATH = "/mcp/fake"
POST, GET = f"POST {PATH} HTTP/1.1", f"GET {PATH} HTTP/1.1"


@pytest.fixture
def server(io_loop, serve, child, monkeypatch):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    gateway = io_loop.run_sync(lambda: serve(child("fake", "echo", grace=0.2)))

    async def start():
        return Server(gateway)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


class Stream:
    """What comes over one connection, event by event."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def event(self):
        """The fields of the next; comments are none."""
        while True:
            part = (await self.reader.readuntil(b"\n\n")).decode()
            fields = dict(re.findall(r"^(id|event|data|retry): ?(.*)\r?$", part, re.MULTILINE))
            if fields:
                return fields

    async def message(self):
        return json.loads((await self.event())["data"])

    async def leave(self):
        self.writer.close()
        await self.writer.wait_closed()

    async def ends(self):
        """Nothing comes but comments, until the chunk that is the last."""
        rest = await self.reader.readuntil(b"0\r\n\r\n")
        return b"data:" not in rest


async def opened(server, head, message=None, last_event_id=None):
    if last_event_id is not None:
        head += f"\r\nLast-Event-ID: {last_event_id}"
    return Stream(*await server.stream(head, message))


async def asked(server, version="2025-11-25"):
    """A session, and the stream of a call that waits for an answer of the client's."""
    await server.begin(PATH, version)
    return await opened(server, POST, call("x", do="ask"))


async def answer(server):
    assert (await server.post(PATH, {"id": 1, "result": {"n": 7}})).code == 202


async def test_a_stream_begins_with_an_event_to_come_back_to(server):
    stream = await asked(server)
    primer = await stream.event()
    assert primer == {"id": primer["id"], "retry": str(event_log.RETRY), "data": ""}
    first = await stream.event()
    assert json.loads(first["data"])["method"] == "elicitation/create"
    assert first["id"] != primer["id"]
    await stream.leave()
    # From the beginning, and from what came.
    again = await opened(server, GET, last_event_id=primer["id"])
    assert await again.event() == first
    await again.leave()
    resumed = await opened(server, GET, last_event_id=first["id"])
    await answer(server)
    response = await resumed.event()
    assert json.loads(response["data"])["id"] == 1
    assert "7" in json.loads(response["data"])["result"]["content"][0]["text"]
    assert await resumed.ends()
    await resumed.leave()


async def test_a_question_that_nobody_listens_for_is_an_event_of_the_stream_that_it_was_put_onto(server):
    await server.begin(PATH, "2025-11-25")
    other = await opened(server, POST, call("never"))
    assert "waiting" in [await other.event() for _ in range(2)][1]["data"]
    stream = await opened(server, POST, call("x", do="ask") | {"id": 2})
    primer, question = [await stream.event() for _ in range(2)]
    assert json.loads(question["data"])["method"] == "elicitation/create"
    await stream.leave()
    again = await opened(server, GET, last_event_id=primer["id"])
    assert await again.event() == question
    await answer(server)
    assert (await again.message())["id"] == 2
    for each in (again, other):
        await each.leave()


async def test_an_answer_waits_for_a_client_that_is_gone(server):
    stream = await asked(server, "2025-03-26")
    # Clients of this revision do not know events without a message.
    last = (await stream.event())["id"]
    await stream.leave()
    await answer(server)
    # The child has answered when it answers the next one.
    assert (await server.post(PATH, call("echo"))).code == 200
    for _ in range(2):
        resumed = await opened(server, GET, last_event_id=last)
        assert (await resumed.message())["id"] == 1
        assert await resumed.ends()
        await resumed.leave()


async def test_who_comes_back_takes_the_place_of_a_connection_that_only_seems_alive(server):
    stream = await asked(server)
    last = (await stream.event())["id"]
    one = await opened(server, GET, last_event_id=last)
    assert (await one.message())["method"] == "elicitation/create"
    assert b"id: 1" not in await stream.reader.read()
    two = await opened(server, GET, last_event_id=last)
    assert (await two.message())["method"] == "elicitation/create"
    assert await one.ends()
    await answer(server)
    assert (await two.message())["id"] == 1
    for each in (stream, one, two):
        await each.leave()


async def test_what_came_over_get_is_sent_again(server):
    await server.begin(PATH, "2025-11-25")
    stream = await opened(server, GET)
    primer = (await stream.event())["id"]
    # With two in flight nothing tells whose a log message is.
    waiting = [await opened(server, POST, call("never")) for _ in range(2)]
    first = await stream.event()
    await stream.leave()
    for last, sent_again in ((primer, True), (first["id"], False)):
        resumed = await opened(server, GET, last_event_id=last)
        if sent_again:
            assert await resumed.event() == first
        await server.post(PATH, call("x", do="change", path="/dev/null"))
        while "list_changed" not in (await resumed.event())["data"]:
            pass  # What the others said meanwhile.
        await resumed.leave()
    for each in waiting:
        await each.leave()


@pytest.mark.parametrize("last", ["", "x", "a.1.0", "a.99999999999999.1", "a.1.0.", "\xff", "1" * 1000])
async def test_who_comes_back_to_nothing_gets_a_stream_like_any_other(server, last):
    await server.begin(PATH, "2025-11-25")
    stream = await opened(server, GET, last_event_id=last)
    primer = await stream.event()
    assert "retry" in primer
    # With two in flight nothing tells whose a log message is.
    waiting = [await opened(server, POST, call("never")) for _ in range(2)]
    assert "waiting" in (await stream.event())["data"]
    for each in (stream, *waiting):
        await each.leave()


async def test_an_event_is_of_its_session_alone(server):
    stream = await asked(server)
    last = (await stream.event())["id"]
    session = server.session
    await server.begin(PATH, "2025-11-25")
    # As after a restart, too: nothing comes from anywhere, and nobody is left waiting.
    other = await opened(server, GET, last_event_id=last)
    lost = await other.message()
    assert (lost["id"], "lost" in lost["error"]["message"]) == (1, True)
    assert await other.ends()
    server.session = session
    await answer(server)
    assert (await stream.message())["method"] == "elicitation/create"
    assert (await stream.message())["id"] == 1
    for each in (stream, other):
        await each.leave()


async def test_an_event_id_that_was_made_up_answers_nothing(server):
    await server.begin(PATH, "2025-11-25")
    stream = await opened(server, GET, last_event_id="a.1.0.e30")
    refused = await stream.message()
    assert (refused["id"], refused["error"]["code"]) == (None, -32600)
    await stream.leave()


async def test_the_end_of_a_session_ends_what_was_resumed(server):
    stream = await asked(server)
    last = (await stream.event())["id"]
    resumed = await opened(server, GET, last_event_id=last)
    await resumed.event()
    assert (await server.fetch(PATH, "DELETE")).code == 204
    await resumed.reader.readuntil(b"0\r\n\r\n")
    for each in (stream, resumed):
        await each.leave()


async def test_an_old_client_hears_of_no_event_ids(server):
    stream = await asked(server, "2024-11-05")
    assert set(await stream.event()) == {"event", "data"}
    await stream.leave()


def test_what_nobody_comes_back_for_is_forgotten():
    log = EventLog("log")
    ended, going_on = log.begin("2025-11-25"), log.begin("2025-11-25")
    old = ended.put(b"x")
    ended.end()
    log.age()
    assert log.find("log.1.0") == (ended, 0)
    kept = going_on.put(b"x")
    log.age()
    assert log.find(old) is None
    for _ in range(2):
        log.age()
        assert log.find("log.2.0") == (going_on, 0)
    going_on.end()
    log.age()
    assert log.find(kept) is None


def test_of_an_answer_what_is_left_is_sent():
    log = EventLog("log")
    stream = log.begin("2025-11-25", b"1")
    first = stream.at
    ids = [stream.put(b"%d" % number) for number in range(event_log.EVENTS + 5)]
    assert log.find(first) == (stream, 0)
    assert stream.after(0)[1].event_id == ids[5]


def test_so_much_is_remembered_and_not_more():
    log = EventLog("log")
    one, two = log.begin("2025-11-25"), log.begin("2025-11-25")
    first = one.put(b"x")
    ids = [two.put(b"%d" % number) for number in range(event_log.EVENTS)]
    # Nothing after the first is lost, but what came before it is.
    assert log.find(first) == (one, 1)
    assert log.find("log.1.0") is None
    assert log.find(ids[0]) == (two, 1)
    large = two.put(b"x" * (event_log.BYTES + 1))
    assert log.find(ids[0]) is None
    assert log.find(ids[-1]) == (two, event_log.EVENTS)
    assert two.after(event_log.EVENTS)[1].event_id == large
    one.end()
    assert log.find(first) is None
    two.end()
    assert log.find(large) == (two, event_log.EVENTS + 1)
