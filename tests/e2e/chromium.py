"""A person at a real browser: Debian's Chromium, driven by Playwright."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.async_api import Page, Route, async_playwright

CHROMIUM = shutil.which("chromium") or ""
ARGUMENTS = [
    "--no-sandbox",
    "--headless",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]


def need(program: str, found: bool) -> None:
    """Skip loudly without ``program``; where nothing may be skipped, fail."""
    if found:
        return
    if os.environ.get("MCPAUTH_TESTS_SKIP_NOTHING"):
        pytest.fail(f"{program} is missing, and nothing may be skipped here")
    pytest.skip(f"{program} IS MISSING: this test did not run")


class Person:
    """Signs in as the owner and says yes. ``problems`` is what the browser's console complained of."""

    def __init__(self, page: Page, name: str, password: str) -> None:
        self.page, self.name, self.password = page, name, password
        self.problems: list[str] = []
        page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.problems.append(str(error)))

    async def set_up(self, link: str) -> None:
        """Become the owner, by the link that the server printed."""
        await self.page.goto(link)
        await self.page.get_by_label("Name").fill(self.name)
        await self.page.get_by_label("Password", exact=True).fill(self.password)
        await self.page.get_by_label("Repeat password").fill(self.password)
        await self.page.get_by_role("button", name="Create owner").click()
        await self.page.get_by_role("heading").first.wait_for()

    async def sign_in(self) -> None:
        await self.page.get_by_label("Name").fill(self.name)
        await self.page.get_by_label("Password").fill(self.password)
        await self.page.get_by_role("button", name="Sign in").click()

    async def allow(self, url: str, redirect_uri: str) -> dict[str, str]:
        """Open ``url``, sign in where that is asked, press Allow; what arrives at ``redirect_uri``."""
        arrived: list[str] = []

        async def arrive(route: Route) -> None:
            arrived.append(route.request.url)
            await route.fulfill(status=200, body="connected")

        await self.page.route(f"{redirect_uri}?*", arrive)
        await self.page.goto(url)
        allow = self.page.get_by_role("button", name="Allow")
        if await self.page.get_by_label("Password").count():
            await self.sign_in()
        await allow.click()
        await self.page.wait_for_url(f"{redirect_uri}?*")
        return {name: values[0] for name, values in parse_qs(urlsplit(arrived[-1]).query).items()}


@asynccontextmanager
async def person(name: str, password: str) -> AsyncIterator[Person]:
    need("chromium", bool(CHROMIUM))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            context = await browser.new_context()
            context.set_default_timeout(20_000)
            yield Person(await context.new_page(), name, password)
        finally:
            await browser.close()
