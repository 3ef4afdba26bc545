"""The authorization server as its clients see it: over HTTP."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mcpauth.app import Services, build_services
from mcpauth.routes import make_app
from mcpauth.settings import Settings
from tests.conftest import ORIGIN
from tests.oauth_client import ROOT, SEED, OAuthClient


@pytest.fixture(params=[ROOT, SEED], ids=["root", "seed"])
def at(request):
    """The endpoints of either issuer."""
    return request.param


@pytest.fixture
def other(http_server, base_url):
    """A second client."""
    return OAuthClient(ORIGIN, base_url)


@pytest.fixture
def database_file(services) -> Path:
    return services.settings.data_dir / "mcpauth.sqlite3"


@pytest.fixture
def rows(database_file):
    """How many rows each table has, as the file says."""

    def count() -> dict[str, int]:
        with closing(sqlite3.connect(database_file)) as connection:
            tables = [row[0] for row in connection.execute("select name from sqlite_master where type = 'table'")]
            return {name: connection.execute(f"select count(*) from {name}").fetchone()[0] for name in tables}  # noqa: S608

    return count


@pytest.fixture
def running(io_loop, environment, ambient) -> Iterator[list[Services]]:
    """The servers there were, one after the other; the last one is running."""

    async def start() -> Services:
        services = await build_services(Settings.from_env(environment), ambient)
        await services.start()
        return services

    running = [io_loop.run_sync(start)]
    yield running
    io_loop.run_sync(running[-1].close)


@pytest.fixture
def services(running) -> Services:
    return running[0]


@pytest.fixture
def restart(running, environment, ambient, http_server):
    """Ends the server and starts another one on the same data, at the same address."""

    async def again() -> Services:
        await running[-1].close()
        running.append(await build_services(Settings.from_env(environment), ambient))
        await running[-1].start()
        http_server.request_callback = make_app(running[-1])
        return running[-1]

    return again


@pytest.fixture
def stories(services):
    """Those there are, as ``trace`` shows them."""

    async def stories():
        listed = await services.operations.trace_list()
        return [await services.operations.trace_show(one["id"]) for one in listed]

    return stories
