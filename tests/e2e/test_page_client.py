"""The TypeScript SDK's client as a page of another origin: everything it asks, it asks from the browser (CORS)."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.e2e.chromium import need, person
from tests.e2e.person import PASSWORD
from tests.live import LiveServer
from tests.node import MODULES

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.mark.parametrize(("backend", "mode"), [("program", "legacy"), ("remote", "2026-07-28")])
async def test_a_page_connects_from_the_browser_itself(real_server: LiveServer, backend: str, mode: str) -> None:
    need("the TypeScript SDK (npm ci --prefix tests/npm)", (MODULES / "@modelcontextprotocol/client").exists())
    async with pages() as origin, person("ada", PASSWORD) as ada:
        await ada.page.goto(f"{origin}/clients/page.html?mcp={real_server.origin}/mcp/{backend}&mode={mode}")
        await ada.page.wait_for_url(f"{real_server.origin}/**")
        await ada.sign_in()
        await ada.page.get_by_role("button", name="Allow").click()
        said = ada.page.locator("output:not(:empty)")
        await said.wait_for()
        found = json.loads(await said.inner_text())
        assert "test_simple_text" in found["tools"]
        assert found["text"] == found["refreshed"] == "This is a simple text response for testing."


@asynccontextmanager
async def pages() -> AsyncIterator[str]:
    """An origin of its own, which serves files and nothing else."""
    files = web.Application([("/(.*)", web.StaticFileHandler, {"path": str(MODULES.parent)})])
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(files)
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()
