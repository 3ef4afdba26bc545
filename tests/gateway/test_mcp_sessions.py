import asyncio
import json

import pytest

from mcpauth.errors import InvalidMessage, NotAllowed, ParseError, UnknownBackend, UnknownSession
from mcpauth.gateway import mcp_session
from tests.fakes.mcp_client import INITIALIZE, Client, gone, principal


@pytest.fixture
def gateway(serve, child, io_loop):
    return io_loop.run_sync(lambda: serve(child("fake", "echo", grace=0.2)))


async def begin(gateway, backend=None, **who):
    client = Client(gateway, backend, principal(**who))
    await client.initialize()
    return client


async def is_unknown(client):
    return isinstance((await client.send("ping")).error, UnknownSession)


async def test_an_id_works_for_its_owner_at_its_endpoint_alone(gateway):
    client = await begin(gateway)
    for other in (
        Client(gateway, None, principal(subject="bob")),
        Client(gateway, None, principal(client_id="chatgpt")),
        Client(gateway, "fake", principal()),
    ):
        other.session_id = client.session_id
        assert await is_unknown(other)
        with pytest.raises(UnknownSession):
            other.listen()
        with pytest.raises(UnknownSession):
            gateway.end_session(other.who, backend=other.backend, session_id=other.session_id)
    assert not await is_unknown(client)


async def test_a_grant_that_was_not_given_the_server_neither_hears_nor_ends_its_sessions(gateway):
    client = await begin(gateway, "fake")
    other = Client(gateway, "fake", principal(grant_id="g2", servers={"files": None}))
    other.session_id = client.session_id
    with pytest.raises(NotAllowed):
        other.listen()
    with pytest.raises(NotAllowed):
        gateway.end_session(other.who, backend="fake", session_id=other.session_id)
    assert await client.text("echo") == '{"name": "echo", "arguments": {}}'


async def test_a_sixth_session_of_a_grant_ends_the_one_that_was_used_least_recently(gateway):
    clients = [await begin(gateway) for _ in range(5)]
    bystander = await begin(gateway, grant_id="g2")
    assert not await is_unknown(clients[0])
    clients.append(await begin(gateway))
    assert [await is_unknown(client) for client in clients] == [False, True, False, False, False, False]
    assert not await is_unknown(bystander)


async def test_who_begins_sessions_faster_than_they_end_has_to_wait(serve, child):
    """Each that is still ending has a child: here one that does not want to."""
    served = child("fake", "echo", "--stubborn", grace=60)
    gateway = await serve(served)
    while gateway._catalogue.asking("fake"):  # The one that is asked what it offers does not want, either.
        served.kill()
        await asyncio.sleep(0.01)
    for _ in range(10):
        client = await begin(gateway, "fake")
        gateway.end_session(client.who, backend="fake", session_id=client.session_id)
    refused = await Client(gateway, "fake").send("initialize", INITIALIZE)
    error = json.loads(refused.reply)["error"]
    assert "wait a moment" in error["message"]
    assert refused.session_id is None
    assert json.loads(refused.reply)["id"] == 1
    # Another client is another client.
    assert (await (await begin(gateway, "fake", grant_id="g2")).request("ping"))["result"]
    served.kill()
    await asyncio.gather(*gateway._sessions._closing)
    assert (await (await begin(gateway, "fake")).request("ping"))["result"]
    served.kill()


async def test_a_day_without_use_ends_a_session_and_its_child(gateway, ambient):
    idle, listening = await begin(gateway, "fake"), await begin(gateway, "fake")
    pid = int(await idle.text("x", do="pid"))
    stream = listening.listen()
    ambient.time += 24 * 3600
    assert await is_unknown(idle)
    assert not await is_unknown(listening)
    gateway._sessions.sweep()
    await gone(pid)
    stream.close()


async def test_the_end_of_a_grant_ends_its_streams_requests_and_children(gateway):
    client, other = await begin(gateway, "fake"), await begin(gateway, "fake", grant_id="g2")
    pid = int(await client.text("x", do="pid"))
    stream = client.listen()
    waiting = asyncio.create_task(client.call("never"))
    await client.request("ping")
    await gateway.end_grant("g1")
    await gone(pid)
    assert "error" in await waiting
    assert [message async for message in stream] == []
    assert await is_unknown(client)
    assert not await is_unknown(other)


async def test_a_session_that_is_ended_while_its_server_starts_leaves_nothing(serve, child):
    gateway = await serve(child("fake", "--silent", grace=0.1))
    client = Client(gateway, "fake")
    opening = asyncio.create_task(client.initialize())
    await asyncio.sleep(0)
    await gateway.end_grant("g1")
    assert "ended" in (await opening)["error"]["message"]


@pytest.mark.parametrize(
    ("body", "kind", "request_id"),
    [
        (b"", ParseError, None),
        (b"{", ParseError, None),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', ParseError, None),
        (b"[" * 100_000, InvalidMessage, None),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', InvalidMessage, None),
        (b'"x"', InvalidMessage, None),
        (b'{"id":1,"method":"ping"}', InvalidMessage, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', InvalidMessage, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', InvalidMessage, None),
        (b'{"jsonrpc":"2.0","id":"a","method":7}', InvalidMessage, "a"),
        (b'{"jsonrpc":"2.0","id":"a"}', InvalidMessage, "a"),
        (b'{"jsonrpc":"2.0","id":"a","method":"ping"}', InvalidMessage, "a"),
        (b'{"jsonrpc":"2.0","method":"notifications/initialized"}', InvalidMessage, None),
    ],
)
async def test_what_is_no_message_or_has_no_session_is_refused(gateway, body, kind, request_id):
    answer = await Client(gateway).post(body)
    assert isinstance(answer.error, kind)
    reply = json.loads(answer.reply)
    assert reply["id"] == request_id
    assert reply["error"]["code"] == kind.code


async def test_an_unknown_server_is_not_there(gateway):
    assert isinstance((await Client(gateway, "nothing").send("ping")).error, UnknownBackend)


async def test_an_answer_that_nobody_waits_for_is_taken(gateway):
    client = await begin(gateway)
    assert (await client.post({"jsonrpc": "2.0", "id": 77, "result": {}})).reply is None


async def test_a_client_that_leaves_its_requests_may_not_begin_ever_more(gateway, monkeypatch):
    monkeypatch.setattr(mcp_session, "UNDER_WAY", 2)
    client = await begin(gateway, "fake")
    await client.text("pid")
    left = [await client.send("tools/call", {"name": "never"}, request_id=number) for number in (11, 12)]
    for answer in left:
        answer.replies.leave()
    going_on = [asyncio.create_task(client.frames(answer)) for answer in left]
    await asyncio.sleep(0)
    assert "under way" in (await client.request("ping"))["error"]["message"]
    assert "under way" in await client.text("echo")
    await client.notify("notifications/cancelled", {"requestId": 11})
    await going_on[0]
    assert "result" in await client.request("ping")
    await client.notify("notifications/cancelled", {"requestId": 12})
    await asyncio.gather(*going_on)
