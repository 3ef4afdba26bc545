"""Ctrl-C and SIGTERM end it, whatever is going on."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from tests.cli.conftest import Done, address, connect
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)

CHILD = Path(__file__).parent.parent / "fakes" / "mcp_child.py"


def with_child(directory: Path, *arguments: str, before: tuple[str, ...] = ()) -> None:
    """The server's only backend is the fake child, or a program that starts it."""
    (directory / "data").mkdir(mode=0o700)
    command, *rest = *before, sys.executable, str(CHILD), *arguments
    servers = {"fake": {"command": command, "args": rest}}
    (directory / "data" / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (directory / "data" / "mcp.json").chmod(0o600)


async def until(stream: aiohttp.StreamReader, text: str) -> str:
    read = b""
    while text.encode() not in read:
        chunk = await stream.readany()
        assert chunk, f"ended before {text}: {read.decode()}"
        read += chunk
    return read.decode()


async def gone(*pids: int) -> None:
    """Until none of these processes is there any more; left alone they would stay for ten minutes."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(pid, 0)
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(tmp_path: Path, number: signal.Signals) -> None:
    async with LiveServer(tmp_path) as server:
        assert await server.stop(number) == 0
        assert not (tmp_path / "data" / "control.sock").exists()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)


@pytest.mark.parametrize(("number", "stubborn"), [(signal.SIGTERM, []), (signal.SIGINT, ["--stubborn"])])
async def test_an_open_stream_and_a_hanging_request_do_not_keep_it(
    tmp_path: Path, add_owner: Callable[[], Awaitable[Done]], number: signal.Signals, stubborn: list[str]
) -> None:
    with_child(tmp_path, "never", "pid", "grandchild", *stubborn)
    async with LiveServer(tmp_path) as server, aiohttp.ClientSession(address(server)) as http:
        await add_owner()
        client = await connect(server)
        begun = await client.initialize()
        headers = {
            "Authorization": f"Bearer {client.tokens['access_token']}",
            "Accept": "application/json, text/event-stream",
            "Mcp-Session-Id": begun.headers["Mcp-Session-Id"],
        }

        def call(name: str) -> aiohttp.client._RequestContextManager:
            params = {"name": name, "arguments": {}}
            message = {"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params}
            return http.post("/mcp", json=message, headers=headers)

        pids = []
        for name in ("pid", "grandchild"):
            async with call(name) as answered:
                pids.append(int((await answered.json())["result"]["content"][0]["text"]))
        async with http.get("/mcp", headers=headers) as stream, call("never") as hanging:
            assert stream.status == hanging.status == 200
            await until(hanging.content, "waiting")
            assert await server.stop(number) == 0
            assert "mcpauth is stopping; try again shortly" in (await hanging.text())
        await gone(*pids)
        began, stopped = (json.loads(line) for line in server.log.splitlines()[-20:] if '"stop' in line)
        # The stream is not waited for.
        assert (began["event"], began["requests"], began["processes"]) == ("stop_began", 1, 1)
        assert stopped["event"] == "stopped"


async def test_a_connection_that_says_nothing_does_not_keep_it(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()
        assert await server.stop() == 0
        await reader.read()
        writer.close()


async def test_an_open_control_connection_does_not_keep_it(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "data" / "control.sock"))
        assert await server.stop() == 0
        writer.close()


async def test_what_a_person_did_last_survives(tmp_path: Path, add_owner: Callable[[], Awaitable[Done]]) -> None:
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client = await connect(server)
        assert server.process is not None
        server.process.kill()
        await server.wait()
        await server.start()
        assert (await client.initialize()).status == 200
