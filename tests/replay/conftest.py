"""One server for all clients of a module, on a clock that only goes when a client is idle."""

import asyncio
import itertools
import json
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.testing import bind_unused_port

from mcpauth.app import Services, build_services
from mcpauth.replay.attempt import Attempt
from mcpauth.replay.play import Outcome, play
from mcpauth.replay.sequence import Client, Run
from mcpauth.replay.wire import Wire
from mcpauth.routes import make_app, make_server
from mcpauth.settings import Settings
from tests.browser import Browser, Page
from tests.conftest import PASSWORD, FixedAmbient, current_loop
from tests.fakes.documents import DocumentHost

CHILD = Path(__file__).parents[1] / "fakes" / "mcp_child.py"
ADDRESSES = itertools.count(1)


class Ada:
    """The owner, in her browser, who signs in where she has to."""

    def __init__(self, origin: str) -> None:
        self._browser = Browser(origin, origin)

    async def allow(self, url: str) -> str:
        return await self._answer(url, "allow")

    async def deny(self, url: str) -> str:
        return await self._answer(url, "deny")

    async def _answer(self, url: str, decision: str) -> str:
        page = await self._browser.get(url)
        if any(name == "password" for form in page.forms for name, _ in form.fields):
            page = await self._browser.sign_in(page, "ada", PASSWORD)
        return sent_to(await self._browser.decide(page, decision))


def sent_to(page: Page) -> str:
    """By a redirect that a GET follows, or by the page that stands in for one."""
    if page.status == 200:
        return page.link("data-continue")
    assert page.status in (302, 303), page.text[:500]
    return page.location


class Server:
    """``origin`` has /mcp, /mcp/files, which speaks both eras, and /mcp/old, which speaks the legacy one only."""

    def __init__(self, origin: str, services: Services, ambient: FixedAmbient) -> None:
        self.origin, self.services, self.ambient = origin, services, ambient
        self._person = Ada(origin)

    @asynccontextmanager
    async def attempt(self, client: Client, run: Run, path: str = "/mcp", **more: Any) -> AsyncIterator[Attempt]:
        """From an address of its own, so that no limit for one address counts all clients."""
        number = next(ADDRESSES)
        headers = {"X-Forwarded-For": f"198.51.{number // 256}.{number % 256}"}
        async with aiohttp.ClientSession(headers=headers, cookie_jar=aiohttp.DummyCookieJar()) as http:
            wire, url = Wire(http, client.timeout, "tailscale funnel --bg 8123"), self.origin + path
            yield Attempt(client, run, url, wire, self._person, self.ambient, idle=self._idle, **more)

    async def replay(self, client: Client, run: Run, path: str = "/mcp", **more: Any) -> tuple[Attempt, list[Outcome]]:
        async with self.attempt(client, run, path, **more) as attempt:
            return attempt, [outcome async for outcome in play(attempt)]

    async def _idle(self, seconds: int) -> None:
        self.ambient.time += seconds


@pytest.fixture(scope="module")
def io_loop() -> Iterator[IOLoop]:
    yield from current_loop(asyncio.new_event_loop())


@pytest.fixture(scope="module")
def listener() -> tuple[socket.socket, int]:
    """Where the server listens, and the port."""
    return bind_unused_port()


@pytest.fixture(scope="module")
def origin(listener: tuple[socket.socket, int]) -> str:
    """The public origin; another one for a module that puts something in front."""
    return f"http://localhost:{listener[1]}"


@pytest.fixture(scope="module")
def server(
    io_loop: IOLoop, listener: tuple[socket.socket, int], origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    data_dir, ambient = tmp_path_factory.mktemp("data"), FixedAmbient()
    (data_dir / "files").mkdir()
    (data_dir / "files" / "hello.md").write_text("hello\n")
    servers = {
        "files": {"builtin": "files", "root": "files"},
        "old": {"command": sys.executable, "args": [str(CHILD), "echo"]},
    }
    (data_dir / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data_dir / "mcp.json").chmod(0o600)
    environment = {
        "MCP_OAUTH_PUBLIC_URL": origin,
        "MCP_OAUTH_DATA_DIR": str(data_dir),
        # No document is fetched from the internet: the copies that are shipped stand in.
        "MCP_OAUTH_CIMD_LOOPBACK": "true",
    }

    async def start() -> tuple[Services, HTTPServer]:
        services = await build_services(Settings.from_env(environment), ambient)
        await services.start()
        hashed = await services.passwords.hash(PASSWORD)
        await services.users.add_owner("user-ada", "ada", ambient.now(), password_hash=hashed)
        http = make_server(make_app(services), most=100)
        http.add_socket(listener[0])
        return services, http

    async def stop() -> None:
        http.stop()
        await http.close_all_connections()
        await services.close()

    services, http = io_loop.run_sync(start)
    yield Server(origin, services, ambient)
    io_loop.run_sync(stop)


@pytest.fixture(scope="module")
def host(io_loop: IOLoop) -> Iterator[DocumentHost]:
    """Where a vendor, or a person, publishes what a client is."""
    host = DocumentHost()
    io_loop.run_sync(host.start)
    yield host
    io_loop.run_sync(host.stop)
