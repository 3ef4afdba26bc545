"""A client whose MCP session outlives the server: the mcp SDK's own, and a real server process."""

import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client

from tests.browser import Browser
from tests.live import LiveServer, run
from tests.oauth_client import OAuthClient

LISTS_CHILD = Path(__file__).parent.parent / "fakes" / "mcp_lists_child.py"
PASSWORD = "correct horse battery staple"

pytestmark = [
    pytest.mark.gen_test(timeout=120),
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),  # Legacy clients still log.
]


def configure(directory: Path) -> None:
    (directory / "data").mkdir()
    (directory / "one.json").write_text(json.dumps({"tools": ["a"], "prompts": [], "resources": ["x:1"]}))
    servers = {"one": {"command": sys.executable, "args": [str(LISTS_CHILD), str(directory / "one.json")]}}
    file = directory / "data" / "mcp.json"
    file.write_text(json.dumps({"mcpServers": servers}))
    file.chmod(0o600)


async def token(server: LiveServer, resource: str) -> str:
    added = await run(server.directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD)
    assert added[0] == 0, added
    client = OAuthClient(server.origin, server.origin)
    tokens = await client.connect(Browser(server.origin, server.origin), "ada", PASSWORD, resource=resource)
    return str(tokens["access_token"])


@asynccontextmanager
async def connected(url: str, bearer: str) -> AsyncIterator[ClientSession]:
    async with (
        httpx2.AsyncClient(headers={"Authorization": f"Bearer {bearer}"}, timeout=60) as http,
        streamable_http_client(url, http_client=http) as streams,
        ClientSession(streams[0], streams[1]) as session,
    ):
        await session.initialize()
        yield session


async def state(session: ClientSession) -> dict[str, list[str]]:
    answer = await session.call_tool("a", {"do": "state"})
    found: dict[str, list[str]] = json.loads(answer.content[0].text)
    return found


@pytest.mark.parametrize(("path", "number"), [("/mcp/one", signal.SIGTERM), ("/mcp", signal.SIGKILL)])
async def test_a_client_goes_on_as_if_nothing_had_happened(tmp_path: Path, path: str, number: signal.Signals) -> None:
    configure(tmp_path)
    async with LiveServer(tmp_path) as server:
        url = server.origin + path
        async with connected(url, await token(server, url)) as session:
            await session.set_logging_level("warning")
            await session.subscribe_resource("x:1")
            before = await state(session)
            assert before == {"level": ["warning"], "subscribed": ["x:1"], "listening": []}
            await server.stop(number)
            await server.start()
            assert await state(session) == before
            assert [tool.name for tool in (await session.list_tools()).tools] == ["a"]


async def test_a_session_whose_server_has_changed_is_not_found(tmp_path: Path) -> None:
    configure(tmp_path)
    async with LiveServer(tmp_path) as server:
        url = f"{server.origin}/mcp/one"
        headers = {
            "Authorization": f"Bearer {await token(server, url)}",
            "Accept": "application/json, text/event-stream",
        }
        initialize = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        call = {"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {"name": "a", "arguments": {}}}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            begun = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": initialize}
            session_id = (await http.post(url, json=begun)).headers["Mcp-Session-Id"]
            called = await http.post(url, json=call, headers={"Mcp-Session-Id": session_id})
            assert called.status_code == 200
            (tmp_path / "one.json").write_text(json.dumps({"tools": ["a"]}))
            await server.restart()
            for _ in range(2):
                refused = await http.post(url, json=call, headers={"Mcp-Session-Id": session_id})
                assert refused.status_code == 404
                assert "initialize again" in refused.json()["error"]["message"]
            session_id = (await http.post(url, json=begun)).headers["Mcp-Session-Id"]
            assert (await http.post(url, json=call, headers={"Mcp-Session-Id": session_id})).status_code == 200
