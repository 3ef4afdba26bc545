"""Both TypeScript SDK clients, from nothing to a refreshed token, through both kinds of backend."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.chromium import need
from tests.e2e.person import allow
from tests.live import LiveServer, free_port, run
from tests.node import MODULES, node

DRIVER = Path(__file__).parents[1] / "npm/clients/client.mjs"

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.mark.parametrize("backend", ["program", "remote"])
@pytest.mark.parametrize(("sdk", "mode"), [("1", "legacy"), ("2", "legacy"), ("2", "auto"), ("2", "2026-07-28")])
async def test_a_typescript_client_connects_and_refreshes(
    real_server: LiveServer, sdk: str, mode: str, backend: str
) -> None:
    await connect(real_server, sdk, mode, f"/mcp/{backend}")


@pytest.mark.parametrize("sdk", ["1", "2"])
async def test_a_typescript_client_of_http_and_sse_connects_and_refreshes(real_server: LiveServer, sdk: str) -> None:
    await connect(real_server, sdk, "sse", "/sse")


async def connect(real_server: LiveServer, sdk: str, mode: str, path: str) -> None:
    need("the TypeScript SDKs (npm ci --prefix tests/npm)", (MODULES / "@modelcontextprotocol/client").exists())
    need("Node", bool(node()))
    process = await asyncio.create_subprocess_exec(
        *(node(), str(DRIVER), sdk, mode),
        *(real_server.origin + path, f"http://127.0.0.1:{free_port()}/callback"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    await allow(real_server, (await said(process.stdout))["authorize"])
    found = await said(process.stdout)
    assert await process.wait() == 0
    assert "test_simple_text" in found["tools"]
    assert found["text"] == found["refreshed"] == "This is a simple text response for testing."
    assert found["resource"]
    assert found["prompt"]
    status, printed, _ = await run(real_server.directory, "trace", "--json")
    assert status == 0
    assert json.loads(printed)[-1]["verdict"] == "connected"


async def said(stream: asyncio.StreamReader) -> dict[str, Any]:
    line = await stream.readline()
    assert line, "the client ended before it was done"
    about: dict[str, Any] = json.loads(line)
    return about
