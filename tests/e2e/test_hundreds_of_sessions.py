"""A server whose clients come by the hundred, over HTTP, and leave at odd moments: nothing of them stays with it."""

import asyncio
import glob
import json
import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.live import LiveServer, free_port, run
from tests.oauth_client import OAuthClient

SESSIONS, AT_ONCE = 200, 8
# Processes that stay: the reaper, and the child that a user's modern requests share.
LASTING = 2
TESTS = Path(__file__).parent.parent
CHILD = str(TESTS / "fakes" / "mcp_child.py")
REMOTE = str(TESTS / "bench" / "echo_http.py")
CALLS = (("olda", {}), ("newa", {}), ("echo", {"text": "hello"}), ("read_file", {"path": "note.md"}))
INITIALIZE = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}


@asynccontextmanager
async def remote():
    port = free_port()
    process = await asyncio.create_subprocess_exec(sys.executable, REMOTE, str(port), stdout=asyncio.subprocess.PIPE)
    await process.stdout.readline()
    try:
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        await process.wait()


def prepare(directory, url):
    (directory / "data").mkdir(mode=0o700)
    (directory / "notes").mkdir()
    (directory / "notes" / "note.md").write_text("hello")
    servers = {
        "old": {"command": sys.executable, "args": ["-I", "-S", CHILD, "olda"]},
        "new": {"command": sys.executable, "args": ["-I", "-S", CHILD, "newa", "--modern"]},
        "far": {"url": url},
        "files": {"builtin": "files", "root": "../notes"},
    }
    path = directory / "data" / "mcp.json"
    path.write_text(json.dumps({"mcpServers": servers}))
    path.chmod(0o600)


def held_by(pid):
    """What the process has open, and how many children it has."""
    children = [child for path in glob.glob(f"/proc/{pid}/task/*/children") for child in Path(path).read_text().split()]
    return len(os.listdir(f"/proc/{pid}/fd")), len(children)


async def use(url, token, number):
    """One MCP session: a stream, a call to every server, one that nobody waits for; every other is ended."""
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": "2025-11-25",
    }

    def message(request_id, method, params):
        return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}

    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(url, json=message(1, "initialize", INITIALIZE)) as begun:
            assert begun.status == 200
            http.headers["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
        async with http.post(url, json={"jsonrpc": "2.0", "method": "notifications/initialized"}) as told:
            assert told.status in (202, 404)  # Newer sessions of the grant may have closed this one.
        stream = await http.get(url, headers={"Accept": "text/event-stream"})
        for request_id, (tool, arguments) in enumerate(CALLS, 2):
            call = message(request_id, "tools/call", {"name": tool, "arguments": arguments})
            async with http.post(url, json=call) as answer:
                assert answer.status in (200, 404)
                await answer.read()
        never = message(9, "tools/call", {"name": "olda", "arguments": {"do": "never"}})
        left = asyncio.create_task(http.post(url, json=never))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        left.cancel()
        if number % 2:
            async with http.delete(url) as ended:
                assert ended.status in (204, 404)
        stream.close()


@pytest.mark.gen_test(timeout=300)
async def test_two_hundred_sessions_over_http_leave_nothing_with_the_server(tmp_path):
    async with remote() as url:
        prepare(tmp_path, url)
        async with LiveServer(tmp_path) as server:
            await run(tmp_path, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD)
            await come_and_go(server, 4 * AT_ONCE)
            before = await settled(server.process.pid, (1000, LASTING))
            await come_and_go(server, SESSIONS)
            await settled(server.process.pid, before)
        assert "Traceback" not in server.log


async def come_and_go(server, sessions):
    """So many sessions of one grant, which ends after that."""
    origin = f"http://127.0.0.1:{server.port}"
    client = OAuthClient(server.origin, origin)
    await client.connect(Browser(server.origin, origin), "ada", PASSWORD)
    token = client.tokens["access_token"]
    for begun in range(0, sessions, AT_ONCE):
        await asyncio.gather(*(use(f"{server.origin}/mcp", token, begun + number) for number in range(AT_ONCE)))
    form = f"token={client.tokens['refresh_token']}&client_id={client.client_id}"
    assert (await client.fetch("/revoke", "POST", form)).status == 200


async def settled(pid, most):
    """What the process holds once that is no more than ``most``; the test's own time limit ends the wait."""
    while any(held > allowed for held, allowed in zip(held_by(pid), most, strict=True)):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    return held_by(pid)
