"""What one grant can make the process hold is bounded, and whoever is refused is told what to do."""

import asyncio
import gc
import json
import tracemalloc

import pytest

from mcpauth.gateway import batch, frames, load
from mcpauth.gateway.exchange import HEAVY, Exchange
from mcpauth.gateway.mailbox import LISTENERS
from mcpauth.gateway.modern.active import REQUESTS, SUBSCRIPTIONS
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, modern_headers, principal
from tests.gateway.test_http import Server, call

LISTEN = {"notifications": {"toolsListChanged": True}}
BIG = "x" * 100_000


@pytest.fixture
def little(monkeypatch):
    """There is room for two of these messages."""
    monkeypatch.setattr(load, "BYTES", 250_000)


async def modern(serve, child, *options):
    gateway = await serve(child("fake", "--modern", *options, "echo", grace=0.2))
    await gateway.settled()
    return gateway


@pytest.mark.parametrize("backend", ["fake", None])
async def test_subscriptions_of_a_grant_are_counted(serve, child, backend):
    gateway = await modern(serve, child)
    client = ModernClient(gateway, backend)
    open_ones = [await client.send("subscriptions/listen", LISTEN) for _ in range(SUBSCRIPTIONS)]
    error = (await client.request("subscriptions/listen", LISTEN))["error"]
    assert error["code"] == -32000
    assert "end one of them first" in error["message"]
    # Everything else goes on, and so do others.
    assert json.loads(await client.text("echo"))["name"] == "echo"
    other = ModernClient(gateway, backend, principal(grant_id="g2"))
    assert (await other.send("subscriptions/listen", LISTEN)).replies is not None
    open_ones[0].replies.leave()
    assert (await client.send("subscriptions/listen", LISTEN)).replies is not None


async def test_modern_requests_of_a_grant_are_counted(serve, child):
    client = ModernClient(await modern(serve, child), "fake")
    under_way = [await client.calling("never") for _ in range(REQUESTS)]
    assert "wait for their answers" in (await client.call("echo"))["error"]["message"]
    under_way[0].replies.leave()
    assert (await client.call("echo"))["result"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_the_bytes_that_wait_are_counted(serve, child, little, era):
    gateway = await serve(child("fake", f"--{era}" if era == "modern" else "echo", "echo", grace=0.2))
    await gateway.settled()
    client = ModernClient(gateway, "fake") if era == "modern" else Client(gateway, "fake")
    other = ModernClient(gateway, "fake", principal(grant_id="g2"))
    if era == "legacy":
        await client.initialize()
    waiting = [await client.calling("never", text=BIG) for _ in range(2)]
    error = (await client.call("echo", text=BIG))["error"]
    assert error["code"] == -32000
    assert "wait for their answers" in error["message"]
    assert await client.text("echo", a=1)
    assert await other.text("echo", text=BIG)
    # What is over, whichever way, counts no more.
    waiting.pop(0).replies.leave()
    gc.collect()
    assert BIG in await client.text("echo", text=BIG)
    assert BIG in await client.text("echo", text=BIG)


async def test_notifications_are_counted(connect, little):
    client = await connect("echo")
    gateway = client.gateway
    message = {"jsonrpc": "2.0", "method": "notifications/x", "params": {"text": BIG}}
    held = [gateway.load.hold("g1", 100_000) for _ in range(2)]
    answer = await client.post(message)
    assert "wait for their answers" in json.loads(answer.reply)["error"]["message"]
    held.clear()
    assert (await client.post(message)).reply is None


async def test_bodies_that_are_still_coming_are_counted(serve, child, little, io_loop):
    server = Server(await serve(child("fake", "--modern", "echo", grace=0.2)))
    message = ModernClient(None, "fake").message("tools/call", {"name": "echo", "arguments": {"text": BIG}})
    server.session = modern_headers(message)
    body = json.dumps(message)
    assert (await server.fetch("/mcp/fake", "POST", message)).code == 200

    def head(length):
        lines = ["POST /mcp/fake HTTP/1.1", "Host: localhost", "Authorization: Bearer good"]
        lines += [f"{name}: {value}" for name, value in server.session.items()]
        return "\r\n".join([*lines, "Content-Type: application/json", f"Content-Length: {length}", "", ""]).encode()

    async def uploading():
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head(len(body)) + body[:-1].encode())
        return writer

    writers = [await uploading() for _ in range(2)]
    while True:
        reply = await server.fetch("/mcp/fake", "POST", message)
        if reply.code == 503:
            break
    assert "wait for their answers" in json.loads(reply.body)["error"]["message"]
    for writer in writers:  # Whoever breaks off makes room.
        writer.close()
    while (await server.fetch("/mcp/fake", "POST", message)).code == 503:
        pass
    await server.close()


async def test_answers_of_a_batch_are_not_gathered_without_end(connect, monkeypatch):
    monkeypatch.setattr(batch, "GATHERED", 250_000)
    client = await connect("large")
    await client.initialize({**INITIALIZE, "protocolVersion": "2025-03-26"})
    parts = [{"jsonrpc": "2.0", **call("large", size=100_000), "id": number} for number in range(5)]
    (answers,) = await client.frames(await client.post(json.dumps(parts).encode()))
    assert {answer["id"] for answer in answers} == set(range(5))
    refused = [answer for answer in answers if "error" in answer]
    assert len(refused) == 3
    assert all("one by one" in answer["error"]["message"] for answer in refused)


async def test_an_initialize_that_could_not_be_remembered_is_refused(serve, child):
    client = Client(await serve(child("fake", "echo")), "fake")
    about = {**INITIALIZE, "capabilities": {"experimental": {"x": "y" * 1_100_000}}}
    assert "initialize may have" in (await client.initialize(about))["error"]["message"]


async def test_a_client_that_declares_too_much_is_refused(serve, child):
    client = ModernClient(await modern(serve, child), "fake", capabilities={"x": "y" * 70_000})
    error = (await client.request("tools/list"))["error"]
    assert error["code"] == -32602
    assert "KiB at most" in error["message"]


async def test_a_server_is_held_when_what_waits_is_heavy():
    held = []
    exchange = Exchange(frames.raw(1), lambda one: held.append(one.full))
    heavy = frames.notification("notifications/message", {"data": "x" * (HEAVY // 2)})
    exchange.put(heavy)
    assert held == []
    exchange.put(heavy)
    exchange.put(heavy)
    assert held == [True]
    await anext(exchange)
    assert held == [True, False]


def test_what_a_server_asks_keeps_nothing_of_it_but_the_id():
    def asked(size):
        (frame,) = frames.messages(b'{"jsonrpc":"2.0","id":"a","method":"ping","params":{"x":"%s"}}' % (b"x" * size))
        return frame["id"]

    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [asked(1_000_000) for _ in range(5)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 1_000_000
    assert {bytes(one) for one in kept} == {b'"a"'}


async def test_a_question_with_an_id_that_is_no_id_is_skipped(connect, caplog):
    client = await connect("ask", "echo")
    waiting = asyncio.create_task(client.call("ask", id="x" * (frames.LONGEST_ID + 1)))
    while "backend_line_skipped" not in caplog.text:  # noqa: ASYNC110 - a log sets no Event
        await asyncio.sleep(0.01)
    assert "echo" in await client.text("echo")
    await client.gateway.end_grant("g1")
    await waiting


async def test_of_too_many_streams_of_a_session_the_oldest_end(connect):
    client = await connect("echo")
    streams = [client.listen() for _ in range(LISTENERS + 1)]
    with pytest.raises(StopAsyncIteration):
        await anext(streams[0])
    reading = asyncio.ensure_future(anext(streams[1]))
    await asyncio.sleep(0)
    assert not reading.done()
    reading.cancel()
