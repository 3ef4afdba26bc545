"""What a legacy server asks, and cannot be told to belong to one call, when its client has no GET stream."""

import asyncio
import json

import pytest

from tests.fakes.mcp_client import INITIALIZE, Client


@pytest.fixture(params=[None, "user"])
def connect(serve, child, request):
    """An initialized client at each of these endpoints; /mcp is None."""

    async def start(*endpoints):
        gateway = await serve(child("fake", "echo", share=request.param), child("other", "more", share=request.param))
        await gateway.settled()
        clients = [Client(gateway, endpoint) for endpoint in endpoints]
        for client in clients:
            await client.initialize({**INITIALIZE, "capabilities": {"elicitation": {}, "roots": {}}})
        return clients

    return start


async def begun(client, request_id):
    """A call that goes on: the child has it."""
    params = {"name": "echo", "arguments": {"do": "begin"}, "_meta": {"progressToken": "t"}}
    replies = (await client.send("tools/call", params, request_id)).replies
    assert (await next_of(replies))["method"] == "notifications/progress"
    return replies


# A child that sessions share is told at once that nobody is there: it is not known whom it means.
own_child = pytest.mark.parametrize("connect", [None], indirect=True)


async def next_of(stream):
    return json.loads(await anext(stream))


async def reply(client, asked):
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"n": 7}})


async def asked_alone(client):
    """The child has asked for the roots while nothing was in flight."""
    assert await client.text("echo", do="alone") == "soon"
    sessions = client.gateway._sessions.of_endpoint(client.backend)
    while not any(session.mailbox.unheard for session in sessions):  # noqa: ASYNC110 - the child asks
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("endpoint", ["fake", None])
async def test_it_is_put_onto_the_newest_stream_that_waits(connect, endpoint):
    (client,) = await connect(endpoint)
    older = asyncio.ensure_future(anext(await begun(client, "older")))
    await asyncio.sleep(0)  # It waits: who only begins to look would be as good.
    newest = (await client.calling("echo", do="ask")).replies
    asked = await next_of(newest)
    assert asked["method"] == "elicitation/create"
    await reply(client, asked)
    assert "7" in (await next_of(newest))["result"]["content"][0]["text"]
    assert not older.done()
    await client.notify("notifications/cancelled", {"requestId": "older"})
    assert "cancelled" in json.loads(await older)["error"]["message"]


async def test_not_where_the_client_has_left_or_takes_no_stream(connect):
    (client,) = await connect("fake")
    stream = await begun(client, "waits")
    waiting = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    no_stream = (await client.calling("echo", do="never")).replies
    no_stream.streams = False
    left = (await client.calling("echo", do="ask")).replies
    left.leave()
    behind = [asyncio.ensure_future(anext(replies)) for replies in (no_stream, left)]
    asked = json.loads(await waiting)
    assert asked["method"] == "elicitation/create"
    await reply(client, asked)
    assert "7" in (await behind[1]).decode()
    behind[0].cancel()


@own_child
async def test_it_is_put_onto_the_next_stream_that_there_is(connect):
    (client,) = await connect("fake")
    await asked_alone(client)
    whole = (await client.calling("echo")).replies
    whole.streams = False
    assert "result" in await next_of(whole)
    asked, answer = await client.frames(await client.calling("echo"))
    assert asked["method"] == "roots/list"
    assert "result" in answer
    # And once.
    assert len(await client.frames(await client.calling("echo"))) == 1


@own_child
async def test_it_is_for_its_own_client_alone(connect):
    client, other = await connect("fake", "fake")
    await asked_alone(client)
    assert len(await other.frames(await other.calling("echo"))) == 1
    assert len(await client.frames(await client.calling("echo"))) == 2


@own_child
async def test_at_mcp_the_stream_may_be_that_of_a_call_of_another_server(connect):
    (client,) = await connect(None)
    await asked_alone(client)
    asked, answer = await client.frames(await client.calling("more"))
    assert asked["method"] == "roots/list"
    assert "result" in answer


async def test_who_listens_is_asked_there(connect):
    (client,) = await connect("fake")
    heard = client.listen()
    waiting = await begun(client, "begun")
    ends = asyncio.ensure_future(anext(waiting))
    newest = (await client.calling("echo", do="ask")).replies
    answered = asyncio.ensure_future(anext(newest))
    asked = await next_of(heard)
    assert asked["method"] == "elicitation/create"
    await reply(client, asked)
    assert "7" in (await answered).decode()
    ends.cancel()


@own_child
async def test_other_messages_wait_for_who_listens(connect):
    (client,) = await connect("fake")
    await asked_alone(client)
    await client.frames(await client.calling("echo"))
    heard = client.listen()
    assert (await next_of(heard))["method"].startswith("notifications/")
