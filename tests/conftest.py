"""What every test may ask for: a loop, a clock that stands still, a database in a temporary place."""

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from mcpauth.ambient import Ambient
from mcpauth.store.database import Database


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run every ``async def test_*`` on the pytest-tornado loop."""
    for item in items:
        if inspect.iscoroutinefunction(getattr(item, "obj", None)):
            item.add_marker(pytest.mark.gen_test(timeout=60))


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """pytest-tornado's own uses make_current, deprecated since Tornado 6.2."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
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
