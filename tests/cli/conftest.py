"""A process of the server, an owner made without a browser, and a client that is connected to it."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.live import LiveServer, run
from tests.oauth_client import OAuthClient

Run = Callable[..., Awaitable["Done"]]


class Done(NamedTuple):
    status: int
    printed: str
    said: str

    @property
    def json(self) -> Any:
        assert self.status == 0, self
        return json.loads(self.printed)


@pytest.fixture
def command(tmp_path: Path) -> Run:
    """Runs a command in the folder of the test, as a process of its own."""

    async def command(*arguments: str, typed: str = "", **settings: str) -> Done:
        done = Done(*await run(tmp_path, *arguments, typed=typed, **settings))
        assert "Traceback" not in done.said, done.said
        return done

    return command


@pytest.fixture
def add_owner(command: Run) -> Callable[[], Awaitable[Done]]:
    return lambda: command("user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD + "\n")


def address(server: LiveServer) -> str:
    return f"http://127.0.0.1:{server.port}"


def browser_at(server: LiveServer) -> Browser:
    return Browser(server.origin, address(server))


async def connect(server: LiveServer) -> OAuthClient:
    """A client that ada has connected."""
    client = OAuthClient(server.origin, address(server))
    await client.connect(browser_at(server), "ada", PASSWORD)
    return client
