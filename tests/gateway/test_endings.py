"""A grant that ends, or a client that leaves, before anybody could know of its request: nothing runs after that."""

import asyncio
import json

import pytest

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.endings import REMEMBERED, Endings
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient, modern_headers, principal
from tests.fakes.mcp_http_modern import ModernHttpServer
from tests.gateway.test_http import Server

CALL = {"name": "echo", "arguments": {}}


@pytest.fixture
def far(io_loop):
    """A remote server that does not say what it is before ``known`` is set."""

    async def start():
        server = ModernHttpServer()
        server.known = asyncio.Event()

        async def discover(handler):
            await server.known.wait()
            await server.discover(handler)

        server.acts["server/discover"] = discover
        return server

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.fixture
def gateway(serve, far, io_loop):
    return io_loop.run_sync(lambda: serve(Served(HttpBackend("far", RemoteServer(url=far.url), {}))))


@pytest.fixture
def server(gateway, io_loop):
    async def start():
        return Server(gateway)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.mark.parametrize("backend", ["far", None])
@pytest.mark.parametrize("method", ["tools/call", "subscriptions/listen"])
@pytest.mark.parametrize("how", ["end_grant", "pause_grant"])
async def test_a_request_that_waited_for_the_first_probe_ends_with_its_grant(gateway, far, backend, method, how):
    client, other = ModernClient(gateway, backend), ModernClient(gateway, backend, principal(grant_id="g2"))
    waiting = asyncio.create_task(client.send(method, {**CALL, "notifications": {"toolsListChanged": True}}))
    served = asyncio.create_task(other.text("echo"))
    await asyncio.sleep(0)
    await getattr(gateway, how)("g1")
    far.known.set()
    answer = await waiting
    assert answer.replies is None
    assert json.loads(answer.reply)["error"]["code"] == -32000
    # Another's, which waited just as long, runs.
    assert await served == "called"
    assert len(far.of("tools/call")) == 1
    assert far.of("subscriptions/listen") == []


async def test_a_client_that_leaves_meanwhile_has_asked_nothing(server, far):
    message = ModernClient(None, "far").message("tools/call", CALL)
    server.session = modern_headers(message)
    _, writer = await server.stream("POST /mcp/far HTTP/1.1", message)
    for _ in range(2):  # It is there by now; and then it is known to be gone.
        assert (await server.fetch("/mcp/far", "GET")).code == 405
        writer.close()
    far.known.set()
    reply = await server.fetch("/mcp/far", "POST", message)
    assert reply.code == 200
    assert len(far.of("tools/call")) == 1


async def test_a_body_that_comes_after_the_grant_has_ended_is_not_looked_at(server, gateway, far):
    far.known.set()
    message = ModernClient(None, "far").message("tools/call", CALL)
    server.session = modern_headers(message)
    body = json.dumps(message)
    assert (await server.fetch("/mcp/far", "POST", message)).code == 200
    lines = ["POST /mcp/far HTTP/1.1", "Host: localhost", "Authorization: Bearer good"]
    lines += [f"{name}: {value}" for name, value in server.session.items()]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "Expect: 100-continue", "", ""]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write("\r\n".join(lines).encode())
    assert b" 100 " in await reader.readuntil(b"\r\n\r\n")  # It was let in.
    server.gate.ended = True
    await gateway.end_grant("g1")
    writer.write(body.encode())
    assert b" 401 " in await reader.readuntil(b"\r\n\r\n")
    assert len(far.of("tools/call")) == 1
    writer.close()


def test_what_cannot_be_remembered_counts_as_ended():
    endings = Endings()
    endings.note("a")
    before = endings.count
    assert not endings.since("a", before)
    endings.note("b")
    assert endings.since("b", before)
    assert not endings.since("a", before)
    for number in range(REMEMBERED):
        endings.note(f"c{number}")
    assert endings.since("a", before)
    assert not endings.since("a", endings.count)


async def test_a_list_that_waited_is_told_to_nobody_whose_grant_has_ended(serve, child):
    gateway = await serve(child("fake", "echo"))
    await gateway.settled()
    client = Client(gateway, "fake")
    newest = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
    await client.initialize(newest)
    gateway._catalogue.refresh("fake")
    waiting = asyncio.create_task(client.send("tools/list"))
    await asyncio.sleep(0)
    assert not waiting.done()
    await gateway.end_grant(client.who.grant_id)
    assert "echo" not in str((await waiting).reply)
