"""One server for all real clients of a module: the fixture as a program and over HTTP, and an owner."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from typing import Any

import pytest

from tests.conformance.test_server import fixture_server
from tests.e2e.person import PASSWORD
from tests.live import LiveServer, run


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("real")
    server = LiveServer(directory, MCP_OAUTH_LEGACY_SSE="true")

    async def start() -> None:
        added = await run(directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD)
        assert added[0] == 0, added
        await server.start()

    # What the server prints has to be read all the time, and each test has a loop of its own.
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait_for(coroutine: Coroutine[Any, Any, Any]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    with fixture_server("stdio") as program, fixture_server("http") as remote:
        (directory / "data").mkdir(mode=0o700)
        (directory / "data" / "mcp.json").write_text(json.dumps({"mcpServers": {"program": program, "remote": remote}}))
        (directory / "data" / "mcp.json").chmod(0o600)
        try:
            wait_for(start())
            yield server
            wait_for(server.stop())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
