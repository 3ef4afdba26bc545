"""The mcp SDK's client in every mode it has, with servers of every kind."""

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
from mcp_types import ElicitResult
from tornado.ioloop import IOLoop

from tests.conformance.test_server import ROOT, access_token, fixture_server
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)


def configure(data_dir: Path, **more: dict[str, object]) -> None:
    (data_dir / "files").mkdir(parents=True)
    (data_dir / "files" / "hello.md").write_text("The walls have ears.\n")
    python = {"command": sys.executable, "cwd": str(ROOT)}
    servers = {
        "files": {"builtin": "files", "root": "files"},
        "old": {**python, "args": ["tests/fakes/mcp_child.py", "echo"]},
        **more,
    }
    (data_dir / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data_dir / "mcp.json").chmod(0o600)


async def agree(context: Any, params: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Ada"})


@asynccontextmanager
async def connected(server: LiveServer, token: str, backend: str, mode: str) -> AsyncIterator[Client]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as http,
        Client(
            streamable_http_client(f"{server.origin}/mcp/{backend}", http_client=http),
            mode=mode,
            elicitation_callback=agree,
        ) as client,
    ):
        yield client


@pytest.fixture
def both_eras(io_loop: IOLoop, tmp_path: Path, kind: str) -> Iterator[tuple[LiveServer, str]]:
    """A gateway before the fixture server, which speaks both eras, and a token for it."""
    with fixture_server(kind) as fixture:
        configure(tmp_path / "data", fixture=fixture)
        server = LiveServer(tmp_path)
        io_loop.run_sync(server.start)
        yield server, io_loop.run_sync(lambda: access_token(server, f"{server.origin}/mcp/fixture"))
        io_loop.run_sync(server.stop)


@pytest.mark.parametrize("kind", ["stdio", "http"])
async def test_the_sdk_client_in_every_mode(both_eras: tuple[LiveServer, str]) -> None:
    server, token = both_eras
    for mode in ("2026-07-28", "auto"):
        async with connected(server, token, "fixture", mode) as client:
            await use(client)
            async with client.listen(tools_list_changed=True) as events:
                await client.call_tool("test_trigger_tool_change", {})
                assert type(await anext(aiter(events))).__name__ == "ToolsListChanged"
            greeted = await client.call_tool("test_input_required_result_elicitation", {})
            assert greeted.content[0].text == "Hello, Ada!"
    async with connected(server, token, "fixture", "legacy") as client:
        await use(client, version="2025-11-25")
        asked = await client.call_tool("test_elicitation", {"message": "who?"})
        assert "Ada" in asked.content[0].text


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
        async with connected(server, token, backend, "auto") as client:
            # Whatever the server itself speaks.
            assert client.protocol_version == "2026-07-28"
            if backend == "files":
                note = await client.call_tool("read_file", {"path": "hello.md"})
                assert "The walls have ears." in note.content[0].text
            else:
                assert not (await client.call_tool("echo", {"a": 1})).is_error
