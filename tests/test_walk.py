"""The whole way once: register, sign in, allow, redeem, use, refresh."""

from mcpauth.models.records import User
from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.oauth_client import OAuthClient, answer


async def test_a_client_connects_and_calls(client: OAuthClient, browser: Browser, owner: User) -> None:
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "Test client wants to connect" in page.text
    back = answer(await browser.decide(page))
    assert back["state"] == client.state
    assert back["iss"] == client.origin
    reply = await client.redeem(back["code"])
    assert reply.status == 200, reply.body
    begun = await client.initialize()
    assert begun.status == 200, begun.body
    assert (await client.refresh()).status == 200
    assert (await client.initialize()).status == 200
