"""`try` against a public https address: the server behind a proxy that ends TLS, as Tailscale Funnel is."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from mcpauth.control import ask
from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.fakes.authority import Authority
from tests.fakes.tailscale_serve import FakeServe
from tests.live import SERVER, LiveServer, run

pytestmark = pytest.mark.gen_test(timeout=120)

PEER = "203.0.113.50"


@asynccontextmanager
async def public(folder: Path) -> AsyncIterator[tuple[LiveServer, str, Path]]:
    """A server with an owner, its public origin, and the file of whom to trust."""
    authority = Authority(folder)
    server = LiveServer(folder, MCP_OAUTH_CIMD_LOOPBACK="true")
    funnel = FakeServe(None, server.port, authority.server("localhost"))
    origin = funnel.funnel(PEER)
    server.environ["MCP_OAUTH_PUBLIC_URL"] = origin
    about = {"MCP_OAUTH_PUBLIC_URL": origin, "MCP_OAUTH_PORT": str(server.port)}
    added = await run(folder, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD, **about)
    assert added[0] == 0, added
    try:
        async with server:
            yield server, origin, authority.write()
    finally:
        await funnel.stop()


async def start(server: LiveServer, *arguments: str, **environ: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, str(SERVER), "try", *arguments),
        cwd=server.directory,
        env={**server.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def allow(process: asyncio.subprocess.Process, browser: Browser) -> str:
    """The person does what the command asks for; what it has printed in the end."""
    assert process.stdout is not None
    printed = ""
    while not (found := re.search(r"Sign in and allow it here: (\S+)\n", printed)):
        line = (await process.stdout.readline()).decode()
        assert line, printed
        printed += line
    page = await browser.get(found[1])
    if any(name == "password" for form in page.forms for name, _ in form.fields):
        page = await browser.sign_in(page, "ada", PASSWORD)
    assert (await AsyncHTTPClient().fetch((await browser.decide(page)).location)).code == 200
    return printed + (await process.stdout.read()).decode()


async def test_it_connects_through_https(tmp_path: Path) -> None:
    async with public(tmp_path) as (server, origin, trusted):
        browser = Browser(origin, origin, str(trusted))
        for name in ("chatgpt", "claude-code"):
            process = await start(server, "--as", name, "--no-browser", SSL_CERT_FILE=str(trusted))
            printed = await allow(process, browser)
            assert await process.wait() == 0, printed
            assert f"connects to {origin}/mcp\n" in printed
            assert "✗" not in printed
            assert printed.splitlines()[-1].startswith("Connected")
        assert all(line.split("=")[0].startswith("__Host-") for line in browser.set_cookie_lines)
        stories: list[dict[str, Any]] = await ask(server.directory / "data", "trace list", {})
        assert [(one["client"], one["state"], one["addresses"]) for one in stories] == [
            ("ChatGPT", "connected", [PEER]),
            ("Claude Code", "signed out", [PEER]),  # It has no registration to remove, but a grant to give back.
        ]
        sessions = await ask(server.directory / "data", "session list", {})
        assert [one for one in sessions if one["client_id"]] == []


async def test_a_certificate_that_nobody_trusts_is_told(tmp_path: Path) -> None:
    async with public(tmp_path) as (server, origin, _):
        process = await start(server, "--as", "claude-code", "--no-browser")
        printed = (await process.communicate())[0].decode()
        assert process.returncode == 1
        assert f"the certificate of {origin.removeprefix('https://')} is not accepted" in printed
        assert "tailscale cert" in printed
