"""A remote server that says without end what nobody waits for is read slowly; nothing of it is lost."""

import asyncio
import json
from collections import defaultdict

import pytest

from mcpauth.gateway import stray
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.exchange import HIGH
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from mcpauth.gateway.sse import EventSource
from tests.fakes.mcp_client import Client, ModernClient, principal
from tests.fakes.mcp_http_modern import COMPLETE, ModernHttpServer
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.test_http_backend_2024 import OldServer

SERVERS = {"legacy": McpHttpServer, "modern": ModernHttpServer, "2024": OldServer}

# What nobody waits for.
STRAY = {
    "garbage": "data: {]\n\n",
    "unknown event": "event: x\ndata: y\n\n",
    "answer to nobody": 'data: {"jsonrpc": "2.0", "id": 12345, "result": {}}\n\n',
    "comment": ":\n",
}


@pytest.fixture
def flooded(serve, child, io_loop):
    """A client of a server that first says ``stray`` so often, and then answers its call; and somebody else's client
    of another server."""
    started = []

    async def start(era, said, count):
        far = SERVERS[era]()
        started.append(far)

        async def call(handler):
            stream = handler
            if era == "2024":
                await far.accept(handler)
                stream = far.stream_of(handler)
            stream.set_header("Content-Type", "text/event-stream")
            stream.write(said * count)
            await stream.event({"id": handler.message["id"], "result": {**COMPLETE, **handler.text("done")}})
            if era != "2024":
                handler.finish()

        far.acts["tools/call"] = call
        remote = RemoteServer(url=far.url, type="sse") if era == "2024" else RemoteServer(url=far.url)
        gateway = await serve(Served(HttpBackend("remote", remote, {})), child("other", "echo"))
        await gateway.settled()
        client = ModernClient(gateway, "remote") if era == "modern" else Client(gateway, "remote")
        other = Client(gateway, "other", principal(subject="ben", grant_id="g2"))
        await other.initialize()
        if era != "modern":
            await client.initialize()
        return client, other

    yield start
    for far in started:
        io_loop.run_sync(far.close)


@pytest.mark.parametrize(
    ("era", "said"),
    # In the modern era, what comes back for a request is its answer.
    [(era, said) for era in SERVERS for said in STRAY if (era, said) != ("modern", "answer to nobody")],
)
async def test_others_have_their_turn(flooded, monkeypatch, era, said):
    client, other = await flooded(era, STRAY[said], stray.MESSAGES)
    monkeypatch.setattr(stray, "PAUSE", 10_000.0)
    call = asyncio.create_task(client.call("echo"))
    # Its answer came with what nobody waits for, and is not read before the pause is over.
    for _ in range(30):
        assert await other.text("echo")
    assert not call.done()
    call.cancel()


@pytest.mark.parametrize("era", SERVERS)
async def test_in_the_end_all_of_it_is_read(flooded, era):
    said = "".join(STRAY[one] for one in ("garbage", "unknown event", "comment"))
    client, _ = await flooded(era, said, 3 * stray.MESSAGES)
    assert (await client.call("echo"))["result"]["content"][0]["text"] == "done"


async def test_so_is_the_stream_of_what_belongs_to_no_request(serve, monkeypatch):
    monkeypatch.setattr(stray, "PAUSE", 10_000.0)
    far, listened = McpHttpServer(), asyncio.get_running_loop().create_future()

    async def listen(handler):
        notification = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": 1}}
        handler.set_header("Content-Type", "text/event-stream")
        handler.write(f"data: {json.dumps(notification)}\n\n" * 3 * stray.MESSAGES)
        await handler.flush()
        listened.set_result(handler)
        await handler.gone

    far.acts["GET"] = listen
    client = Client(await serve(Served(HttpBackend("remote", RemoteServer(url=far.url), {}))), "remote")
    await client.initialize()
    heard = client.listen()
    await listened
    for _ in range(stray.MESSAGES):
        await anext(heard)
    more = asyncio.create_task(anext(heard))
    for _ in range(30):
        await client.request("ping")
    assert not more.done()
    more.cancel()
    await client.gateway.close()
    await far.close()


async def test_progress_that_comes_elsewhere_does_not_pile_up_for_who_does_not_read(serve, monkeypatch):
    monkeypatch.setattr(stray, "PAUSE", 0.0)
    far, go_on = McpHttpServer(), asyncio.Event()
    streams = defaultdict(asyncio.get_running_loop().create_future)  # by session

    async def listen(handler):
        handler.set_header("Content-Type", "text/event-stream")
        await handler.flush()
        streams[handler.request.headers["Mcp-Session-Id"]].set_result(handler)
        await handler.gone

    async def call(handler):
        token = handler.message["params"]["_meta"]["progressToken"]
        await handler.event({"method": "notifications/progress", "params": {"progressToken": token, "progress": 0}})
        stream = await streams[handler.request.headers["Mcp-Session-Id"]]
        for progress in range(1, 201):
            about = {"progressToken": token, "progress": progress}
            await stream.event({"method": "notifications/progress", "params": about})
        await stream.event({"method": "notifications/message", "params": {"level": "info", "data": "all was said"}})
        await go_on.wait()
        await handler.answer(handler.text("done"))
        handler.finish()

    far.acts |= {"GET": listen, "tools/call": call}
    client = Client(await serve(Served(HttpBackend("remote", RemoteServer(url=far.url), {}))), "remote")
    await client.initialize()
    heard = client.listen()
    params = {"name": "echo", "arguments": {}, "_meta": {"progressToken": "mine"}}
    replies = (await client.send("tools/call", params)).replies
    assert json.loads(await anext(replies))["params"]["progress"] == 0
    assert b"all was said" in await anext(heard)
    go_on.set()
    rest = [json.loads(message) async for message in replies]
    assert rest.pop()["result"]["content"][0]["text"] == "done"
    assert [one["params"]["progress"] for one in rest] == list(range(1, HIGH + 1))
    await client.gateway.close()
    await far.close()


def test_a_messages_own_lines_are_not_counted():
    source = EventSource()
    assert list(source.feed(b": one\nid: 1\nevent: x\nretry: 5\ndata: a\ndata: b\n\nother: two\n\n"))
    assert source.take_silent() == 3
    assert source.take_silent() == 0
