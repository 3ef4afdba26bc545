"""/setup: whoever has the code that was printed becomes the owner, once."""

import asyncio
import io
from pathlib import Path

import pytest

from mcpauth.app import Services
from tests.browser import Browser, Page
from tests.conftest import PASSWORD, FixedAmbient
from tests.fakes.github import FakeGitHub
from tests.identity.conftest import at_github, through_github

SETUP = "/setup"


async def open_link(browser: Browser, services: Services) -> Page:
    return await browser.get(f"{SETUP}?code={services.setup.code}")


async def fill_in(browser: Browser, page: Page, name: str = "ada", password: str = PASSWORD, again: str = "") -> Page:
    fields = {"username": name, "password": password, "password_again": again or password}
    return await browser.submit(page, page.form("password"), fields)


async def owners(services: Services) -> list[str]:
    return [one.user.name for one in await services.users.list_all() if one.user.role == "owner"]


async def test_the_link_makes_the_owner_who_can_then_sign_in(browser: Browser, services: Services) -> None:
    page = await open_link(browser, services)
    assert page.status == 200
    done = await fill_in(browser, page)
    assert done.status == 200
    assert "This server is yours, ada" in done.text
    assert await owners(services) == ["ada"]
    assert "You signed in as ada" in (await browser.get("/auth/oauth/signin")).text
    browser.cookies.clear()
    assert "You are signed in" in (await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)).text


async def test_the_code_leaves_the_address_bar_at_once(browser: Browser, services: Services) -> None:
    first = await browser.request(f"{SETUP}?code={services.setup.code}")
    assert (first.status, first.location) == (302, SETUP)
    assert first.headers["Referrer-Policy"] == "no-referrer"
    assert first.headers["Cache-Control"] == "no-store"
    assert services.setup.code not in first.body
    page = await browser.get(SETUP)
    assert page.status == 200
    assert services.setup.code not in page.body


def test_the_code_has_128_bits_and_is_new_at_each_start(services: Services) -> None:
    assert len(services.setup.code) == 22
    assert services.setup.code not in {services.ambient.identifier() for _ in range(10)}


async def test_the_code_is_in_no_log(browser: Browser, services: Services, written_log: io.StringIO) -> None:
    await browser.get(f"{SETUP}?code=a-wrong-code")
    await browser.request(f"{SETUP}?code={services.setup.code}", "PUT", "")
    await fill_in(browser, await open_link(browser, services))
    text = written_log.getvalue()
    assert "owner_made" in text
    assert services.setup.code not in text
    assert "a-wrong-code" not in text
    assert PASSWORD not in text


async def test_a_wrong_code_opens_nothing(browser: Browser, services: Services) -> None:
    for code in ("wrong", services.setup.code[:-1], services.setup.code + "x", "ü"):
        page = await browser.get(f"{SETUP}?code={code}")
        assert page.status == 403
        assert "This link is not valid" in page.text
    page = await browser.get(SETUP)
    assert page.status == 403
    assert "This server has no owner yet" in page.text
    assert not page.forms
    assert "__Host-mcpauth_setup" not in browser.cookies


async def test_attempts_are_limited(browser: Browser, other_browser: Browser, services: Services) -> None:
    for _ in range(10):
        assert (await browser.get(f"{SETUP}?code=wrong")).status == 403
    refused = await open_link(browser, services)
    assert refused.status == 429
    assert "Try again in 15 minutes" in refused.text
    # Somebody who guesses does not keep the owner out.
    assert (await open_link(other_browser, services)).status == 200


async def test_a_form_without_the_code_makes_nobody(
    browser: Browser, other_browser: Browser, services: Services
) -> None:
    page = await open_link(browser, services)
    stolen = await other_browser.get("/auth/oauth/signin")
    token = dict(stolen.form("password").fields)["_xsrf"]
    page.form("password").fields[:] = [("_xsrf", token), ("username", ""), ("password", ""), ("password_again", "")]
    refused = await fill_in(other_browser, page, "mallory")
    assert refused.status == 403
    assert await owners(services) == []


async def test_the_link_and_what_it_opened_are_good_for_one_hour(
    browser: Browser, other_browser: Browser, services: Services, ambient: FixedAmbient
) -> None:
    ambient.time += 3599
    page = await open_link(browser, services)
    assert page.status == 200
    ambient.time += 1
    refused = await open_link(other_browser, services)
    assert refused.status == 403
    assert "This link is not valid" in refused.text
    assert (await fill_in(browser, page)).status == 403
    assert (await browser.get(SETUP)).status == 403
    assert await owners(services) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"password": "short"}, "at least 12 characters"),
        ({"again": "something else entirely"}, "The two passwords differ"),
        ({"name": "   "}, "at least one character"),
        ({"name": "x" * 101}, "at most 100 characters"),
        ({"name": "a\u202eb"}, "control characters"),
        ({"password": "x" * 1001}, "at most 1000 characters"),
    ],
)
async def test_what_the_form_does_not_take(
    browser: Browser, services: Services, fields: dict[str, str], said: str
) -> None:
    refused = await fill_in(browser, await open_link(browser, services), **fields)
    assert refused.status == 400
    assert said in refused.text
    assert await owners(services) == []
    assert (await fill_in(browser, refused)).status == 200


async def test_of_two_at_once_one_becomes_the_owner(
    browser: Browser, other_browser: Browser, services: Services
) -> None:
    both = (browser, other_browser)
    pages = [await open_link(one, services) for one in both]
    done = await asyncio.gather(
        *(fill_in(one, page, name) for one, page, name in zip(both, pages, ("ada", "bob"), strict=True))
    )
    assert sorted(page.status for page in done) == [200, 404]
    assert len(await owners(services)) == 1
    assert len(await services.users.list_all()) == 1


async def test_afterwards_there_is_nothing_here_for_anybody(
    browser: Browser, other_browser: Browser, services: Services
) -> None:
    page = await open_link(browser, services)
    other = await open_link(other_browser, services)
    await fill_in(browser, page)
    for one in (browser, other_browser):
        assert (await one.get(SETUP)).status == 404
        again = await open_link(one, services)
        assert again.status == 404
        assert "This server has an owner already" in again.text
        assert (await one.get(f"{SETUP}?code=wrong")).status == 404
        assert (await one.get(f"{SETUP}?provider=github")).status == 404
        assert (await one.request(SETUP, "POST", "username=x")).status == 404
        assert (await one.request(SETUP, "PUT", "")).status == 404
        assert (await one.request(SETUP, "HEAD")).status == 404
    assert (await fill_in(other_browser, other, "mallory")).status == 404
    assert await owners(services) == ["ada"]


async def test_a_program_gets_json(browser: Browser) -> None:
    refused = await browser.request(f"{SETUP}?code=wrong", Accept="application/json")
    assert refused.status == 403
    assert refused.headers["Content-Type"] == "application/json"


class TestWithGitHub:
    @pytest.fixture
    def environment(self, tmp_path: Path, github: FakeGitHub) -> dict[str, str]:
        return {
            "MCP_OAUTH_PUBLIC_URL": "https://host.example.ts.net",
            "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
            **github.environment,
        }

    async def test_whoever_signs_in_with_the_setup_code_is_the_owner(
        self, browser: Browser, services: Services
    ) -> None:
        page = await open_link(browser, services)
        assert "Continue with GitHub" in page.text
        done = await through_github(browser, "/setup?provider=github")
        assert "You signed in as octocat" in done.text
        assert await owners(services) == ["octocat"]
        assert (await browser.get(SETUP)).status == 404

    async def test_without_the_code_nobody_leaves_for_github_as_an_owner(
        self, browser: Browser, services: Services
    ) -> None:
        assert (await browser.get("/setup?provider=github")).status == 403
        assert "Waiting for approval" in (await through_github(browser)).text
        assert await owners(services) == []

    async def test_who_is_waiting_already_becomes_the_owner_with_the_code(
        self, browser: Browser, services: Services
    ) -> None:
        await through_github(browser)
        await open_link(browser, services)
        assert "You signed in as octocat" in (await through_github(browser, "/setup?provider=github")).text
        assert await owners(services) == ["octocat"]
        assert len(await services.users.list_all()) == 1

    async def test_two_through_github_at_once_make_one_owner(
        self, browser: Browser, other_browser: Browser, services: Services, github: FakeGitHub
    ) -> None:
        back = []
        for number, one in enumerate((browser, other_browser)):
            github.id, github.login = number, f"person-{number}"
            await open_link(one, services)
            back.append(await at_github(await one.get("/setup?provider=github")))
        pages = await asyncio.gather(browser.get(back[0]), other_browser.get(back[1]))
        assert len(await owners(services)) == 1
        assert sum("You are signed in" in page.text for page in pages) == 1
        assert sum("Waiting for approval" in page.text for page in pages) == 1
