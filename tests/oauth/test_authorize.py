"""The authorization endpoint: whom it believes, and where its errors go (RFC 6749 §4.1.1-2, RFC 9207)."""

import secrets
import sqlite3
from contextlib import closing

import pytest

from mcpauth.oauth.stories import MOST_TOKENLESS
from tests.browser import Browser
from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import answer

PKCE_REQUIRED = {
    "error": "invalid_request",
    "error_description": "PKCE code_challenge and code_challenge_method=S256 are required",
}
WITHOUT_PKCE = {"code_challenge": None, "code_challenge_method": None}
STRANGER = "https://stranger.example/cb"


def parameters(page):
    """What the client gets, but for ``error_description``."""
    return {name: value for name, value in answer(page).items() if name != "error_description"}


async def test_whoever_has_not_signed_in_is_sent_to_do_that(client, browser, owner, at):
    await client.register()
    page = await browser.request(client.authorization_url(at.authorize))
    assert page.status == 302
    assert page.location.startswith("/auth/oauth/signin?request=")
    assert "Test client" in (await browser.get(page.location)).text


async def test_whoever_has_signed_in_is_asked_every_time(client, browser, owner, at):
    await client.register()
    await client.connect(browser, "ada", PASSWORD)
    page = await browser.request(client.authorization_url(at.authorize))
    assert page.status == 302
    assert page.location.startswith("/auth/oauth/consent?request=")


TRUSTED = [
    "http://127.0.0.1:33418/callback",
    "http://localhost:1/cb",
    "http://[::1]:7/cb",
    "https://chat.openai.com/oauth/callback",
    "https://chatgpt.com/connector_platform_oauth_redirect",
    "https://chatgpt.com/connector/oauth/abc",
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
    "https://vscode.dev/redirect",
    "https://insiders.vscode.dev/redirect",
]


async def test_without_pkce_a_trusted_address_is_told_by_a_redirect(client, browser):
    for uri in TRUSTED:
        await client.register(redirect_uris=[uri])
        page = await browser.request(client.authorization_url(**WITHOUT_PKCE), Accept="*/*")
        assert page.status == 302
        assert page.location.startswith(uri + "?")
        assert answer(page) == {**PKCE_REQUIRED, "state": client.state, "iss": ORIGIN}
        assert page.json == PKCE_REQUIRED
        assert page.headers["Content-Type"] == "application/json"


CHANGES = [WITHOUT_PKCE, {"response_type": "token"}, {"response_type": None}, {"resource": "https://other.example/mcp"}]
UNTRUSTED = [
    STRANGER,
    "https://claude.ai.stranger.example/api/mcp/auth_callback",
    "https://localhost/cb",
    "https://claude.ai/elsewhere",
    "https://stranger.example/https://claude.ai/api/mcp/auth_callback",
]


async def test_an_address_that_a_stranger_registered_gets_no_redirect(client, browser, owner):
    for uri in UNTRUSTED:
        for change in CHANGES:
            await client.register(redirect_uris=[uri])
            for accept in ("*/*", "text/html"):
                page = await browser.request(client.authorization_url(**change), Accept=accept)
                assert page.status == 400
                assert "Location" not in page.headers
                assert "stranger" not in page.body


async def test_the_refusal_is_json_or_a_page_with_the_same_facts(client, browser, at):
    await client.register(redirect_uris=[STRANGER])
    url = client.authorization_url(at.authorize, **WITHOUT_PKCE)
    page = await browser.request(url, Accept="application/json")
    assert (page.status, page.json) == (400, PKCE_REQUIRED)
    page = await browser.request(url)
    assert page.status == 400
    assert page.headers["Content-Type"].startswith("text/html")
    assert PKCE_REQUIRED["error_description"] in page.text
    assert PKCE_REQUIRED["error"] in page.text


async def test_a_stranger_becomes_trusted_when_somebody_is_signed_in(client, browser, owner, at):
    await client.register(redirect_uris=[STRANGER])
    await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    page = await browser.request(client.authorization_url(at.authorize, **WITHOUT_PKCE))
    assert page.location.startswith(STRANGER)
    assert parameters(page) == {"error": "invalid_request", "state": client.state, "iss": ORIGIN + at.issuer}


async def test_a_stranger_becomes_trusted_once_approved(client, browser, base_url, owner):
    await client.register(redirect_uris=[STRANGER])
    await client.connect(browser, "ada", PASSWORD)
    page = await Browser(ORIGIN, base_url).request(client.authorization_url(**WITHOUT_PKCE))
    assert page.location.startswith(STRANGER)


ERRORS = [
    (WITHOUT_PKCE, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": "s256"}, "invalid_request"),
    ({"code_challenge": "short"}, "invalid_request"),
    ({"code_challenge": "x" * 44}, "invalid_request"),
    ({"code_challenge": "+" * 43}, "invalid_request"),
    ({"response_type": None}, "invalid_request"),
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code token"}, "unsupported_response_type"),
    ({"resource": "https://other.example/mcp"}, "invalid_target"),
    ({"response_type": ["code", "code"]}, "invalid_request"),
    ({"scope": ["mcp", "mcp:read"]}, "invalid_request"),
    ({"code_challenge_method": ["S256", "S256"]}, "invalid_request"),
    ({"prompt": ["consent", "login"]}, "invalid_request"),
]


async def test_every_error_goes_to_the_client_with_state_and_issuer(client, browser, at):
    for change, error in ERRORS:
        await client.register()
        page = await browser.request(client.authorization_url(at.authorize, **change))
        assert page.status == 302
        assert page.location.startswith(client.redirect_uri + "?")
        assert parameters(page) == {"error": error, "state": client.state, "iss": ORIGIN + at.issuer}
        assert not browser.cookies


async def test_of_two_states_neither_is_believed(client, browser):
    await client.register()
    page = await browser.request(client.authorization_url(state=["one", "two"]))
    assert parameters(page) == {"error": "invalid_request", "iss": ORIGIN}


STATES = ["a b+c/=&%20;#?", "ü€ 测试 😀", "\x01\x1f tab\t", '{"json": [1]}', "x" * 4000, "%%%", "state=1&iss=2"]


async def test_state_comes_back_byte_for_byte(client, browser, owner):
    for state in STATES:
        await client.register()
        client.state = state
        refused = await browser.request(client.authorization_url(**WITHOUT_PKCE))
        assert answer(refused)["state"] == state
        allowed = await browser.decide(await client.consent_page(browser, "ada", PASSWORD))
        assert answer(allowed)["state"] == state


async def test_without_a_state_none_comes_back(client, browser, owner):
    await client.register()
    client.state = None
    page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD))
    assert set(answer(page)) == {"code", "iss"}


async def test_an_unknown_address_is_never_redirected_to(client, browser, owner, at):
    await client.register()
    await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
    for redirect_uri in ["https://evil.example/", "http://127.0.0.1:33418/other", "javascript:alert(1)"]:
        page = await browser.request(client.authorization_url(at.authorize, redirect_uri=redirect_uri), Accept="*/*")
        assert page.status == 400
        assert page.json["error"] == "invalid_request"
        assert "Location" not in page.headers
        assert redirect_uri not in page.body


async def test_an_unknown_client_is_a_page(client, browser, at):
    for client_id, said, error in [
        ("mcp_client_1_nobody", "This app is not known here", "invalid_client"),
        (None, "It lacks the client_id.", "invalid_request"),
        ("", "It lacks the client_id.", "invalid_request"),
    ]:
        await client.register()
        url = client.authorization_url(at.authorize, client_id=client_id)
        page = await browser.request(url)
        assert page.status == 400
        assert page.headers["Content-Type"].startswith("text/html")
        assert said in page.text
        assert error in page.text
        assert "Location" not in page.headers
        assert (await browser.request(url, Accept="*/*")).json["error"] == error


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_client_and_address_must_not_be_repeated(client, browser, name):
    await client.register()
    once = {"client_id": client.client_id, "redirect_uri": client.redirect_uri}[name]
    page = await browser.request(client.authorization_url(**{name: [once, once]}))
    assert page.status == 400
    assert "Location" not in page.headers


async def test_the_address_may_be_left_out_where_there_is_only_one(client, browser, owner):
    await client.register()
    page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD, redirect_uri=None))
    assert page.location.startswith(client.redirect_uri)
    await client.register(redirect_uris=["https://a.example/1", "https://a.example/2"])
    page = await browser.request(client.authorization_url(redirect_uri=None))
    assert page.status == 400
    assert "Location" not in page.headers


async def test_what_nobody_knows_is_tolerated(client, browser, owner, at):
    await client.register()
    extra = {"prompt": "consent", "nonce": "n", "id_token_hint": "x", "audience": "https://a.example", "x_new": "1"}
    page = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize, **extra)
    assert "wants to connect" in page.text


async def test_bytes_that_are_no_text_are_refused(client, browser):
    await client.register()
    page = await browser.request(client.authorization_url(state=None) + "&state=%ff%fe", Accept="*/*")
    assert page.status == 400
    assert page.json["error"] == "invalid_request"


async def test_a_prefetch_and_a_second_get_spoil_nothing(client, browser, owner, at):
    await client.register()
    url = client.authorization_url(at.authorize)
    head = await browser.request(url, "HEAD")
    assert (head.status, head.body) == (302, "")
    first = await client.consent_page(browser, "ada", PASSWORD, path=at.authorize)
    for _ in range(2):
        assert (await browser.request(url, "HEAD")).status == 302
        assert (await browser.get(url)).status == 200
        assert (await browser.request(first.url, "HEAD")).status == 200
        assert (await browser.get(first.url)).status == 200
    reply = await client.redeem(answer(await browser.decide(first))["code"])
    assert reply.status == 200


async def test_a_flood_of_strangers_costs_no_disk(client, base_url, owner, rows, database_file, services):
    await client.register()
    with closing(sqlite3.connect(database_file)) as connection:
        version = connection.execute("pragma data_version").fetchone()
        before = rows()
        for number in range(50):
            stranger = Browser(ORIGIN, base_url)
            challenge = secrets.token_urlsafe(32)
            page = await stranger.request(client.authorization_url(state=f"{number}", code_challenge=challenge))
            assert page.status == 302
            assert (await stranger.request(page.location)).status == 200
            assert (await stranger.request(client.authorization_url(**WITHOUT_PKCE))).status == 302
        assert rows() == before
        assert connection.execute("pragma data_version").fetchone() == version
    # But for what the trace keeps of each address.
    await services.trace.save()
    assert rows() == {**before, "stories": MOST_TOKENLESS}


class TestOnlyGitHub:
    @pytest.fixture
    def environment(self, environment):
        given = {"GITHUB_CLIENT_ID": "gh-id", "GITHUB_CLIENT_SECRET": "gh-secret"}
        return {**environment, **{f"MCP_OAUTH_{name}": value for name, value in given.items()}}

    async def test_a_stranger_is_sent_to_github_with_nothing_of_the_clients(self, client, browser, at, rows):
        await client.register()
        before = rows()
        page = await browser.request(client.authorization_url(at.authorize))
        assert page.status == 302
        assert page.location.startswith("https://github.com/login/oauth/authorize?")
        sent = answer(page)
        assert sent["client_id"] == "gh-id"
        assert sent["redirect_uri"] == f"{ORIGIN}/auth/oauth/callback"
        assert sent["code_challenge_method"] == "S256"
        assert sent["code_challenge"] != client.challenge
        assert sent["state"] != client.state
        for own in (client.client_id, client.challenge, client.redirect_uri):
            assert own not in page.location
        assert rows() == before
