"""GitHub as a sign-in, a second browser, and what the server wrote to its log."""

import io
import logging
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from mcpauth import log
from tests.browser import Browser, Page
from tests.conftest import ORIGIN
from tests.fakes.github import FakeGitHub

CALLBACK = "/auth/oauth/callback"
DEPART = "/auth/oauth/signin?provider=github"


def having(**settings: str) -> Any:
    """The test runs on a server with these settings, without the prefix, beside those of its module."""
    return pytest.mark.parametrize("more", [settings], ids=[""])


@pytest.fixture
def more() -> dict[str, str]:
    return {}


@pytest.fixture
def github(io_loop: IOLoop) -> Iterator[FakeGitHub]:
    github = FakeGitHub()
    io_loop.run_sync(github.start)
    yield github
    io_loop.run_sync(github.stop)


@pytest.fixture
def other_browser(http_server: object, base_url: str) -> Browser:
    """Somebody else's, at another address."""
    browser = Browser(ORIGIN, base_url)
    browser.address = "198.51.100.77"
    return browser


@pytest.fixture
def new_browser(http_server: object, base_url: str) -> Callable[[], Browser]:
    return lambda: Browser(ORIGIN, base_url)


@pytest.fixture
def written_log() -> Iterator[io.StringIO]:
    """Everything that is logged, down to debug, as the server's own formatters write it."""
    text = io.StringIO()
    handlers = [logging.StreamHandler(text), logging.StreamHandler(text)]
    handlers[0].setFormatter(log.JSONFormatter())
    handlers[1].setFormatter(log.ConsoleFormatter())
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.DEBUG)
    for handler in handlers:
        root.addHandler(handler)
    yield text
    root.setLevel(before)
    for handler in handlers:
        root.removeHandler(handler)


def query(url: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


def signed_in(page: Page) -> bool:
    """As the user that GitHub has unless a test says otherwise."""
    return "You signed in as octocat" in page.text


async def at_github(page: Page) -> str:
    """What the browser does at GitHub, where ``page`` sends it; the address it is sent back to."""
    assert page.status == 302, page.text[:300]
    response: Any = await AsyncHTTPClient().fetch(page.location, follow_redirects=False, raise_error=False)
    assert response.code == 302, response.body
    location: str = response.headers["Location"]
    return location


async def through_github(browser: Browser, url: str = DEPART) -> Page:
    """Sign in with GitHub, from ``url`` to where it ends."""
    return await browser.get(await at_github(await browser.get(url)))
