"""The MCP Inspector's command line, as a person types it and as a script runs it."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.e2e.chromium import need
from tests.e2e.opener import Opener, opener
from tests.e2e.person import PASSWORD, allow
from tests.live import LiveServer, free_port
from tests.node import MODULES, node
from tests.oauth_client import OAuthClient

INSPECTOR = MODULES / "@modelcontextprotocol/inspector/clients/launcher/build/index.js"
OLDEST_NODE = 22

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.mark.parametrize(("backend", "era"), [("program", "legacy"), ("remote", "modern")])
async def test_the_command_line_signs_in_once(real_server: LiveServer, tmp_path: Path, backend: str, era: str) -> None:
    need_inspector()
    server = ["--server-url", f"{real_server.origin}/mcp/{backend}", "--transport", "http", "--protocol-era", era]
    callback = ["--callback-url", f"http://127.0.0.1:{free_port()}/oauth/callback"]
    async with opener(tmp_path) as browser:
        async with asyncio.TaskGroup() as together:
            listing = together.create_task(inspect(browser, *server, *callback, "--method", "tools/list"))
            await allow(real_server, await browser.opened())
        assert "test_simple_text" in {tool["name"] for tool in listing.result()["tools"]}
        # A script has nobody to ask.
        call = await inspect(
            browser, *server, "--stored-auth-only", "--method", "tools/call", "--tool-name", "test_simple_text"
        )
        assert call["content"][0]["text"] == "This is a simple text response for testing."


async def test_the_command_line_brings_a_token(real_server: LiveServer, tmp_path: Path) -> None:
    need_inspector()
    url = f"{real_server.origin}/mcp/program"
    person = Browser(real_server.origin, real_server.origin)
    tokens = await OAuthClient(real_server.origin, real_server.origin).connect(person, "ada", PASSWORD, resource=url)
    server = ["--server-url", url, "--transport", "http", "--protocol-era", "auto"]
    bearer = ["--header", f"Authorization: Bearer {tokens['access_token']}"]
    async with opener(tmp_path) as browser:
        for method in (["tools/list"], ["tools/call", "--tool-name", "test_simple_text"]):
            assert await inspect(browser, *server, *bearer, "--method", *method)


def need_inspector() -> None:
    need("the Inspector (npm ci --prefix tests/npm)", INSPECTOR.exists())
    need(f"Node {OLDEST_NODE} or newer", bool(node(OLDEST_NODE)))


async def inspect(browser: Opener, *arguments: str) -> Any:
    """What one command printed."""
    environ = {
        **browser.environ,
        # It opens a browser even where it sees no terminal.
        "MCP_AUTO_OPEN_ENABLED": "true",
        "MCP_INSPECTOR_SECRET_STORE": "file",
    }
    process = await asyncio.create_subprocess_exec(
        *(node(OLDEST_NODE), str(INSPECTOR), "--cli", *arguments, "--format", "json"),
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, printed
    return json.loads(printed)["result"]
