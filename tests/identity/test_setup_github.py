"""The setup code on its way through GitHub, and setup where nobody may have a password."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop

from mcpauth.app import Services, build_services
from mcpauth.routes import make_app
from mcpauth.settings import Settings
from tests.browser import Browser
from tests.conftest import ORIGIN, PASSWORD, FixedAmbient
from tests.fakes.github import FakeGitHub
from tests.identity.conftest import at_github, through_github

DEPART = "/setup?provider=github"
TOKEN = "ab" * 16


@pytest.fixture
def environment(tmp_path: Path, github: FakeGitHub) -> dict[str, str]:
    return {
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        **github.environment,
    }


@pytest.fixture
def restart(
    io_loop: IOLoop,
    services: Services,
    environment: dict[str, str],
    ambient: FixedAmbient,
    http_server: HTTPServer,
) -> Iterator[Callable[[], Awaitable[Services]]]:
    """Another server on the same data, at the same address."""
    started: list[Services] = []

    async def restart() -> Services:
        again = await build_services(Settings.from_env(environment), ambient)
        started.append(again)
        await again.start()
        http_server.request_callback = make_app(again)
        return again

    yield restart
    for again in started:
        io_loop.run_sync(again.close)


async def roles(services: Services) -> list[str]:
    return [one.user.role for one in await services.users.list_all()]


async def show_code(browser: Browser, services: Services) -> None:
    assert (await browser.get(f"/setup?code={services.setup.code}")).status == 200


async def test_the_code_is_good_for_one_hour_at_github_too(
    browser: Browser, services: Services, ambient: FixedAmbient
) -> None:
    await show_code(browser, services)
    ambient.time += 3500
    back = await at_github(await browser.get(DEPART))
    ambient.time += 100
    assert "Waiting for approval" in (await browser.get(back)).text
    assert await roles(services) == ["pending"]


async def test_the_last_second_of_the_hour_is_good(browser: Browser, services: Services, ambient: FixedAmbient) -> None:
    await show_code(browser, services)
    ambient.time += 3500
    back = await at_github(await browser.get(DEPART))
    ambient.time += 99
    assert "You signed in as octocat" in (await browser.get(back)).text
    assert await roles(services) == ["owner"]


async def test_a_restart_ends_what_the_code_opened(
    browser: Browser, services: Services, restart: Callable[[], Awaitable[Services]]
) -> None:
    await show_code(browser, services)
    page = await browser.get("/setup")
    back = await at_github(await browser.get(DEPART))
    again = await restart()
    assert (await browser.get("/setup")).status == 403
    assert (await browser.get(DEPART)).status == 403
    fields = {"username": "mallory", "password": PASSWORD, "password_again": PASSWORD}
    assert (await browser.submit(page, page.form("password"), fields)).status == 403
    assert "Waiting for approval" in (await browser.get(back)).text
    assert await roles(again) == ["pending"]
    await show_code(browser, again)
    assert "You signed in as octocat" in (await through_github(browser, DEPART)).text
    assert await roles(again) == ["owner"]


class TestWithoutPasswords:
    @pytest.fixture
    def environment(self, tmp_path: Path, github: FakeGitHub) -> dict[str, str]:
        return {
            "MCP_OAUTH_PUBLIC_URL": ORIGIN,
            "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
            "MCP_OAUTH_TRUSTED_PROVIDERS": "github",
            **github.environment,
        }

    async def test_no_password_is_asked_for_and_none_is_taken(self, browser: Browser, services: Services) -> None:
        page = await browser.get(f"/setup?code={services.setup.code}")
        assert page.status == 200
        assert "Continue with GitHub" in page.text
        assert "password" not in page.body
        # With a token that fits, as a program would send it.
        browser.cookies["__Host-mcpauth_xsrf"] = TOKEN
        form = f"_xsrf={TOKEN}&username=ada&password={PASSWORD}&password_again={PASSWORD}".replace(" ", "+")
        refused = await browser.request("/setup", "POST", form)
        assert refused.status == 400
        assert "switched off here" in refused.text
        assert await roles(services) == []
        assert "You signed in as octocat" in (await through_github(browser, DEPART)).text
        assert await roles(services) == ["owner"]
        assert (await browser.request("/setup", "POST", form)).status == 404
