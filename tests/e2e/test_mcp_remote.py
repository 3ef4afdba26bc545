"""`mcp-remote`, started as a desktop program starts it: a child that speaks over its standard streams."""

import asyncio
import json
from pathlib import Path

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.e2e.chromium import need
from tests.e2e.opener import Opener, opener
from tests.e2e.person import allow
from tests.live import LiveServer, run
from tests.node import MODULES, node

PROXY = MODULES / "mcp-remote/dist/proxy.js"

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.mark.parametrize(("backend", "era"), [("program", "legacy"), ("remote", "legacy"), ("program", "auto")])
async def test_mcp_remote_asks_for_a_person_once(
    real_server: LiveServer, tmp_path: Path, backend: str, era: str
) -> None:
    need("mcp-remote (npm ci --prefix tests/npm)", PROXY.exists())
    need("Node", bool(node()))
    arguments = [f"{real_server.origin}/mcp/{backend}", "--protocol", era]
    async with opener(tmp_path) as browser:
        async with asyncio.TaskGroup() as together:
            together.create_task(sign_in(real_server, browser))
            await use(browser, arguments)

        person = asyncio.create_task(sign_in(real_server, browser))
        await use(browser, arguments)
        # As if an hour had passed: the token is exchanged for the next.
        kept = expire(tmp_path)
        await use(browser, arguments)
        assert "expired" not in kept.read_text()
        assert not person.done()
        person.cancel()
    # It looks around at every start, and that is no attempt of its own.
    status, printed, _ = await run(real_server.directory, "trace", "--json")
    assert status == 0
    assert {story["verdict"] for story in json.loads(printed)} == {"connected"}


async def sign_in(server: LiveServer, browser: Opener) -> None:
    await allow(server, await browser.opened())


async def use(browser: Opener, arguments: list[str]) -> None:
    """One session of the desktop program, which knows nothing of OAuth or HTTP."""
    proxy = StdioServerParameters(
        command=node(),
        args=[str(PROXY), *arguments],
        env={**browser.environ, "MCP_REMOTE_CONFIG_DIR": browser.environ["HOME"]},
    )
    async with Client(stdio_client(proxy), mode="legacy") as client:
        assert "test_simple_text" in {tool.name for tool in (await client.list_tools()).tools}
        answered = await client.call_tool("test_simple_text", {})
        assert answered.content[0].text == "This is a simple text response for testing."


def expire(home: Path) -> Path:
    """The file where the tokens are, with an access token that is not good any more."""
    (kept,) = home.glob("**/*_tokens.json")
    kept.write_text(json.dumps({**json.loads(kept.read_text()), "access_token": "expired"}))
    return kept
