"""GitHub's answers in pieces and at length, long ways there, and many ways back."""

import json
import random
import secrets
import string
from pathlib import Path

import pytest

from mcpauth.app import Services
from tests.browser import Browser
from tests.conftest import ORIGIN, FixedAmbient
from tests.fakes.github import FakeGitHub
from tests.identity.conftest import CALLBACK, DEPART, at_github, query, signed_in, through_github
from tests.oauth_client import OAuthClient, answer

MEBIBYTE = 1024 * 1024


@pytest.fixture
def environment(tmp_path: Path, github: FakeGitHub) -> dict[str, str]:
    return {
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        "MCP_OAUTH_ALLOWED_USERS": "github:octocat",
        **github.environment,
    }


async def test_answers_that_come_in_pieces_are_read_to_their_end(browser: Browser, github: FakeGitHub) -> None:
    github.in_pieces = True
    assert signed_in(await through_github(browser))


def user_of_length(length: int) -> str:
    user = {"id": 583231, "login": "octocat", "bio": ""}
    return json.dumps({**user, "bio": "x" * (length - len(json.dumps(user)))})


@pytest.mark.parametrize("in_pieces", [False, True])
async def test_an_answer_of_one_mebibyte_is_the_longest(
    browser: Browser, github: FakeGitHub, services: Services, in_pieces: bool
) -> None:
    github.in_pieces = in_pieces
    github.user = user_of_length(MEBIBYTE + 1)
    page = await through_github(browser)
    assert page.status == 502
    assert "Signing in with GitHub did not work" in page.text
    assert await services.users.list_all() == []
    github.user = user_of_length(MEBIBYTE)
    assert signed_in(await through_github(browser))


async def test_a_token_answer_that_is_too_long_is_a_page(browser: Browser, github: FakeGitHub) -> None:
    github.token = json.dumps({"access_token": "x" * MEBIBYTE})
    assert (await through_github(browser)).status == 502
    assert github.requests["/user"] == 0


def cookie_sizes(browser: Browser) -> list[int]:
    """What browsers count: the name and the value of each."""
    return [len(name) + len(value) for name, value in browser.cookies.items()]


async def test_a_long_state_goes_through_github_in_a_cookie_that_browsers_keep(
    browser: Browser, client: OAuthClient
) -> None:
    # As hard to compress as such texts can be.
    alphabet = string.ascii_letters + string.digits + "-_."
    client.state = "".join(random.Random(1).choices(alphabet, k=3000))  # noqa: S311
    client.redirect_uri = "https://chatgpt.com/connector/oauth/" + "a1B2" * 10
    await client.register(redirect_uris=[client.redirect_uri])
    away = await browser.get(client.authorization_url(scope="mcp user:email", resource=f"{ORIGIN}/mcp"))
    assert away.location.startswith("http://127.0.0.1:")
    assert max(cookie_sizes(browser)) < 4096
    page = await browser.get(await at_github(away))
    assert answer(await browser.decide(page))["state"] == client.state


async def test_a_longer_state_is_refused(browser: Browser, client: OAuthClient, github: FakeGitHub) -> None:
    await client.register()
    page = await browser.get(client.authorization_url(state=secrets.token_urlsafe(3000)))
    assert page.location.startswith(client.redirect_uri)
    assert answer(page)["error"] == "invalid_request"
    assert "shorter state" in answer(page)["error_description"]
    assert not browser.cookies
    assert github.requests["/login/oauth/authorize"] == 0


async def test_thirty_ways_back_in_a_quarter_of_an_hour_are_enough(
    browser: Browser, other_browser: Browser, github: FakeGitHub, ambient: FixedAmbient
) -> None:
    state = query((await browser.get(DEPART)).location)["state"]
    # Whether they lead anywhere or not.
    for _ in range(30):
        assert (await browser.get(f"{CALLBACK}?code=x&state={state}")).status in (400, 502)
        ambient.time += 1
    back = await at_github(await browser.get(DEPART))
    asked = github.requests.copy()
    refused = await browser.get(back)
    assert refused.status == 429
    assert "Too many attempts" in refused.text
    assert "Try again in 15 minutes" in refused.text
    assert github.requests == asked
    # Somebody else is somebody else.
    assert signed_in(await through_github(other_browser))
    # It was not used up, and with time it works.
    ambient.time += 15 * 60 - 30
    assert signed_in(await through_github(browser))
