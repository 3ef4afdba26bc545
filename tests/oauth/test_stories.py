"""Which steps are one story, and which stories are kept, whatever strangers do."""

import secrets

import pytest

from mcpauth.oauth import stories as oauth_stories
from mcpauth.oauth.belonging import COMING_BACK
from tests.conftest import PASSWORD
from tests.oauth_client import OAuthClient

pytestmark = pytest.mark.usefixtures("owner")

CLAUDE = "https://claude.ai/oauth/mcp-oauth-client-metadata"


async def flood(services, address, count):
    """Authorization requests in the name of a client that everybody knows."""
    for _ in range(count):
        about = {"client_id": CLAUDE, "attempt": secrets.token_hex(8)}
        services.trace.add("authorize", 302, "GET", "/authorize", address, "", **about)
    await services.trace.save()


async def test_who_begins_much_pushes_out_its_own_alone(client, services, stories):
    await client.register(redirect_uris=["javascript:x"])
    for _ in range(10):
        await flood(services, "198.51.100.66", 110)
    found = await stories()
    assert [one["verdict"] for one in found if one["addresses"] == [client.address]] == [
        "registration refused: its redirect URIs"
    ]
    assert len(found) == 1 + oauth_stories.MOST_TOKENLESS
    (kept,) = await services.database.fetch_all("select count(*) as count from stories")
    assert kept["count"] == len(found)


async def test_many_who_begin_much_push_out_their_own(client, browser, services, stories):
    await client.register()
    await client.consent_page(browser, "ada", PASSWORD)
    refused = OAuthClient(client.origin, client._base_url)
    refused.address = "198.51.100.10"
    await refused.register(redirect_uris=["javascript:x"])
    for number in range(60):
        await flood(services, f"203.0.113.{number + 100}", oauth_stories.MOST_TOKENLESS)
    found = await services.operations.trace_list()
    assert len(found) == oauth_stories.MOST_STORIES
    verdicts = [one["verdict"] for one in found]
    assert "waiting for consent" in verdicts
    assert "registration refused: its redirect URIs" in verdicts


@pytest.mark.parametrize("attempts", [1, oauth_stories.MOST_MODEST])
async def test_who_has_many_addresses_pushes_out_nobody_who_was_asked_to_sign_in(
    client, browser, services, stories, attempts
):
    await client.register()
    for number in range(attempts):
        page = await browser.get(client.authorization_url(code_challenge=f"{number}".zfill(43)))
        await browser.sign_in(page, "ada", "wrong password of some length")
    for number in range(oauth_stories.MOST_STORIES + 10):
        address = f"2001:db9:0:{number:x}::/64"
        services.trace.add("challenge", 401, "GET", "/mcp", address, "")
        services.trace.add("authorize", 400, "GET", "/authorize", address, "", "x", "made-up", attempt=f"{number}")
        if number % 100 == 0:
            await services.trace.save()
    assert [one["verdict"] for one in await stories()].count("sign-in failed") == attempts


async def test_a_vendor_has_many_addresses(client, browser, ambient, stories):
    client.user_agent = "Claude-User"
    paths = ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-authorization-server"]
    for number, path in enumerate(paths):
        client.address = f"198.51.100.{number}"
        await client.fetch("/mcp", "POST", {})
        await client.fetch(path)
    client.address = "198.51.100.3"
    await client.register()
    client.address = "198.51.100.4"
    await client.redeem(await client.code(browser, "ada", PASSWORD))
    client.address = "198.51.100.5"
    await client.initialize()
    (story,) = await stories()
    assert story["verdict"] == "connected"
    kinds = [step["kind"] for step in story["steps"]]
    assert kinds[:5] == ["challenge", "discovery", "challenge", "discovery", "registration"]


@pytest.fixture
def stranger(client, base_url):
    """Somebody elsewhere who calls himself what the client does."""
    client.user_agent = "Claude-User"
    stranger = OAuthClient(client.origin, base_url)
    stranger.user_agent, stranger.address = client.user_agent, "203.0.113.200"
    return stranger


async def test_who_calls_himself_so_has_no_part_in_the_story_of_a_client(client, browser, stranger, stories):
    for one in (client, stranger):
        await one.fetch("/mcp", "POST", {})
    await stranger.register()
    await client.fetch("/.well-known/oauth-authorization-server")
    await client.connect(browser, "ada", PASSWORD)
    # A look, and what only looks like it.
    await stranger.fetch("/mcp", "POST", {})
    (story,) = [one for one in await stories() if one["client_id"] == client.client_id]
    assert story["verdict"] == "token issued; the first request to /mcp is to come"
    assert [step["kind"] for step in story["steps"]][:3] == ["challenge", "discovery", "registration"]
    await client.initialize()
    await stranger.fetch("/token", "POST", "grant_type=x", Host="evil.example")
    for number in range(80):
        assert (await stranger.fetch("/token", "POST", f"grant_type={number % 2}")).status == 401
    (story,) = [one for one in await stories() if one["client_id"] == client.client_id]
    assert story["verdict"] == "connected"
    assert stranger.address not in story["addresses"]
    assert len(story["steps"]) < 20


async def test_what_was_looked_at_elsewhere_makes_nobody_part_of_the_story(client, browser, stranger, stories):
    """As the vendor's own other addresses, it is shown; the verdict goes by the client's requests."""
    await stranger.fetch("/mcp", "POST", {})
    await client.connect(browser, "ada", PASSWORD)
    await stranger.fetch("/mcp", "POST", {})
    *_, story = [one for one in await stories() if one["client_id"] == client.client_id]
    assert stranger.address not in story["addresses"]
    assert story["verdict"] == "token issued; the first request to /mcp is to come"


async def test_a_neighbour_turns_no_story_of_a_client_that_is_connected(client, browser, base_url, stories):
    """Behind one address, and with the same program."""
    await client.connect(browser, "ada", PASSWORD)
    await client.initialize()
    neighbour = OAuthClient(client.origin, base_url)
    neighbour.address = client.address
    await neighbour.fetch("/token", "POST", "grant_type=x", Host="other.example")
    await neighbour.fetch("/token", "POST", "grant_type=x")
    assert (await neighbour.fetch("/no/such/token", "POST", "a=b")).status == 404
    (story,) = [one for one in await stories() if one["client_id"] == client.client_id]
    assert (story["verdict"], story["steps"][-1]["kind"]) == ("connected", "mcp")


async def test_a_program_that_anybody_has_is_told_apart_by_its_address(client, ambient, stories):
    client.user_agent = "python-httpx/0.28.1"
    for number in range(2):
        client.address = f"198.51.100.{number}"
        await client.fetch("/.well-known/oauth-authorization-server")
    assert len(await stories()) == 2


async def test_a_vendor_that_comes_again_later_begins_anew(client, ambient, stories):
    client.user_agent = "Claude-User"
    await client.fetch("/.well-known/oauth-authorization-server")
    ambient.time += COMING_BACK
    client.address = "198.51.100.3"
    await client.fetch("/.well-known/oauth-authorization-server")
    assert len(await stories()) == 2


async def test_one_address_in_two_notations_is_one(client, stories):
    client.address = "::ffff:198.51.100.1"
    await client.fetch("/.well-known/oauth-authorization-server")
    client.address = "198.51.100.1"
    await client.register()
    (story,) = await stories()
    assert story["addresses"] == ["198.51.100.1"]


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/"), ("POST", "/mpc"), ("GET", "/oauth-authorization-server"), ("GET", "/mcp/no/token")],
)
async def test_a_client_that_asks_where_nothing_is(client, stories, method, path):
    """As behind ``tailscale serve --set-path``, which cuts the path; or the address was misspelt."""
    reply = await client.fetch(path, method, {"jsonrpc": "2.0"} if method == "POST" else None)
    assert (reply.status, reply.error) == (404, "not_found")
    (story,) = await stories()
    assert story["verdict"] == "the client asked at addresses that do not exist here"


async def test_a_scanner_leaves_nothing(client, stories):
    await client.fetch("/.well-known/oauth-authorization-server")
    for path in ("/wp-login.php", "/.env", "/favicon.ico", "/tokens"):
        await client.fetch(path)
    await client.fetch("/xmlrpc.php", "POST", "a=b")
    await client.fetch("/", "POST", "a=b")
    (story,) = await stories()
    assert [step["kind"] for step in story["steps"]] == ["discovery"]
