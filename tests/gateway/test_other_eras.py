"""Servers that speak other eras than they did."""

import asyncio
import json

import pytest

from mcpauth.gateway import leaving, probe
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient
from tests.fakes.mcp_http_modern import ModernHttpServer

NEWEST = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}


def becomes(served, **changes):
    """The next process of it is another version."""
    served.file.write_text(json.dumps(json.loads(served.file.read_text()) | changes))


async def asked(gateway, backend):
    """Once it has been asked what it offers."""
    while gateway._catalogue.asking(backend):
        await gateway._catalogue.remembered(backend)


@pytest.mark.parametrize("share", [None, "all"])
@pytest.mark.parametrize("make", [Client, ModernClient])
@pytest.mark.parametrize("backend", ["one", None])
async def test_a_program_that_is_of_the_newer_era_alone_by_now_is_asked_again(serve, lists, share, make, backend):
    one = lists("one", tools=["a"], share=share)
    gateway = await serve(one)
    await gateway.settled()
    client = make(gateway, backend)
    if make is Client:
        await client.initialize(NEWEST)
    assert await client.names() == ["a"]
    becomes(one, era="--modern")
    assert "try again" in json.dumps(await client.call("a"))
    assert '"by": "one"' in await client.text("a")


async def test_who_is_refused_at_the_beginning_can_begin_then(serve, lists):
    one = lists("one", tools=["a"])
    gateway = await serve(one)
    await gateway.settled()
    becomes(one, era="--modern")
    odd = NEWEST | {"clientInfo": {"name": "n" * 5000, "version": "1"}}
    assert "error" in await Client(gateway, "one").initialize(odd)
    await asked(gateway, "one")
    client = Client(gateway, "one")
    await client.initialize(odd)
    assert '"by": "one"' in await client.text("a")


@pytest.fixture
def far(io_loop, serve):
    """A remote server of the eras, with a gateway that asks it ``again`` what it offers."""
    begun = []

    async def begin(**eras):
        server = ModernHttpServer(**eras)
        served = Served(HttpBackend("remote", RemoteServer(url=server.url), {}))
        begun.append(server)
        server.gateway, server.served = await serve(served), served
        await server.gateway.settled()
        await asked(server.gateway, "remote")

        async def again():
            server.gateway._catalogue.refresh("remote")
            await asked(server.gateway, "remote")

        server.again = again
        return server

    yield begin
    for server in begun:
        io_loop.run_sync(server.close)


def status(code):
    async def answer(handler):
        handler.set_status(code)
        handler.finish("<h1>Sorry</h1>")

    return answer


async def silent(handler):
    await handler.gone


async def error(handler):
    handler.reply(error={"code": -32601, "message": "Method not found"})


async def eras(far):
    """In which the server hears the calls of a client of either era."""
    await ModernClient(far.gateway, "remote").call("echo")
    legacy = Client(far.gateway, "remote")
    await legacy.initialize()
    await legacy.call("echo")
    metas = [handler.message["params"].get("_meta", {}) for handler in far.of("tools/call")[-2:]]
    return ["modern" if "io.modelcontextprotocol/protocolVersion" in meta else "legacy" for meta in metas]


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(probe, "SILENCE", 0.1)
    monkeypatch.setattr(probe, "OTHER_ERA", 0.5)


@pytest.mark.parametrize("failure", [status(503), status(429), status(401), silent, lambda handler: handler.cut()])
@pytest.mark.parametrize("method", ["server/discover", "initialize"])
async def test_what_only_the_way_to_a_server_hides_still_holds(far, impatient, method, failure):
    server = await far(dual=True)
    assert await eras(server) == ["modern", "legacy"]
    well, server.acts[method] = server.acts[method], failure
    await server.again()
    server.acts[method] = well
    assert [state.state for state in server.gateway.backends()] == ["ok"]
    assert await eras(server) == ["modern", "legacy"]


@pytest.mark.parametrize("denial", [status(404), status(400), error])
@pytest.mark.parametrize(("method", "left"), [("server/discover", "legacy"), ("initialize", "modern")])
async def test_what_it_denies_to_know_it_speaks_no_more(far, method, left, denial):
    server = await far(dual=True)
    server.acts[method] = denial
    await server.again()
    assert await eras(server) == [left, left]


@pytest.mark.parametrize(("make", "lacks"), [(ModernClient, "server/discover"), (Client, "initialize")])
async def test_what_goes_over_a_bridge_goes_on_when_none_is_needed_any_more(far, monkeypatch, make, lacks):
    monkeypatch.setattr(leaving, "GLANCE", 0.01)
    server = await far(dual=True)
    spoken, server.acts[lacks] = server.acts[lacks], error
    await server.again()
    client = make(server.gateway, "remote")
    if make is Client:
        await client.initialize(NEWEST)
    arrived, go_on, called = asyncio.Event(), asyncio.Event(), server.acts["tools/call"]

    async def slow(handler):
        arrived.set()
        await go_on.wait()
        await called(handler)

    server.acts["tools/call"] = slow
    waiting = asyncio.create_task(client.call("echo"))
    await arrived.wait()
    server.acts |= {lacks: spoken, "tools/call": called}
    await server.again()
    assert await eras(server) == ["modern", "legacy"]
    assert not waiting.done()
    go_on.set()
    assert "isError" not in (await waiting)["result"]
    while server.served._left:  # noqa: ASYNC110 - nothing tells that it has ended
        await asyncio.sleep(0.01)


async def test_what_goes_over_a_bridge_that_is_not_needed_ends_with_us(far):
    server = await far(dual=True)
    spoken, server.acts["server/discover"] = server.acts["server/discover"], error
    await server.again()
    arrived = asyncio.Event()

    async def never(handler):
        arrived.set()
        await handler.gone

    server.acts["tools/call"] = never
    waiting = asyncio.create_task(ModernClient(server.gateway, "remote").call("echo"))
    await arrived.wait()
    server.acts["server/discover"] = spoken
    await server.again()
    await server.gateway.close()
    assert "mcpauth is stopping" in json.dumps(await waiting)
