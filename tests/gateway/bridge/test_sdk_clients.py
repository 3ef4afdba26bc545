"""The mcp SDK's client, in every mode of its own, with servers that speak the other era alone."""

import asyncio
import json
from contextlib import asynccontextmanager

import httpx2
import mcp_types
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from tests.gateway.bridge.conftest import FAKES
from tests.gateway.bridge.test_questions_to_modern_clients import ELICIT, ROOTS, SAMPLE
from tests.gateway.test_http import Server

pytestmark = pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning")

MODES = [("legacy", "2025-11-25"), ("auto", "2026-07-28"), ("2026-07-28", "2026-07-28")]


@pytest.fixture
def front(serve, child, io_loop):
    """The HTTP side of a gateway with both servers, and one that asks as soon as it is initialized."""

    async def start():
        fakes = {"old": "mcp_legacy_server.py", "new": "mcp_modern_server.py"}
        servers = [child(name, args=(str(FAKES / script),)) for name, script in fakes.items()]
        gateway = await serve(*servers, child("rooted", args=(str(FAKES / fakes["old"]), "--roots")))
        return Server(gateway)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


async def elicited(context, params):
    return mcp_types.ElicitResult(action="accept", content={"n": 5})


async def sampled(context, params):
    content = mcp_types.TextContent(type="text", text="hm")
    return mcp_types.CreateMessageResult(role="assistant", content=content, model="m")


async def rooted(context):
    return mcp_types.ListRootsResult(roots=[mcp_types.Root(uri="file:///home")])


@asynccontextmanager
async def connected(front, backend, mode, **options):
    async with (
        httpx2.AsyncClient(headers={"Authorization": "Bearer good"}, timeout=30) as http,
        Client(
            streamable_http_client(f"http://localhost:{front.port}/mcp/{backend}", http_client=http),
            mode=mode,
            elicitation_callback=elicited,
            sampling_callback=sampled,
            list_roots_callback=rooted,
            **options,
        ) as client,
    ):
        yield client


@pytest.mark.parametrize(("mode", "version"), MODES)
@pytest.mark.parametrize("backend", ["old", "new"])
async def test_all_that_servers_have(front, backend, mode, version):
    async with connected(front, backend, mode) as client:
        assert client.protocol_version == version
        assert [tool.name for tool in (await client.list_tools()).tools] == ["echo", "ask", "seen"]
        said = await client.call_tool("echo", {"a": 1})
        assert json.loads(said.content[0].text)["arguments"] == {"a": 1}
        assert [prompt.name for prompt in (await client.list_prompts()).prompts] == ["greet"]
        assert [str(one.uri) for one in (await client.list_resources()).resources] == ["mem://a"]
        assert (await client.read_resource("mem://a")).contents[0].text == "content"
        with pytest.raises(Exception, match="no such resource"):
            await client.read_resource("mem://b")
        if mode != "2026-07-28":  # In that mode it does not ask.
            assert client.server_capabilities.resources.subscribe is True


@pytest.mark.parametrize(("mode", "version"), MODES)
@pytest.mark.parametrize("backend", ["old", "new"])
async def test_what_servers_ask(front, backend, mode, version):
    async with connected(front, backend, mode) as client:
        for question, part in ((ELICIT, '"n": 5'), (SAMPLE, '"text": "hm"'), (ROOTS, "file:///home")):
            answer = await client.call_tool("ask", {"requests": [question]})
            assert part in answer.content[0].text
        together = await client.call_tool("ask", {"requests": [ELICIT, SAMPLE, ROOTS]})
        assert all(part in together.content[0].text for part in ('"n": 5', '"text": "hm"', "file:///home"))
        arguments = {"requests": [ROOTS, ROOTS], "times": 2, "roots": True}
        assert (await client.call_tool("ask_in_turn", arguments)).content[0].text.count("file:///home") == 2
        assert "hm" in (await client.get_prompt("greet")).messages[0].content.text
        assert (await client.read_resource("mem://asks")).contents[0].text == "content"


@pytest.mark.parametrize(("mode", "version"), MODES)
async def test_what_is_asked_while_another_call_ends_is_answered(front, mode, version):
    async with connected(front, "old", mode) as client:
        waiting = asyncio.create_task(client.call_tool("ask_later", {"requests": [ELICIT]}))
        assert (await client.call_tool("let_ask")).content[0].text == "asked"
        assert '"n": 5' in (await waiting).content[0].text


@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
async def test_what_a_server_asks_at_once_is_answered_before_the_first_call(front, mode):
    async with connected(front, "rooted", mode) as client:
        assert (await client.call_tool("where")).content[0].text == '["file:///home"]'


@pytest.mark.parametrize(("mode", "version"), MODES)
@pytest.mark.parametrize("backend", ["old", "new"])
async def test_progress(front, backend, mode, version):
    async with connected(front, backend, mode) as client:
        told = []

        async def heard(value, total, message):
            told.append(value)

        await client.call_tool("progress", {}, progress_callback=heard)
        assert told == [0, 1, 2]


@pytest.mark.parametrize("backend", ["old", "new"])
async def test_changes_told_to_modern_clients(front, backend):
    async with (
        connected(front, backend, "auto") as client,
        client.listen(tools_list_changed=True, resource_subscriptions=["mem://a"]) as events,
    ):
        told = aiter(events)
        await client.call_tool("change", {"uris": ["mem://a"]})
        assert [type(await anext(told)).__name__ for _ in range(2)] == ["ToolsListChanged", "ResourceUpdated"]


@pytest.mark.parametrize("backend", ["old", "new"])
async def test_changes_told_to_legacy_clients(front, backend):
    told = asyncio.Queue()

    async def heard(message):
        told.put_nowait(type(message).__name__)

    async with connected(front, backend, "legacy", message_handler=heard) as client:
        await client.subscribe_resource("mem://a")
        await client.call_tool("change", {"uris": ["mem://a"]})
        assert {await told.get() for _ in range(2)} >= {"ToolListChangedNotification", "ResourceUpdatedNotification"}
