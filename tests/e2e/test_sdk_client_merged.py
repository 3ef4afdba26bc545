"""The mcp SDK's client at /mcp, in every mode of its own, with servers of every kind and era behind it."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult, PromptReference, ResourceTemplateReference

from tests.conformance.test_server import FIXTURE, ROOT, access_token, fixture_server
from tests.live import LiveServer

LISTS_CHILD = ROOT / "tests" / "fakes" / "mcp_lists_child.py"
OLD = {"tools": ["dig"], "prompts": ["ode"], "resources": ["old:1"], "templates": ["old:{n}"], "knows": ["old:2"]}
NEW = {"tools": ["fly"], "prompts": ["ode"], "resources": ["new:1"], "templates": ["new:{n}"], "knows": ["new:2"]}

pytestmark = [
    pytest.mark.gen_test(timeout=120),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # Legacy clients subscribe.
]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """`files`, the SDK's server as a program and elsewhere, and programs that speak one era alone."""
    (tmp_path / "data" / "files").mkdir(parents=True)
    (tmp_path / "data" / "files" / "hello.md").write_text("The walls have ears.\n")
    python = {"command": sys.executable, "cwd": str(ROOT)}
    for name, lists in (("old", OLD), ("new", NEW)):
        (tmp_path / f"{name}.json").write_text(json.dumps(lists))
    with fixture_server("http") as far:
        yield {
            "files": {"builtin": "files", "root": "files"},
            "near": {**python, "args": FIXTURE},
            "far": far,
            "old": {**python, "args": [str(LISTS_CHILD), str(tmp_path / "old.json"), "--legacy"]},
            "new": {**python, "args": [str(LISTS_CHILD), str(tmp_path / "new.json"), "--modern"]},
        }


async def agree(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada", "username": "ada", "email": "ada@example.org"})


@asynccontextmanager
async def connected(tmp_path: Path, servers: dict[str, Any], mode: str, heard: Any = None) -> AsyncIterator[Client]:
    (tmp_path / "data" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (tmp_path / "data" / "mcp.json").chmod(0o600)
    async with LiveServer(tmp_path) as server:
        token = await access_token(server, f"{server.origin}/mcp")
        async with (
            httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
            Client(
                streamable_http_client(f"{server.origin}/mcp", http_client=http),
                mode=mode,
                elicitation_callback=agree,
                message_handler=heard,
            ) as client,
        ):
            yield client


@pytest.mark.parametrize(
    ("mode", "version"), [("legacy", "2025-11-25"), ("2026-07-28", "2026-07-28"), ("auto", "2026-07-28")]
)
async def test_the_sdk_client_has_all_servers_together(
    tmp_path: Path, servers: dict[str, Any], mode: str, version: str
) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def heard(message: Any) -> None:
        told.put_nowait(type(message).__name__)

    async with connected(tmp_path, servers, mode, heard) as client:
        assert client.protocol_version == version
        if mode != "2026-07-28":  # In that mode it does not ask.
            offered = client.server_capabilities
            assert None not in (offered.tools, offered.prompts, offered.resources, offered.completions)
        await everything_is_there(client)
        await questions_and_progress_reach_the_client(client, mode)
        await changes_are_told(client, tmp_path, mode, told)


async def everything_is_there(client: Client) -> None:
    tools = [tool.name for tool in (await client.list_tools()).tools]
    assert tools[0] in ("search", "read_file", "fetch", "list_directory")
    assert {"read_file", "test_simple_text", "far__test_simple_text", "dig", "fly"} <= set(tools)
    assert len(tools) == len(set(tools))
    note = await client.call_tool("read_file", {"path": "hello.md"})
    assert "The walls have ears." in note.content[0].text
    for name in ("test_simple_text", "far__test_simple_text"):
        assert "simple text" in (await client.call_tool(name, {})).content[0].text
    for name, owner in (("dig", "old"), ("fly", "new")):
        assert json.loads((await client.call_tool(name, {})).content[0].text)["by"] == owner

    prompts = [prompt.name for prompt in (await client.list_prompts()).prompts]
    assert {"test_simple_prompt", "far__test_simple_prompt", "ode", "new__ode"} <= set(prompts)
    for name, owner in (("ode", "old"), ("new__ode", "new")):
        got = await client.get_prompt(name)
        assert json.loads(got.messages[0].content.text) == {"by": owner, "name": "ode"}
        completed = await client.complete(PromptReference(type="ref/prompt", name=name), {"name": "x", "value": ""})
        assert completed.completion.values[0] == owner
    assert (await client.get_prompt("far__test_simple_prompt")).messages

    resources = [str(resource.uri) for resource in (await client.list_resources()).resources]
    assert {"test://static-text", "old:1", "new:1"} <= set(resources)
    assert len(resources) == len(set(resources))
    templates = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
    assert {"test://template/{id}/data", "old:{n}", "new:{n}"} <= set(templates)
    for uri, owner in (("old:1", "old"), ("old:2", "old"), ("new:1", "new"), ("new:2", "new")):
        assert (await client.read_resource(uri)).contents[0].text == f"{uri} of {owner}"
    assert (await client.read_resource("test://template/7/data")).contents
    ref = ResourceTemplateReference(type="ref/resource", uri="new:{n}")
    assert (await client.complete(ref, {"name": "n", "value": ""})).completion.values[0] == "new"
    with pytest.raises(Exception, match="resource"):
        await client.read_resource("nobody:1")


async def questions_and_progress_reach_the_client(client: Client, mode: str) -> None:
    for name, owner in (("dig", "old"), ("fly", "new")):
        answer = await client.call_tool(name, {"do": "ask"})
        given = json.loads(answer.content[0].text)
        assert given["by"] == owner
        assert "Ada" in json.dumps(given["said"])
    asking = "test_elicitation" if mode == "legacy" else "test_input_required_result_elicitation"
    arguments = {"message": "who?"} if mode == "legacy" else {}
    for name in (asking, f"far__{asking}"):
        assert not (await client.call_tool(name, arguments)).is_error
    for name in ("test_tool_with_progress", "far__test_tool_with_progress"):
        progress: list[float] = []

        async def heard(value: float, total: float | None, message: str | None, to: Any = progress) -> None:
            to.append(value)

        await client.call_tool(name, {}, progress_callback=heard)
        assert progress == [0, 50, 100]
    if mode != "legacy":
        # The client repeats the argument in a header by itself.
        for name in ("test_x_mcp_header", "far__test_x_mcp_header"):
            assert (await client.call_tool(name, {"region": "Zürich"})).content[0].text == "Region: Zürich"


async def changes_are_told(client: Client, tmp_path: Path, mode: str, told: asyncio.Queue[str]) -> None:
    async def until(name: str) -> None:
        while not (await told.get()).startswith(name):
            pass

    for name, kind, lists in (("dig", "old", OLD), ("fly", "new", NEW)):
        (tmp_path / f"{kind}.json").write_text(json.dumps(lists | {"tools": [name, f"{name}_more"]}))
        if mode == "legacy":
            await client.subscribe_resource(f"{kind}:1")
            await client.call_tool(name, {"do": "updated", "uri": f"{kind}:1"})
            await until("ResourceUpdated")
            await client.call_tool(name, {"do": "changed", "kind": "tools"})
            await until("ToolListChanged")
        else:
            async with client.listen(tools_list_changed=True, resource_subscriptions=[f"{kind}:1"]) as events:
                while f"{kind}:1" not in (await client.call_tool(name, {"do": "state"})).content[0].text:
                    pass
                await client.call_tool(name, {"do": "updated", "uri": f"{kind}:1"})
                assert type(await anext(aiter(events))).__name__ == "ResourceUpdated"
                await client.call_tool(name, {"do": "changed", "kind": "tools"})
                assert type(await anext(aiter(events))).__name__ == "ToolsListChanged"
        assert f"{name}_more" in [tool.name for tool in (await client.list_tools()).tools]
