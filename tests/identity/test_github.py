"""Signing in with GitHub: the way there and back, and what may go wrong on it."""

import asyncio
import io
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest
from tornado.httpserver import HTTPServer

from mcpauth import __version__
from mcpauth.app import Services, build_services
from mcpauth.identity import github as github_sign_in
from mcpauth.routes import make_app
from mcpauth.settings import Settings
from tests.browser import Browser, Page
from tests.conftest import ORIGIN, FixedAmbient
from tests.fakes.github import CLIENT_ID, FakeGitHub
from tests.identity.conftest import CALLBACK, DEPART, at_github, query, signed_in, through_github
from tests.oauth_client import OAuthClient

ACCESS_TOKEN = "/login/oauth/access_token"


@pytest.fixture
def environment(tmp_path: Path, github: FakeGitHub) -> dict[str, str]:
    return {
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        "MCP_OAUTH_ALLOWED_USERS": "github:octocat",
        **github.environment,
    }


def refused(page: Page) -> bool:
    """The page for a way back that leads nowhere; and nobody is signed in by it."""
    return page.status == 400 and "This sign-in cannot be finished" in page.text


async def test_an_authorization_request_goes_to_github_with_nothing_of_the_clients(
    browser: Browser, client: OAuthClient, github: FakeGitHub
) -> None:
    await client.register()
    page = await browser.get(client.authorization_url())
    assert page.status == 302
    assert page.location.startswith(f"{github.url}/login/oauth/authorize?")
    sent = query(page.location)
    assert set(sent) == {"client_id", "redirect_uri", "state", "code_challenge", "code_challenge_method"}
    assert sent["client_id"] == CLIENT_ID
    assert sent["redirect_uri"] == ORIGIN + CALLBACK
    assert sent["code_challenge_method"] == "S256"
    assert len(sent["code_challenge"]) == 43
    assert sent["code_challenge"] != client.challenge
    for theirs in (client.state, client.client_id, client.redirect_uri, client.challenge):
        assert theirs not in page.location
    again = query((await browser.get(client.authorization_url())).location)
    assert again["state"] != sent["state"]
    assert again["code_challenge"] != sent["code_challenge"]


async def test_coming_back_leads_to_the_consent_page_and_no_further(
    browser: Browser, client: OAuthClient, services: Services
) -> None:
    await client.register()
    page = await browser.get(await at_github(await browser.get(client.authorization_url())))
    assert page.status == 200
    assert "Test client wants to connect" in page.text
    assert await services.database.fetch_one("select 1 from authorization_codes") is None


async def test_the_way_there_stores_nothing(browser: Browser, client: OAuthClient, services: Services) -> None:
    await client.register()
    for _ in range(3):
        await browser.request(client.authorization_url())
        await browser.request(client.authorization_url(), "HEAD")
        await browser.request(DEPART)
    for table in ("users", "identities", "sessions", "used_once", "grants"):
        assert await services.database.fetch_one(f"select 1 from {table}") is None  # noqa: S608


async def test_the_cookie_of_the_way_back_is_bound_and_short(browser: Browser) -> None:
    await browser.get(DEPART)
    line = next(line for line in browser.set_cookie_lines if "mcpauth_signin_" in line)
    assert line.startswith("__Host-mcpauth_signin_")
    attributes = {part.strip().lower() for part in line.split(";")[1:]}
    assert attributes == {"httponly", "max-age=600", "path=/", "samesite=lax", "secure"}


async def test_another_browser_cannot_finish_it(browser: Browser, other_browser: Browser, services: Services) -> None:
    back = await at_github(await browser.get(DEPART))
    assert refused(await other_browser.get(back))
    # Not even one that is on a way of its own.
    await other_browser.get(DEPART)
    assert refused(await other_browser.get(back))
    assert await services.users.list_all() == []
    assert signed_in(await browser.get(back))


async def test_the_cookie_of_one_way_does_not_finish_another(browser: Browser, services: Services) -> None:
    first, second = [await at_github(await browser.get(DEPART)) for _ in range(2)]
    one, other = sorted(name for name in browser.cookies if "signin_" in name)
    browser.cookies[one], browser.cookies[other] = browser.cookies[other], browser.cookies[one]
    assert refused(await browser.get(first))
    assert refused(await browser.get(second))
    assert await services.users.list_all() == []


async def test_it_finishes_once(browser: Browser, github: FakeGitHub) -> None:
    back = await at_github(await browser.get(DEPART))
    cookies = dict(browser.cookies)
    assert signed_in(await browser.get(back))
    assert not any("signin_" in name for name in browser.cookies)
    browser.cookies = dict(cookies)
    assert refused(await browser.get(back))
    assert github.requests[ACCESS_TOKEN] == 1


async def test_a_restart_does_not_make_it_count_again(
    browser: Browser, services: Services, environment: dict[str, str], ambient: FixedAmbient, http_server: HTTPServer
) -> None:
    page = await browser.get(DEPART)
    cookies = dict(browser.cookies)
    assert signed_in(await browser.get(await at_github(page)))
    again = await build_services(Settings.from_env(environment), ambient)
    try:
        await again.start()
        http_server.request_callback = make_app(again)
        browser.cookies = dict(cookies)
        # With a code that GitHub has just made: only the state is the same.
        assert refused(await browser.get(await at_github(page)))
    finally:
        await again.close()


async def test_of_two_at_once_one_is_let_through(browser: Browser, github: FakeGitHub) -> None:
    back = await at_github(await browser.get(DEPART))
    pages = await asyncio.gather(browser.get(back), browser.get(back))
    assert sorted(page.status for page in pages) == [200, 400]
    assert github.requests[ACCESS_TOKEN] == 1


async def test_it_may_take_ten_minutes(browser: Browser, ambient: FixedAmbient) -> None:
    back, late = [await at_github(await browser.get(DEPART)) for _ in range(2)]
    ambient.time += 600
    assert signed_in(await browser.get(back))
    ambient.time += 1
    assert refused(await browser.get(late))


async def test_several_tabs_work_in_any_order(
    browser: Browser, client: OAuthClient, github: FakeGitHub, new_browser: Callable[[], Browser]
) -> None:
    await client.register()
    backs = [await at_github(await browser.get(client.authorization_url(state=f"tab {tab}"))) for tab in range(4)]
    for back in reversed(backs):
        assert "Test client wants to connect" in (await browser.get(back)).text
    assert github.requests[ACCESS_TOKEN] == 4


async def test_abandoned_tabs_do_not_pile_up(browser: Browser) -> None:
    for _ in range(30):
        page = await browser.get(DEPART)
    assert sum("signin_" in name for name in browser.cookies) <= 6
    assert signed_in(await browser.get(await at_github(page)))


@pytest.mark.parametrize("change", ["", "x", "AAAA" * 20, "é"])
async def test_a_state_that_is_not_ours_is_refused(browser: Browser, change: str) -> None:
    back = await at_github(await browser.get(DEPART))
    code = query(back)["code"]
    assert refused(await browser.request(f"{CALLBACK}?code={code}&state={change}"))
    assert refused(await browser.request(f"{CALLBACK}?code={code}"))
    # Nor is a cookie's content, which is sealed for another purpose.
    cookie = next(value for name, value in browser.cookies.items() if "signin_" in name)
    assert refused(await browser.request(f"{CALLBACK}?code={code}&state={cookie}"))


async def test_a_stolen_code_is_of_no_use_without_its_verifier(
    browser: Browser, other_browser: Browser, services: Services
) -> None:
    stolen = query(await at_github(await browser.get(DEPART)))["code"]
    own = query(await at_github(await other_browser.get(DEPART)))["state"]
    page = await other_browser.get(f"{CALLBACK}?code={stolen}&state={own}")
    assert page.status == 502
    assert await services.users.list_all() == []


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        ("incorrect_client_credentials", "MCP_OAUTH_GITHUB_CLIENT_SECRET"),
        ("redirect_uri_mismatch", "callback URL"),
        ("bad_verification_code", "Sign in again"),
        ("unverified_user_email", "Verify your email address"),
        ("something_new", "Sign in again"),
    ],
)
async def test_an_error_that_comes_with_status_200_is_explained(
    browser: Browser, github: FakeGitHub, services: Services, error: str, hint: str
) -> None:
    github.refuses = error
    page = await through_github(browser)
    assert page.status == 502
    assert "Signing in with GitHub did not work" in page.text
    assert hint in page.text
    assert github.requests["/user"] == 0
    assert await services.users.list_all() == []


async def test_who_says_no_at_github_comes_back_to_a_page(browser: Browser, github: FakeGitHub) -> None:
    github.denies = "access_denied"
    page = await through_github(browser)
    assert page.status == 403
    assert "GitHub did not sign you in" in page.text
    assert github.requests[ACCESS_TOKEN] == 0


@pytest.mark.parametrize(
    "user",
    [
        {"login": "octocat"},
        {"id": "583231", "login": "octocat"},
        {"id": True, "login": "octocat"},
        {"id": None, "login": "octocat"},
        {"id": 583231},
        {"id": 583231, "login": ""},
        {"id": 583231, "login": 7},
        "[]",
        "null",
        "not json",
        '"octocat"',
        "",
    ],
)
async def test_an_answer_that_names_nobody_lets_nobody_in(
    browser: Browser, github: FakeGitHub, services: Services, user: object
) -> None:
    github.user = user
    page = await through_github(browser)
    assert page.status == 502
    assert "GitHub did not answer. Wait a moment" in page.text
    assert await services.users.list_all() == []


@pytest.mark.parametrize("token", ["{}", "[]", '{"access_token": ""}', '{"access_token": 5}', "<html>", ""])
async def test_a_token_answer_that_is_none_is_a_page(browser: Browser, github: FakeGitHub, token: str) -> None:
    github.token = token
    assert (await through_github(browser)).status == 502
    assert github.requests["/user"] == 0


@pytest.mark.parametrize(("at_token", "at_user"), [(500, 200), (302, 200), (200, 401), (200, 500)])
async def test_a_failing_github_is_a_page(browser: Browser, github: FakeGitHub, at_token: int, at_user: int) -> None:
    github.token_status, github.user_status = at_token, at_user
    assert (await through_github(browser)).status == 502


async def test_a_github_that_is_down_is_a_page(browser: Browser, github: FakeGitHub) -> None:
    back = await at_github(await browser.get(DEPART))
    await github.stop()
    page = await browser.get(back)
    assert page.status == 502
    assert "GitHub did not answer" in page.text


async def test_a_github_that_never_answers_is_given_up(
    browser: Browser, github: FakeGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_sign_in, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
    back = await at_github(await browser.get(DEPART))
    github.held = asyncio.Event()
    page = await browser.get(back)
    assert page.status == 502
    assert "GitHub did not answer" in page.text


async def test_its_token_is_dropped(
    browser: Browser, github: FakeGitHub, services: Services, written_log: io.StringIO
) -> None:
    assert signed_in(await through_github(browser))
    assert github.user_agents == {f"mcpauth/{__version__}"}
    assert len(github.issued) == 1
    text = written_log.getvalue()
    assert "signed_in" in text
    with closing(sqlite3.connect(services.settings.data_dir / "mcpauth.sqlite3")) as connection:
        dump = "\n".join(connection.iterdump())
    assert "octocat" in dump
    files = b"".join(path.read_bytes() for path in sorted(services.settings.data_dir.rglob("*")) if path.is_file())
    secrets = [github.issued[0], github.environment["MCP_OAUTH_GITHUB_CLIENT_SECRET"], *browser.cookies.values()]
    for secret in secrets:
        assert secret not in text
        assert secret not in dump
        assert secret.encode() not in files
    for sent in github.seen:
        assert sent["state"] not in text
