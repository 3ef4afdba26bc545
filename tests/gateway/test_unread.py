"""What a client does not read is bounded in all: then the server waits, or an answer is dropped with an error."""

import asyncio
import gc
import json

import pytest

from mcpauth.gateway import batch, exchange, frames, http_turns
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.exchange import Exchange, Pace
from mcpauth.gateway.files.backend import FilesBackend
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.load import LARGE, UNREAD, Load, Unread
from mcpauth.gateway.served import Served
from mcpauth.web import mcp
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, principal
from tests.fakes.mcp_http_modern import COMPLETE, ModernHttpServer
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.test_http import Server, call
from tests.gateway.test_http_backend_2024 import OldServer
from tests.gateway.test_sse import SseServer

SIZE = 2 * LARGE
# More than what the kernel takes of it.
HUGE = 14 * 1024 * 1024
BEN = principal(subject="ben", grant_id="g2")


async def until(happened):
    """Returns once it has; the test's own time limit ends the wait."""
    while not happened():  # noqa: ASYNC110 - the other side of a connection sets no Event
        await asyncio.sleep(0.01)


class Far:
    """Remote servers of every kind, whose tool says as much as it is asked for."""

    def __init__(self):
        self.started, self.sent = [], 0

    def start(self, kind, *, streams):
        far = {"legacy": McpHttpServer, "modern": ModernHttpServer, "2024": OldServer}[kind]()
        self.started.append(far)

        async def act(handler):
            arguments = handler.message["params"].get("arguments", {})
            result = {**COMPLETE, **handler.text("x" * arguments.get("size", 0))}
            if kind == "2024":
                await far.tell(handler, result)
            elif streams:
                await handler.answer(result)
                handler.finish()
            else:
                handler.reply(result)
                await handler.flush() if not handler._finished else None
            self.sent += 1

        far.acts["tools/call"] = act
        given = {"type": "sse"} if kind == "2024" else {}
        return Served(HttpBackend("remote", RemoteServer(url=far.url, **given), {}))


@pytest.fixture
def far(io_loop):
    far = Far()
    yield far
    for server in far.started:
        io_loop.run_sync(server.close)


@pytest.fixture
def serving(serve, child, far):
    """Makes the gateway of one server of the ``kind``, and of another server called other."""

    async def start(kind):
        match kind.split():
            case ["child", *options]:
                served = child("fake", "large", "echo", *(f"--{one}" for one in options), grace=0.2)
            case [kind, *streams]:
                served = far.start(kind, streams=bool(streams))
        gateway = await serve(served, child("other", "echo", grace=0.2))
        await gateway.settled()
        return gateway, served.name

    return start


async def begun(gateway, backend, era, who=None):
    if era == "modern":
        return ModernClient(gateway, backend, who)
    client = Client(gateway, backend, who)
    await client.initialize()
    return client


KINDS = ["child", "child modern", "legacy", "legacy streams", "modern", "modern streams", "2024"]


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("kind", KINDS)
async def test_an_answer_for_which_there_is_no_room_waits(serving, kind, era):
    gateway, backend = await serving(kind)
    client = await begun(gateway, backend, era)
    other = await begun(gateway, "other", "legacy", BEN)
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)  # This client has not read what it asked for before.
    waiting = asyncio.create_task(client.call("large", size=SIZE))
    for _ in range(20):
        await other.text("echo")
    assert not waiting.done()
    unread.less(UNREAD)
    assert len((await waiting)["result"]["content"][0]["text"]) == SIZE
    await until(lambda: unread.size == 0)


@pytest.mark.parametrize("kind", ["child", "2024"])
async def test_what_is_one_sessions_alone_is_not_read_until_then(serving, kind):
    gateway, backend = await serving(kind)
    client = await begun(gateway, backend, "legacy")
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)
    calls = [asyncio.create_task(client.call("large", size=SIZE)) for _ in range(5)]
    await until(lambda: unread._waiting)
    other = await begun(gateway, "other", "legacy", BEN)
    for _ in range(20):
        await other.text("echo")
    assert sum(unread._waiting.values()) < 2 * SIZE
    unread.less(UNREAD)
    assert all("result" in answer for answer in await asyncio.gather(*calls))
    assert unread.size == 0


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_of_what_is_shared_it_is_dropped_when_others_wait(serve, child, monkeypatch, era):
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)
    gateway = await serve(child("fake", "large", "echo", f"--{era}", grace=0.2, share="all"))
    await gateway.settled()
    client, other = await begun(gateway, "fake", era), await begun(gateway, "fake", era, BEN)
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)
    first = asyncio.create_task(client.call("large", size=SIZE))
    await until(lambda: unread._waiting)
    # Alone it waits; when somebody else does, it is given up.
    assert await other.text("echo")
    error = (await first)["error"]
    assert error["code"] == -32000
    assert "read them first" in error["message"]
    assert (await client.call("echo"))["result"]
    unread.less(UNREAD)
    assert "result" in await client.call("large", size=SIZE)
    assert unread.size == 0


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_nothing_is_dropped_for_ones_own_sake(serve, child, monkeypatch, era):
    monkeypatch.setattr(exchange, "PATIENCE", 0.0)
    monkeypatch.setattr(exchange, "GLANCE", 0.0)
    gateway = await serve(
        child("fake", "large", f"--{era}", grace=0.2, share="user"), child("other", "echo", grace=0.2)
    )
    await gateway.settled()
    client, other = await begun(gateway, "fake", era), await begun(gateway, "other", "legacy", BEN)
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)
    calls = [asyncio.create_task(client.call("large", size=SIZE)) for _ in range(5)]
    await until(lambda: unread._waiting)
    for _ in range(20):
        await other.text("echo")
    unread.less(UNREAD)
    assert all("result" in answer for answer in await asyncio.gather(*calls))


@pytest.mark.parametrize("kind", ["child modern", "modern", "modern streams"])
async def test_a_client_that_leaves_gives_up_what_waits(serving, kind):
    gateway, backend = await serving(kind)
    client = ModernClient(gateway, backend)
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)
    answer = await client.calling("large", size=SIZE)
    reading = asyncio.create_task(anext(answer.replies))
    await until(lambda: unread._waiting)
    answer.replies.leave()
    assert "has left" in json.loads(await reading)["error"]["message"]
    assert not unread._waiting
    unread.less(UNREAD)
    assert unread.size == 0


async def test_what_is_computed_here_is_not_kept(serve, ambient, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.txt").write_text("x" * SIZE)
    files = FilesBackend(
        "files", tmp_path / "files", write=False, index=tmp_path / "i", data_dir=tmp_path, ambient=ambient
    )
    gateway = await serve(Served(files))
    await gateway.settled()
    for era in ("modern", "legacy"):
        client = await begun(gateway, "files", era)
        assert "result" in await client.call("read_file", path="a.txt")
        gateway.load.unread("g1").add(UNREAD)
        assert "read them first" in (await client.call("read_file", path="a.txt"))["error"]["message"]
        assert "result" in await client.call("read_file", path="a.txt", limit=100)
        gateway.load.unread("g1").less(UNREAD)


@pytest.mark.parametrize("kind", ["legacy", "legacy streams", "modern", "modern streams"])
async def test_a_remote_servers_large_answers_are_read_few_at_a_time(serving, far, monkeypatch, kind):
    monkeypatch.setattr(http_turns, "AT_ONCE", 2)
    gateway, backend = await serving(kind)
    client = await begun(gateway, backend, kind.split()[0])
    unread = gateway.load.unread("g1")
    unread.add(UNREAD)
    calls = [asyncio.create_task(client.call("large", size=HUGE)) for _ in range(4)]
    await until(lambda: len(unread._waiting) == 2)
    other = await begun(gateway, "other", "legacy", BEN)
    for _ in range(50):
        await other.text("echo")
    assert len(unread._waiting) == 2
    # What is small does not have to wait for that.
    assert "result" in await client.call("large", size=10)
    unread.less(UNREAD)
    assert all(len(answer["result"]["content"][0]["text"]) == HUGE for answer in await asyncio.gather(*calls))
    assert unread.size == 0


@pytest.fixture
def front(serving, io_loop):
    """The HTTP side of it, and its account of what the client has not read."""
    started = []

    async def start(kind, json_within=mcp.JSON_WITHIN):
        gateway, backend = await serving(kind)
        server = Server(gateway, json_within)
        started.append(server)
        await server.begin(f"/mcp/{backend}")
        return server, gateway.load.unread("g1")

    yield start
    for server in started:
        io_loop.run_sync(server.close)


@pytest.mark.parametrize("json_within", [0.0, 3600.0])
@pytest.mark.parametrize("leaves", [False, True])
async def test_what_was_handed_to_a_connection_counts_until_it_is_read(front, leaves, json_within):
    server, unread = await front("child", json_within)
    streams = [await server.stream("POST /mcp/fake HTTP/1.1", call("large", size=HUGE)) for _ in range(8)]
    # Four of them are all that there is room for, and the child is not read any more.
    await until(lambda: unread._waiting)
    assert UNREAD - HUGE < unread.size < UNREAD + LARGE
    for reader, writer in streams:
        if leaves:
            writer.close()
        else:
            read = 0
            while read < HUGE:
                read += len(await reader.read(2**20))
            writer.close()
    await until(lambda: unread.size == 0 and not unread._waiting)
    assert (await server.post("/mcp/fake", call("large", size=SIZE))).code == 200


async def test_a_connection_of_which_nothing_is_read_is_closed_in_the_end(front):
    server, unread = await front("child")
    streams = [await server.stream("POST /mcp/fake HTTP/1.1", call("large", size=HUGE)) for _ in range(5)]
    await until(lambda: unread._waiting)
    server._server.close_waiting(3600)
    reader, writer = streams[0]
    await reader.readexactly(HUGE - 2**20)
    assert unread.size > UNREAD - 2 * HUGE
    server._server.close_waiting(0)
    await until(lambda: unread.size == 0)
    # One that reads, however slowly, gets the rest.
    assert await reader.readexactly(2**20)
    assert (await server.post("/mcp/fake", call("large", size=SIZE))).code == 200
    for _, writer in streams:
        writer.close()


async def test_a_connection_of_2024_that_is_not_read_counts_too(serve, child, ambient):
    gateway = await serve(child("fake", "large", grace=0.2))
    await gateway.settled()
    server = SseServer(gateway, ambient)
    stream = await server.begin()
    unread = gateway.load.unread("g1")
    for number in range(1, 8):
        await server.post(stream.address, {**call("large", size=HUGE), "id": number})
    await until(lambda: unread._waiting)
    assert UNREAD - HUGE < unread.size < UNREAD + LARGE
    read = 0
    while read < 3 * HUGE:
        read += len(await stream.reader.read(2**20))
    await stream.leave()
    await until(lambda: unread.size == 0)
    await server.close()


async def test_a_client_that_is_paused_and_goes_on_has_no_more_room_than_before(serving):
    gateway, backend = await serving("child")
    client = await begun(gateway, backend, "legacy")
    gateway.load.unread("g1").add(UNREAD)
    await gateway.pause_grant("g1")
    waiting = asyncio.create_task(client.call("large", size=SIZE))
    unread = gateway.load.unread("g1")
    await until(lambda: unread._waiting)
    unread.less(UNREAD)
    assert "result" in await waiting
    await gateway.end_grant("g1")
    assert gateway.load.unread("g1") is not unread


async def test_all_batches_of_a_grant_have_so_much_room_together(connect, monkeypatch):
    monkeypatch.setattr(batch, "GATHERED", 250_000)
    first = await connect("large", "never")
    await first.initialize({**INITIALIZE, "protocolVersion": "2025-03-26"})
    second = Client(first.gateway, "fake")
    await second.initialize({**INITIALIZE, "protocolVersion": "2025-03-26"})
    parts = [call("large", size=100_000), call("large", size=100_000), call("never")]
    body = json.dumps([{"jsonrpc": "2.0", **part, "id": number} for number, part in enumerate(parts)]).encode()
    replies = (await first.post(body)).replies
    assert json.loads(await anext(replies))["params"]["data"] == "waiting"
    going_on = asyncio.create_task(anext(replies))
    unread = first.gateway.load.unread("g1")
    await until(lambda: unread.gathered > 200_000)
    (answers,) = await second.frames(await second.post(json.dumps([{"jsonrpc": "2.0", **parts[0]}]).encode()))
    assert "one by one" in answers[0]["error"]["message"]
    assert not going_on.done()
    await first.notify("notifications/cancelled", {"requestId": 2})
    assert len(json.loads(await going_on)) == 3
    (answers,) = await second.frames(await second.post(json.dumps([{"jsonrpc": "2.0", **parts[0]}]).encode()))
    assert "result" in answers[0]
    assert unread.gathered == 0


async def test_room_is_given_in_order_and_comes_back_when_nobody_reads_any_more():
    unread, order = Unread(), []
    unread.add(UNREAD)

    def waiting(name, size):
        unread.wait(size, lambda: order.append(name))

    waiting("large", UNREAD // 2 + 1)
    waiting("small", UNREAD // 2)
    unread.less(UNREAD // 2)
    await asyncio.sleep(0)
    assert order == []
    unread.less(1)
    await asyncio.sleep(0)
    assert order == ["large"]
    unread.less(UNREAD // 2)
    await asyncio.sleep(0)
    assert order == ["large", "small"]

    unread = Load().unread("g1")
    held = Exchange(frames.raw(1), Pace(lambda: None, lambda: None))
    held.unread = unread
    held.finish(frames.result(frames.raw(1), "x" * SIZE))
    assert unread.size > SIZE
    del held
    gc.collect()
    assert unread.size == 0


async def test_what_is_as_large_as_can_be_is_let_in_alone():
    unread = Unread()
    assert unread.has_room(UNREAD + 1)
    unread.add(1)
    assert not unread.has_room(UNREAD)
