"""A session ends a day after its last use."""

import pytest

from tests.conftest import ORIGIN, PASSWORD

DAY = 86400


@pytest.fixture
def environment(tmp_path):
    """Access tokens that outlive their session, so that it is the session's end which is seen."""
    return {
        "MCP_OAUTH_PUBLIC_URL": ORIGIN,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        "MCP_OAUTH_ACCESS_TOKEN_EXPIRY": str(7 * DAY),
    }


async def connected(client, browser):
    await client.connect(browser, "ada", PASSWORD)


async def works(client):
    return (await client.initialize()).status == 200


async def test_a_session_ends_a_day_after_its_last_use(client, browser, owner, ambient):
    await connected(client, browser)
    ambient.time += DAY - 2
    assert await works(client)
    ambient.time += DAY - 1
    assert await works(client)
    ambient.time += DAY
    assert not await works(client)
    assert (await client.refresh()).status == 200
    assert await works(client)


async def test_a_browser_is_signed_out_after_a_day(client, browser, owner, ambient):
    await connected(client, browser)
    page = await browser.get("/auth/oauth/signin")
    assert "You are signed in" in page.text
    ambient.time += DAY
    page = await browser.get("/auth/oauth/signin")
    assert page.form("password")
