"""Servers whose lists depend on what their client declares: lists from memory, and the probe that fills it."""

import asyncio
import json
from collections import defaultdict

import pytest

from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.probe import probe
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.bridge.conftest import FAKES
from tests.gateway.test_http_backend_2024 import OldServer

APPS = {"extensions": {"io.modelcontextprotocol/ui": {"mimeTypes": ["text/html;profile=mcp-app"]}}}
ASKED = {"roots": {}, "sampling": {}, "elicitation": {"form": {}, "url": {}}}
ALL = {**ASKED, **APPS}
THEIRS = ["always", "answers", "with_roots", "with_sampling", "with_elicitation", "with_apps"]
OTHERS = ["always", "answers", "alone"]


@pytest.fixture
def choosy(child):
    def make(*options, name="choosy", **given):
        return child(name, args=(str(FAKES / "mcp_choosy_child.py"), *options), **given)

    return make


async def begin(gateway, backend, era, declared):
    if era == "modern":
        return ModernClient(gateway, backend, None, declared)
    client = Client(gateway, backend)
    info = {"name": "t", "version": "1"}
    about = {"protocolVersion": "2025-11-25", "capabilities": declared, "clientInfo": info}
    client.greeting = (await client.initialize(about))["result"]
    return client


@pytest.mark.parametrize("path", ["choosy", None])
@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_each_client_is_shown_what_is_for_it_and_can_call_that(serve, choosy, path, era, server):
    gateway = await serve(choosy(server))
    await gateway.settled()
    for declared, shown in ((ALL, THEIRS), ({}, OTHERS), ({"experimental": {"x": {}}}, OTHERS)):
        client = await begin(gateway, path, era, declared)
        assert await client.names() == shown
        assert [await client.text(tool) for tool in shown if tool != "answers"] == ["called"] * (len(shown) - 1)
        assert await client.names() == shown


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_who_declares_some_of_it_is_shown_all_and_the_server_decides(serve, choosy, era, server):
    gateway = await serve(choosy(server))
    client = await begin(gateway, None, era, {"roots": {}})
    assert await client.names() == [*THEIRS, "alone"]
    assert await client.text("with_roots") == "called"
    assert "no such thing for you" in (await client.call("with_sampling"))["error"]["message"]


@pytest.mark.parametrize("path", ["choosy", None])
@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_who_shows_apps_is_shown_their_tools_and_can_call_them(serve, choosy, path, era, server):
    gateway = await serve(choosy(server))
    await gateway.settled()
    client = await begin(gateway, path, era, APPS)
    assert "with_apps" in await client.names()
    assert await client.text("with_apps") == "called"


async def test_who_can_be_asked_everything_and_shows_no_apps_keeps_what_is_there_in_their_place(serve, choosy):
    gateway = await serve(choosy())
    await gateway.settled()
    assert await (await begin(gateway, None, "legacy", ASKED)).names() == [*THEIRS, "alone"]


@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_consent_is_for_all_of_them(serve, choosy, server):
    (state,) = await (await serve(choosy(server))).settled()
    assert [tool.name for tool in state.tools] == [*THEIRS, "alone"]


@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_who_is_told_of_a_server_from_memory_is_told_what_it_says_to_such(serve, choosy, server):
    gateway = await serve(choosy(server))
    await gateway.settled()
    for declared in (ALL, {}):
        legacy = await begin(gateway, "choosy", "legacy", declared)
        modern = await begin(gateway, "choosy", "modern", declared)
        discovered = (await modern.request("server/discover"))["result"]
        for told in (legacy.greeting, discovered):
            assert ("completions" in told["capabilities"]) == bool(declared)
        # And so the session goes on when its process is there.
        assert await legacy.text("always") == "called"


async def test_where_nobody_knows_what_it_says_to_such_it_is_asked_itself(serve, choosy):
    gateway = await serve(choosy())
    await gateway.settled()
    client = await begin(gateway, "choosy", "legacy", {"elicitation": {}})
    assert "completions" not in client.greeting["capabilities"]
    assert await client.names() == ["always", "answers", "with_elicitation"]
    assert await client.text("with_elicitation") == "called"
    gateway = await serve(choosy("--modern"))
    await gateway.settled()
    client = await begin(gateway, "choosy", "modern", {"elicitation": {}})
    assert "completions" not in (await client.request("server/discover"))["result"]["capabilities"]


async def test_a_server_that_asks_first_is_answered(serve, choosy):
    gateway = await serve(choosy("--asks"))
    (state,) = await gateway.settled()
    assert state.state == "ok"
    assert "with_roots" in {tool.name for tool in state.tools}


QUESTIONS = ["ping", "roots/list", "elicitation/create", "sampling/createMessage", "x/unknown"]


class Asking(McpHttpServer):
    """Asks on the GET stream, and lists once it has all answers."""

    def __init__(self):
        super().__init__()
        self.answers, self.answered = {}, asyncio.Event()
        self.acts |= {"GET": self.ask, "answer": self.hear, "tools/list": self.list_later}
        self.acts = defaultdict(lambda: self.refuse_stream, self.acts)

    async def ask(self, handler):
        for question in QUESTIONS:
            await handler.event({"id": question, "method": question, "params": {}})
        await handler.gone

    async def hear(self, handler):
        self.answers[handler.message["id"]] = handler.message
        if len(self.answers) == len(QUESTIONS):
            self.answered.set()
        await self.accept(handler)

    async def list_later(self, handler):
        await self.answered.wait()
        await self.list(handler)


class AskingInTheAnswer(Asking):
    """Asks on the stream of the request."""

    def __init__(self):
        super().__init__()
        self.acts["GET"] = self.refuse_stream

    async def list_later(self, handler):
        for question in QUESTIONS:
            await handler.event({"id": question, "method": question, "params": {}})
        await self.answered.wait()
        await handler.answer({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})


class AskingOverOneStream(Asking, OldServer):
    def __init__(self):
        super().__init__()
        self.acts |= {"GET": self.listen, "notifications/initialized": self.begin}

    async def begin(self, handler):
        await self.accept(handler)
        for question in QUESTIONS:
            await self.stream_of(handler).event({"id": question, "method": question, "params": {}})

    async def list(self, handler):
        await self.tell(handler, {"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})


@pytest.mark.parametrize("kind", [Asking, AskingInTheAnswer, AskingOverOneStream])
async def test_a_remote_server_that_asks_first_is_answered(kind):
    far = kind()
    server = RemoteServer(url=far.url, type="sse" if kind is AskingOverOneStream else "http")
    served = Served(HttpBackend("remote", server, {}))
    try:
        offer = await probe(served)
    finally:
        await served.close()
        await far.close()
    assert list(offer.tools) == ["echo"]
    assert far.answers["ping"]["result"] == {}
    assert far.answers["roots/list"]["result"] == {"roots": []}
    assert far.answers["elicitation/create"]["result"] == {"action": "cancel"}
    assert far.answers["sampling/createMessage"]["error"]["code"] == -1
    assert far.answers["x/unknown"]["error"]["code"] == -32601


@pytest.mark.parametrize("options", [["--strict"], ["--modern", "--strict"], ["--modern", "--asks"]])
async def test_a_server_that_lists_nothing_to_who_declares_anything_serves_the_others(serve, choosy, options):
    gateway = await serve(choosy(*options))
    (state,) = await gateway.settled()
    assert [tool.name for tool in state.tools] == ["always", "answers", "alone"]


async def asked_again(gateway, backend):
    gateway._catalogue.refresh(backend)
    while gateway._catalogue.asking(backend):
        await gateway._catalogue.remembered(backend)


@pytest.mark.parametrize("server", ["--legacy", "--modern"])
async def test_a_server_that_fails_for_such_is_asked_again_and_what_it_said_last_holds(serve, choosy, server, tmp_path):
    file = tmp_path / "unless"
    file.touch()
    gateway = await serve(choosy(f"--unless={file}", server))
    (state,) = await gateway.settled()
    assert state.state == "ok"
    assert await (await begin(gateway, None, "legacy", ALL)).names() == THEIRS
    client = await begin(gateway, None, "legacy", {})
    assert await client.names() == THEIRS
    file.unlink()
    await asked_again(gateway, "choosy")
    assert await client.names() == OTHERS
    file.touch()
    await asked_again(gateway, "choosy")
    assert await client.names() == OTHERS


async def test_a_server_that_is_the_same_to_all_is_not_asked_twice_again(serve, lists):
    one = lists("one", tools=["a"])
    gateway = await serve(one)
    await gateway.settled()
    started = one.file.with_suffix(".started")
    assert len(started.read_text().split()) == 2
    one.file.write_text(json.dumps({"tools": ["a", "b"]}))
    await asked_again(gateway, "one")
    assert len(started.read_text().split()) == 3
    assert await (await begin(gateway, "one", "legacy", {})).names() == ["a", "b"]
