"""mcp.json is changed while the server runs, as its owner does it: with an editor."""

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser import Browser
from tests.cli.conftest import Done, Run, address, browser_at, connect
from tests.cli.test_stop import CHILD, gone, with_child
from tests.conftest import PASSWORD
from tests.live import LiveServer
from tests.oauth_client import OAuthClient

pytestmark = pytest.mark.gen_test(timeout=120)

METADATA = "/.well-known/oauth-protected-resource/mcp/second"


def save(directory: Path, servers: Any) -> None:
    path = directory / "data" / "mcp.json.new"
    path.write_text(json.dumps({"mcpServers": servers}, indent=1))
    path.chmod(0o600)
    path.rename(directory / "data" / "mcp.json")


def child(*tools: str) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(CHILD), *tools]}


async def text(client: OAuthClient, session: dict[str, str], tool: str) -> str:
    params = {"name": tool, "arguments": {"do": "pid"}}
    reply = await client.mcp({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, **session)
    return str(reply.json["result"]["content"][0]["text"])


async def status_of(browser: Browser, path: str, wanted: int) -> None:
    while (await browser.request(path)).status != wanted:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.05)


async def test_a_server_comes_and_goes_and_a_mistake_changes_nothing(
    tmp_path: Path, add_owner: Callable[[], Awaitable[Done]], command: Run
) -> None:
    with_child(tmp_path, "first")
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client = await connect(server)
        begun = await client.initialize()
        session = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        before = await text(client, session, "first")
        browser = browser_at(server)
        await status_of(browser, METADATA, 404)

        save(tmp_path, {"fake": child("first"), "second": child("other")})
        await status_of(browser, METADATA, 200)
        assert await text(client, session, "first") == before
        # It has a resource identifier of its own at once, and tokens for it.
        second = OAuthClient(server.origin, address(server))
        await second.connect(browser, "ada", PASSWORD, resource=f"{server.origin}/mcp/second")
        there = await second.initialize(path="/mcp/second")
        own = {"Mcp-Session-Id": there.headers["Mcp-Session-Id"], "path": "/mcp/second"}
        pid = int(await text(second, own, "other"))

        save(tmp_path, {"fake": child("first"), "second": {"command": 7}})
        while "mcpServers.second.command" not in (printed := (await command("status")).printed):
            pass
        assert "line 11:" in printed
        assert (await command("status")).status == 1
        assert int(await text(second, own, "other")) == pid

        save(tmp_path, {"fake": child("first"), "second": {**child("other"), "disabled": True}})
        await status_of(browser, METADATA, 404)
        await asyncio.wait_for(gone(pid), 60)
        assert "  second: switched off\n" in (await command("status")).printed

        save(tmp_path, {"fake": child("first"), "second": {**child("other"), "disabled": False}})
        await status_of(browser, METADATA, 200)
        assert "switched off" not in (await command("status")).printed

        save(tmp_path, {"fake": child("first")})
        await status_of(browser, METADATA, 404)
        assert (await second.mcp({"jsonrpc": "2.0", "id": 1, "method": "ping"}, **own)).status == 404
        assert await text(client, session, "first") == before
        assert "mcpServers" not in (await command("status")).printed
