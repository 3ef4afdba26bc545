"""The cookie that says who is signed in."""

from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from mcpauth.app import Services
from mcpauth.models.records import User
from tests.browser import Browser
from tests.conftest import PASSWORD, FixedAmbient

SESSION = "__Host-mcpauth_session"


async def sign_in(browser: Browser) -> None:
    page = await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    assert "You are signed in" in page.text


async def who(browser: Browser) -> str:
    page = await browser.get("/auth/oauth/signin")
    return "ada" if "You signed in as ada" in page.text else "nobody"


async def test_every_cookie_is_for_this_host_secure_and_out_of_reach(browser: Browser, owner: User) -> None:
    await sign_in(browser)
    names = set()
    for line in browser.set_cookie_lines:
        for name, morsel in SimpleCookie(line).items():
            names.add(name)
            assert name.startswith("__Host-")
            assert (morsel["secure"], morsel["httponly"], morsel["path"]) == (True, True, "/")
            assert morsel["samesite"].lower() == "lax"
            assert not morsel["domain"]
    assert names == {SESSION, "__Host-mcpauth_known", "__Host-mcpauth_xsrf"}


async def test_the_cookie_is_new_at_every_sign_in_and_the_old_one_is_dead(browser: Browser, owner: User) -> None:
    browser.cookies[SESSION] = "planted-before"
    left_open = await browser.get("/auth/oauth/signin")
    await sign_in(browser)
    first = browser.cookies[SESSION]
    assert first != "planted-before"
    page = await browser.sign_in(left_open, "ada", PASSWORD)
    assert "You are signed in" in page.text
    assert browser.cookies[SESSION] != first
    browser.cookies[SESSION] = first
    assert await who(browser) == "nobody"


async def test_signing_out_ends_the_session_and_not_only_the_cookie(browser: Browser, owner: User) -> None:
    await sign_in(browser)
    cookie = browser.cookies[SESSION]
    page = await browser.get("/auth/oauth/signin")
    out = next(form for form in page.forms if form.action == "/auth/oauth/logout")
    assert "You are signed out" in (await browser.submit(page, out, {})).text
    assert SESSION not in browser.cookies
    browser.cookies[SESSION] = cookie
    assert await who(browser) == "nobody"


async def test_signing_out_takes_a_form_of_ours(browser: Browser, owner: User) -> None:
    await sign_in(browser)
    await browser.get("/auth/oauth/logout")
    assert (await browser.request("/auth/oauth/logout", "POST", "")).status == 403
    assert await who(browser) == "ada"


async def test_a_session_lasts_a_day_beyond_its_last_use(browser: Browser, owner: User, ambient: FixedAmbient) -> None:
    await sign_in(browser)
    for _ in range(3):
        ambient.time += 86399
        assert await who(browser) == "ada"
    ambient.time += 86400
    assert await who(browser) == "nobody"


async def test_the_sixth_browser_signs_out_the_one_used_least_recently(
    http_server: object, base_url: str, owner: User, ambient: FixedAmbient, browser: Browser
) -> None:
    browsers = [Browser(browser.origin, base_url) for _ in range(6)]
    for one in browsers[:5]:
        await sign_in(one)
        ambient.time += 1
    assert await who(browsers[0]) == "ada"
    ambient.time += 1
    await sign_in(browsers[5])
    assert [await who(one) for one in browsers] == ["ada", "nobody", "ada", "ada", "ada", "ada"]


async def test_only_a_hash_of_the_cookie_is_stored(browser: Browser, owner: User, services: Services) -> None:
    await sign_in(browser)
    assert (await services.database.fetch_one("select cookie_hash from sessions")) is not None
    assert browser.cookies[SESSION].encode() not in _all_bytes(services.settings.data_dir)


def _all_bytes(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.glob("mcpauth.sqlite3*"))


class TestOnThisComputer:
    """http://localhost, where browsers take no __Host- cookie."""

    @pytest.fixture
    def environment(self, tmp_path: Path) -> dict[str, str]:
        return {"MCP_OAUTH_DATA_DIR": str(tmp_path / "data")}

    async def test_the_cookie_has_a_plain_name(self, http_server: object, base_url: str, owner: User) -> None:
        browser = Browser("http://localhost:3210", base_url)
        await sign_in(browser)
        assert set(browser.cookies) == {"mcpauth_session", "mcpauth_known", "mcpauth_xsrf"}
        for line in browser.set_cookie_lines:
            assert "secure" not in line.lower()
            assert "httponly" in line.lower()
            assert "samesite=lax" in line.lower()
        assert await who(browser) == "ada"
