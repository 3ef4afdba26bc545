"""The mcp SDK's client in every mode it has, with servers of every kind."""

import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ElicitResult

from tests.conformance.test_server import ROOT, access_token
from tests.e2e.person import PlainPerson
from tests.e2e.test_sdk_client import SDKClient, Storage
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)


def configure(data_dir: Path) -> None:
    (data_dir / "files").mkdir(parents=True)
    (data_dir / "files" / "hello.md").write_text("The walls have ears.\n")
    python = {"command": sys.executable, "cwd": str(ROOT)}
    servers = {
        "files": {"builtin": "files", "root": "files"},
        "old": {**python, "args": ["tests/fakes/mcp_child.py", "echo"]},
    }
    (data_dir / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data_dir / "mcp.json").chmod(0o600)


async def agree(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def connected(url: str, mode: str, **more: Any) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(timeout=60, **more) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, elicitation_callback=agree) as client,
    ):
        yield client


@pytest.mark.parametrize("backend", ["program", "remote"])
@pytest.mark.parametrize("mode", ["legacy", "auto", "2026-07-28"])
async def test_the_sdk_client_connects_and_refreshes_in_every_mode(
    real_server: LiveServer, mode: str, backend: str
) -> None:
    storage = Storage()
    sdk = SDKClient(f"{real_server.origin}/mcp/{backend}", storage, PlainPerson(real_server))
    async with connected(sdk.url, mode, auth=sdk.oauth) as client:
        if mode == "legacy":
            await use(client, version="2025-11-25")
            asked = await client.call_tool("test_elicitation", {"message": "who?"})
            assert "Ada" in asked.content[0].text
        else:
            await use(client)
            async with client.listen(tools_list_changed=True) as events:
                await client.call_tool("test_trigger_tool_change", {})
                assert type(await anext(aiter(events))).__name__ == "ToolsListChanged"
            greeted = await client.call_tool("test_input_required_result_elicitation", {})
            assert greeted.content[0].text == "Hello, Ada!"
        first = storage.tokens
        # As if an hour had passed for the client.
        sdk.oauth.context.token_expiry_time = time.time() - 1
        await client.call_tool("test_simple_text", {})
    assert first is not None
    assert storage.tokens is not None
    assert storage.tokens.access_token != first.access_token
    assert sdk.asked == 1


async def use(client: Client, version: str = "2026-07-28") -> None:
    assert client.protocol_version == version
    assert "test_simple_text" in {tool.name for tool in (await client.list_tools()).tools}
    progress: list[float] = []

    async def heard(value: float, total: float | None, message: str | None) -> None:
        progress.append(value)

    await client.call_tool("test_tool_with_progress", {}, progress_callback=heard)
    assert progress == [0, 50, 100]
    # A modern client repeats the argument in a header by itself, in Base64 here.
    routed = await client.call_tool("test_x_mcp_header", {"region": "Zürich"})
    assert routed.content[0].text == "Region: Zürich"


@pytest.mark.parametrize("backend", ["files", "old"])
async def test_the_sdk_client_asks_which_era_it_is(tmp_path: Path, backend: str) -> None:
    configure(tmp_path / "data")
    async with LiveServer(tmp_path) as server:
        token = await access_token(server, f"{server.origin}/mcp/{backend}")
        bearer = {"Authorization": f"Bearer {token}"}
        async with connected(f"{server.origin}/mcp/{backend}", "auto", headers=bearer) as client:
            # Whatever the server itself speaks.
            assert client.protocol_version == "2026-07-28"
            if backend == "files":
                note = await client.call_tool("read_file", {"path": "hello.md"})
                assert "The walls have ears." in note.content[0].text
            else:
                assert not (await client.call_tool("echo", {"a": 1})).is_error
