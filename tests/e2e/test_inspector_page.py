"""The MCP Inspector's page in a real browser, through the whole sign-in."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.e2e.chromium import person
from tests.e2e.person import PASSWORD
from tests.e2e.test_inspector_cli import INSPECTOR, OLDEST_NODE, need_inspector
from tests.live import LiveServer, free_port
from tests.node import node

pytestmark = pytest.mark.gen_test(timeout=120)


@pytest.mark.parametrize(("backend", "era"), [("program", "2025-11-25"), ("remote", "2026-07-28")])
async def test_the_page_signs_in_lists_and_calls(
    real_server: LiveServer, tmp_path: Path, backend: str, era: str
) -> None:
    need_inspector()
    async with inspector(tmp_path) as address, person("ada", PASSWORD) as ada:
        page = ada.page
        await page.goto(address)
        await page.get_by_role("button", name="Add Servers").click()
        await page.get_by_role("menuitem", name="Add manually").click()
        await page.get_by_label("Server ID").fill("mcpauth")
        await choose(page, "Transport", "HTTP")
        await page.get_by_label("URL").fill(f"{real_server.origin}/mcp/{backend}")
        await page.get_by_role("button", name="Add", exact=True).click()
        await page.get_by_role("button", name="Settings", exact=True).click()
        await choose(page, "Protocol Era", era)
        await page.get_by_role("button", name="Close").click()
        await page.get_by_role("switch", name="Connect").press("Space")

        await page.wait_for_url(f"{real_server.origin}/**")
        await ada.sign_in()
        await page.get_by_role("button", name="Allow").click()

        await page.get_by_text(f"MCP {era}").wait_for()
        await page.get_by_text("Tools", exact=True).click()
        await page.get_by_role("button", name="test_simple_text").click()
        await page.get_by_role("button", name="Execute Tool").click()
        await page.get_by_text("This is a simple text response for testing.").wait_for()
        # Its page asks the Internet for something, which is not there.
        assert [problem for problem in ada.problems if "ERR_NAME_NOT_RESOLVED" not in problem] == []


async def choose(page: Page, name: str, option: str) -> None:
    await page.get_by_role("textbox", name=name).click()
    await page.get_by_role("option", name=option).click()


@asynccontextmanager
async def inspector(home: Path) -> AsyncIterator[str]:
    """The address of its page. ``home`` has what it keeps: no keychain, nothing of the person who runs the tests."""
    port = str(free_port())
    catalog = home / "mcp.json"
    catalog.write_text('{"mcpServers": {}}')
    process = await asyncio.create_subprocess_exec(
        *(node(OLDEST_NODE), str(INSPECTOR), "--web", "--catalog", str(catalog)),
        env={
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "CLIENT_PORT": port,
            "MCP_SANDBOX_PORT": "0",
            "MCP_APP_ORIGIN_PORT": "0",
            "MCP_AUTO_OPEN_ENABLED": "false",
            "MCP_INSPECTOR_SECRET_STORE": "memory",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async for line in process.stdout:
            if b"MCP_INSPECTOR_API_TOKEN" in line:
                yield line.decode().strip()
                break
    finally:
        process.terminate()
        await process.wait()
