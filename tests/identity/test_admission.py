"""Who may come in, once GitHub has said who they are."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mcpauth.app import Services
from mcpauth.models.records import Identity
from tests.browser import Browser, Page
from tests.conftest import ORIGIN, FixedAmbient
from tests.fakes.github import FakeGitHub
from tests.identity.conftest import having, through_github
from tests.oauth_client import OAuthClient

DAY = 86400

Come = Callable[..., Awaitable[Page]]


@pytest.fixture
def environment(tmp_path: Path, github: FakeGitHub, more: dict[str, str]) -> dict[str, str]:
    return {
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        **github.environment,
        **{f"MCP_OAUTH_{name}": value for name, value in more.items()},
    }


@pytest.fixture
def come(github: FakeGitHub, new_browser: Callable[[], Browser]) -> Come:
    """Somebody with this login and number at GitHub comes, with a browser of their own unless one is given."""

    async def come(login: str, number: int, browser: Browser | None = None) -> Page:
        github.login, github.id = login, number
        return await through_github(browser or new_browser())

    return come


async def roles(services: Services) -> dict[str, str]:
    return {one.user.name: one.user.role for one in await services.users.list_all()}


def waits(page: Page) -> bool:
    return page.status == 403 and "Waiting for approval" in page.text


def is_in(page: Page) -> bool:
    return page.status == 200 and "You are signed in" in page.text


@having(ALLOWED_USERS="github:octocat,github:hubot")
async def test_the_exact_first_entry_becomes_the_owner_and_the_others_members(come: Come, services: Services) -> None:
    assert is_in(await come("hubot", 2))
    assert is_in(await come("OctoCat", 1))
    assert await roles(services) == {"hubot": "member", "OctoCat": "owner"}


@having(ALLOWED_USERS="github:hubot,github:octocat")
async def test_a_later_entry_does_not_become_the_owner(come: Come, services: Services) -> None:
    await come("octocat", 1)
    assert await roles(services) == {"octocat": "member"}
    assert services.setup.needed


@pytest.mark.parametrize(
    "more",
    [
        {"ALLOWED_USERS": entry + rest}
        for entry in ("github:octo*", "github:*", "github:octoca?", "github:[o]ctocat", "*")
        for rest in ("", ",github:octocat")
    ],
    ids=lambda more: more["ALLOWED_USERS"],
)
async def test_a_glob_lets_in_and_makes_no_owner(more: dict[str, str], come: Come, services: Services) -> None:
    assert is_in(await come("octocat", 1))
    assert await roles(services) == {"octocat": "member"}


@having(ALLOWED_USERS="google:octocat,github:octocat@x")
async def test_an_entry_of_another_provider_is_somebody_else(come: Come, services: Services) -> None:
    assert waits(await come("octocat", 1))


@having(ALLOWED_USERS="github:octocat")
async def test_only_one_first_owner_is_made(come: Come, services: Services) -> None:
    await services.users.add_owner("user-ada", "ada", services.ambient.now())
    assert is_in(await come("octocat", 1))
    assert await roles(services) == {"ada": "owner", "octocat": "member"}


@having(ALLOWED_USERS="github:octocat")
async def test_who_renames_the_account_stays_who_they_are(come: Come, services: Services) -> None:
    await come("octocat", 1)
    assert is_in(await come("cat-of-eight", 1))
    assert await roles(services) == {"octocat": "owner"}


@having(ALLOWED_USERS="github:octocat")
async def test_who_takes_over_a_login_does_not_get_in(come: Come, services: Services) -> None:
    await come("octocat", 1)
    await come("cat-of-eight", 1)
    assert waits(await come("octocat", 2))
    assert waits(await come("OCTOCAT", 3))
    assert sorted((await roles(services)).values()) == ["owner", "pending", "pending"]


@having(ALLOWED_USERS="github:first,github:team-*")
async def test_a_login_that_a_glob_let_in_belongs_to_one_account(come: Come, services: Services) -> None:
    assert is_in(await come("team-ada", 1))
    assert waits(await come("team-ada", 2))


@having(ALLOWED_USERS="github:first,github:octocat")
async def test_a_login_that_was_taken_on_while_waiting_is_pinned_too(come: Come, services: Services) -> None:
    assert waits(await come("somebody", 1))
    assert is_in(await come("octocat", 1))
    assert waits(await come("octocat", 2))


async def test_a_stranger_waits_until_the_owner_says_yes(
    come: Come, browser: Browser, client: OAuthClient, services: Services
) -> None:
    await client.register()
    assert waits(await come("octocat", 1, browser))
    assert "You signed in as octocat" in (await come("octocat", 1, browser)).text
    # No session, no consent page, no code.
    assert not any("session" in name for name in browser.cookies)
    assert (await browser.get(client.authorization_url())).status == 302
    await services.operations.run("user approve", {"name": "github:octocat"})
    assert is_in(await come("octocat", 1, browser))
    assert "Test client wants to connect" in (await browser.get(client.authorization_url())).text
    assert await roles(services) == {"octocat": "member"}


async def test_who_has_to_wait_again_is_out_at_once(come: Come, browser: Browser, services: Services) -> None:
    await services.users.add_owner("user-ada", "ada", services.ambient.now())
    await come("octocat", 1, browser)
    await services.operations.run("user approve", {"name": "octocat"})
    assert is_in(await come("octocat", 1, browser))
    await services.operations.run("user role", {"name": "octocat", "role": "pending"})
    assert not is_in(await browser.get("/auth/oauth/signin"))
    assert waits(await come("octocat", 1, browser))


@having(ALLOWED_USERS="github:first,github:octocat")
async def test_who_is_listed_and_made_to_wait_keeps_waiting(
    come: Come, services: Services, ambient: FixedAmbient
) -> None:
    assert is_in(await come("octocat", 1))
    ambient.time += 1
    await services.operations.run("user role", {"name": "octocat", "role": "pending"})
    for _ in range(2):
        ambient.time += 1
        assert waits(await come("octocat", 1))
    assert await roles(services) == {"octocat": "pending"}
    await services.operations.run("user approve", {"name": "octocat"})
    assert is_in(await come("octocat", 1))


@having(ALLOWED_USERS="github:first,github:team-*")
async def test_who_waits_since_they_came_gets_in_once_they_are_listed(
    come: Come, services: Services, ambient: FixedAmbient
) -> None:
    assert waits(await come("somebody", 1))
    ambient.time += 1
    assert waits(await come("somebody", 1))
    ambient.time += 1
    # Here the account takes on a name that is listed; an entry that is added with a restart is the same.
    assert is_in(await come("team-ada", 1))
    assert list((await roles(services)).values()) == ["member"]


@having(ALLOWED_USERS="github:octocat,github:Team-*,google:hubot")
async def test_who_is_removed_and_still_listed_is_named(come: Come, services: Services) -> None:
    await services.users.add_owner("user-ada", "ada", services.ambient.now())
    for number, (login, listed) in enumerate([("OctoCat", True), ("team-bob", True), ("hubot", False)]):
        await come(login, number)
        removed = await services.operations.run("user remove", {"name": login})
        assert removed["still_allowed"] == ([f"github:{login}"] if listed else [])
    # It is the truth: one who is listed comes in again.
    assert is_in(await come("OctoCat", 0))
    assert waits(await come("hubot", 2))


@having(AUTO_CREATE_USERS="false", ALLOWED_USERS="github:hubot")
async def test_strangers_can_be_refused_instead(come: Come, services: Services) -> None:
    page = await come("octocat", 1)
    assert page.status == 403
    assert "You cannot sign in here" in page.text
    assert is_in(await come("hubot", 2))
    assert await roles(services) == {"hubot": "owner"}


async def test_a_hundred_may_wait_and_no_more(come: Come, services: Services, ambient: FixedAmbient) -> None:
    for number in range(100):
        identity = Identity(provider="github", provider_id=str(number), login=f"p{number}")
        await services.users.add(f"p{number}", f"p{number}", "pending", ambient.now(), identity=identity)
    page = await come("octocat", 5000)
    assert page.status == 403
    assert "Too many people are waiting" in page.text
    assert "octocat" not in await roles(services)
    # Whoever waits already is told so, and room is made by removing somebody.
    assert waits(await come("p7", 7))
    await services.operations.run("user remove", {"name": "p1"})
    assert waits(await come("octocat", 5000))


async def test_after_30_days_of_waiting_somebody_is_forgotten(
    come: Come, services: Services, ambient: FixedAmbient
) -> None:
    await come("octocat", 1)
    ambient.time += 30 * DAY - 1
    await services.sweep.run(ambient.now())
    assert await roles(services) == {"octocat": "pending"}
    ambient.time += 1
    await services.sweep.run(ambient.now())
    assert await roles(services) == {}
    assert waits(await come("octocat", 1))


@having(TRUSTED_PROVIDERS="password")
async def test_a_provider_that_is_not_trusted_signs_nobody_in(browser: Browser, services: Services) -> None:
    assert "Continue with GitHub" not in (await browser.get("/auth/oauth/signin")).text
    assert (await browser.get("/auth/oauth/signin?provider=github")).status == 404


async def test_an_unknown_provider_is_a_page(browser: Browser) -> None:
    assert (await browser.get("/auth/oauth/signin?provider=nobody")).status == 404


async def test_a_second_github_login_with_a_users_name_is_somebody_else(come: Come, services: Services) -> None:
    await services.users.add_owner("user-ada", "ada", services.ambient.now())
    assert waits(await come("ada", 1))
    assert await roles(services) == {"ada": "owner", "ada-2": "pending"}
