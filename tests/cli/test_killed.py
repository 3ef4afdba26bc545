"""After a SIGKILL of the server nothing of its children is left."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Done, connect
from tests.cli.test_stop import gone, with_child
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)


# As npx and uvx do: it starts the server and waits for it, whatever happens to its own input.
WRAPPER = ("sh", "-c", "trap '' TERM; \"$@\"; true", "sh")


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/status").read_text().split("PPid:")[1].split()[0])


@pytest.mark.parametrize(("before", "stubborn"), [((), []), ((), ["--stubborn"]), (WRAPPER, ["--stubborn"])])
async def test_no_child_and_no_grandchild_outlives_a_killed_server(
    tmp_path: Path, add_owner: Callable[[], Awaitable[Done]], before: tuple[str, ...], stubborn: list[str]
) -> None:
    with_child(tmp_path, "pid", "grandchild", "escape", *stubborn, before=before)
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client = await connect(server)
        begun = await client.initialize()
        headers = {"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]}
        pids = []
        for name in ("pid", "grandchild", "escape"):
            params = {"name": name, "arguments": {}}
            reply = await client.mcp({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, **headers)
            pids.append(int(reply.json["result"]["content"][0]["text"]))
        if before:
            pids.append(parent(pids[0]))
        assert await server.stop(signal.SIGKILL) == -signal.SIGKILL
        await asyncio.wait_for(gone(*pids), 60)
