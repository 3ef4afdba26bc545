"""What is said of clients that sign their requests, when that goes wrong."""

import pytest

from tests.conftest import PASSWORD
from tests.fakes.documents import ClientKey
from tests.oauth.published.conftest import LOCAL
from tests.oauth_client import answer

pytestmark = pytest.mark.usefixtures("owner")


async def test_a_well_known_client_is_called_by_its_name_at_once(client, browser, stories):
    client.client_id = "https://claude.ai/oauth/mcp-oauth-client-metadata"
    client.redirect_uri = "https://claude.ai/api/mcp/auth_callback"
    await browser.get(client.authorization_url())
    (story,) = await stories()
    assert story["client"] == "Claude"


async def test_a_vendor_that_publishes_what_it_is_has_many_addresses(client, browser, ambient, stories):
    client.client_id = "https://claude.ai/oauth/mcp-oauth-client-metadata"
    client.redirect_uri = "https://claude.ai/api/mcp/auth_callback"
    client.user_agent = "Claude-User"
    assert (await client.fetch("/mcp", "POST", {})).status == 401
    client.address = "198.51.100.2"
    await client.fetch("/.well-known/oauth-authorization-server")
    page = await client.consent_page(browser, "ada", PASSWORD)
    ambient.time += 120
    client.address = "198.51.100.3"
    await client.redeem(answer(await browser.decide(page))["code"])
    await client.initialize()
    (story,) = await stories()
    assert [step["kind"] for step in story["steps"]][:3] == ["challenge", "discovery", "authorize"]
    assert (story["client"], story["verdict"]) == ("Claude", "connected")


@pytest.fixture
def key():
    return ClientKey("ES256")


@pytest.fixture
def signs(client, browser, ambient, host, key):
    """Connects a client that signs; what it proves itself with from then on."""

    async def signs():
        keys = host.publish_keys(key)
        client.client_id = host.publish(token_endpoint_auth_method="private_key_jwt", jwks_uri=keys)
        client.redirect_uri = "http://127.0.0.1:4/callback"
        code = await client.code(browser, "ada", PASSWORD)
        assert (await client.redeem(code, **form())).status == 200
        await client.initialize()
        return form

    def form(**changes):
        return key.form(client.client_id, LOCAL, ambient.time, **changes)

    return signs


async def test_a_proof_that_comes_twice_is_no_theft(client, ambient, stories, signs):
    form = (await signs())()
    old = client.tokens["refresh_token"]
    assert (await client.refresh(**form)).status == 200
    await client.initialize()
    assert (await client.refresh(old, **form)).status == 401
    (story,) = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", "the client sent the same proof twice")


@pytest.mark.parametrize("ahead", [-1000, 1000])
async def test_the_clocks_differ(client, ambient, stories, signs, ahead):
    form = await signs()
    times = {"iat": ambient.time + ahead, "exp": ambient.time + ahead + 300}
    # Without a client_id beside it: who it is, is in what it signed.
    assert (await client.refresh(client_id=None, **form(**times))).status == 401
    (story,) = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", "the clocks differ")
    await client.refresh(**form())
    await client.initialize()
    (story,) = await stories()
    assert story["verdict"] == "connected"


async def test_keys_that_cannot_be_fetched(client, ambient, host, stories, signs):
    form = await signs()
    await host.stop()
    ambient.time += 8 * 86400
    assert (await client.refresh(**form())).status == 503
    (story,) = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", "the client's keys could not be fetched")


async def test_a_proof_for_somebody_else(client, stories, signs):
    form = await signs()
    assert (await client.refresh(**form(aud="https://other.example"))).status == 401
    (story,) = await stories()
    assert (story["state"], story["verdict"]) == ("stopped", "the client's signed proof was refused")
