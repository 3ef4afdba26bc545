"""What every test may ask for: a loop, a clock that stands still, a database in a temporary place."""

import asyncio
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket

import argon2
import pytest
from tornado import web
from tornado.ioloop import IOLoop

from mcpauth.ambient import Ambient
from mcpauth.app import Services, build_services
from mcpauth.identity import password
from mcpauth.models.records import User
from mcpauth.routes import make_app
from mcpauth.settings import Settings
from mcpauth.store.database import Database
from mcpauth.web.server import LimitedServer
from tests.browser import Browser
from tests.fakes.name_server import FakeNameServer
from tests.fakes.tailscaled import FakeTailscaled
from tests.oauth_client import OAuthClient

# The public origin of the application under test. Requests go to a port of this computer and name it as their host.
ORIGIN = "https://host.example.ts.net"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every ``async def test_*`` on the pytest-tornado loop; a module may give its tests more time."""
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)) and item.get_closest_marker("gen_test") is None:
            item.add_marker(pytest.mark.gen_test(timeout=60))


# What a password really costs: a tenth of a second and more, which thousands of tests would pay for.
COST = password.COST


@pytest.fixture(scope="session", autouse=True)
def cheap_passwords() -> None:
    password.COST = argon2.profiles.CHEAPEST


@pytest.fixture
def new_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes the loop of each test."""
    return asyncio.new_event_loop


@pytest.fixture
def io_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> Iterator[IOLoop]:
    yield from current_loop(new_loop())


def current_loop(asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[IOLoop]:
    """A fixture's: pytest-tornado's own uses make_current, deprecated since Tornado 6.2."""
    loop = IOLoop(asyncio_loop=asyncio_loop, make_current=False)
    asyncio.set_event_loop(asyncio_loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


class FixedAmbient(Ambient):
    """A clock that moves when told to. The randomness is real: nothing should depend on it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000

    def now(self) -> int:
        return self.time

    def instant(self) -> float:
        return float(self.time)


@pytest.fixture
def ambient() -> FixedAmbient:
    return FixedAmbient()


@pytest.fixture
def database(io_loop: IOLoop, tmp_path: Path) -> Iterator[Database]:
    database = io_loop.run_sync(lambda: Database.open(tmp_path / "mcpauth.sqlite3"))
    yield database
    io_loop.run_sync(database.close)


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The settings of the application under test; a test module overrides it for others."""
    return {"MCP_OAUTH_PUBLIC_URL": ORIGIN, "MCP_OAUTH_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def services(io_loop: IOLoop, environment: dict[str, str], ambient: FixedAmbient) -> Iterator[Services]:
    """Every part of a server, on a clock that stands still."""

    async def start() -> Services:
        services = await build_services(Settings.from_env(environment), ambient)
        await services.start()
        return services

    services = io_loop.run_sync(start)
    yield services
    io_loop.run_sync(services.close)


@pytest.fixture
def app(services: Services) -> web.Application:
    return make_app(services)


@pytest.fixture
def http_server(io_loop: IOLoop, app: web.Application, _unused_port: tuple[socket, int]) -> Iterator[LimitedServer]:
    """pytest-tornado's own is Tornado's bare one."""

    async def start() -> LimitedServer:
        server = LimitedServer(app, most=1000)
        server.add_socket(_unused_port[0])
        return server

    server = io_loop.run_sync(start)
    yield server
    server.stop()
    io_loop.run_sync(server.close_all_connections)


@pytest.fixture
def browser(http_server: object, base_url: str) -> Browser:
    """A person's browser, without a picture: cookies, forms, redirects."""
    return Browser(ORIGIN, base_url)


@pytest.fixture
def client(http_server: object, base_url: str) -> OAuthClient:
    """A public client on this computer, not registered yet."""
    return OAuthClient(ORIGIN, base_url)


@pytest.fixture
def tailscaled(io_loop: IOLoop) -> Iterator[FakeTailscaled]:
    """The tailscaled of this machine, for MCP_OAUTH_TAILSCALE_SOCKET."""
    tailscaled = FakeTailscaled()
    io_loop.run_sync(tailscaled.start)
    yield tailscaled
    io_loop.run_sync(tailscaled.stop)


@pytest.fixture
def name_server(io_loop: IOLoop) -> Iterator[FakeNameServer]:
    """The one name server of the internet."""
    name_server = FakeNameServer()
    io_loop.run_sync(name_server.start)
    yield name_server
    io_loop.run_sync(name_server.stop)


PASSWORD = "correct horse battery staple"


@pytest.fixture
def owner(io_loop: IOLoop, services: Services) -> User:
    """The owner, called ada, who signs in with PASSWORD."""

    async def add() -> User:
        hashed = await services.passwords.hash(PASSWORD)
        user = await services.users.add_owner("user-ada", "ada", services.ambient.now(), password_hash=hashed)
        assert user is not None
        return user

    return io_loop.run_sync(add)
