"""What the project that this one started from did, to the letter, with its five variables and nothing else."""

import re
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.browser import Browser
from tests.oauth_client import OAuthClient

HOST = "https://host.tailnet.ts.net"
CALLBACK = f"{HOST}/github/oauth/callback"
CHATGPT = "https://chat.openai.com/oauth/callback"

REGISTRATION = {
    "client_name": "ChatGPT MCP Client",
    "redirect_uris": [CHATGPT],
    "grant_types": ["authorization_code"],
    "response_types": ["code"],
    "scope": "user:email",
}
PKCE_REQUIRED = {
    "error": "invalid_request",
    "error_description": "PKCE code_challenge and code_challenge_method=S256 are required",
}


@pytest.fixture
def environment(tmp_path, monkeypatch):
    # No DATA_DIR either: it is in the folder where the server was started.
    monkeypatch.chdir(tmp_path)
    seed = {
        "ENABLED": "true",
        "GITHUB_CLIENT_ID": "Iv1.0123456789abcdef",
        "GITHUB_CLIENT_SECRET": "0123456789012345678901234567890123456789",
        "REDIRECT_URI": CALLBACK,
        "JWT_SECRET": "a-secret-of-more-than-thirty-two-bytes",
    }
    return {f"OAUTH_{name}": value for name, value in seed.items()}


@pytest.fixture
def client(http_server, base_url):
    return OAuthClient(HOST, base_url)


@pytest.fixture
def browser(http_server, base_url):
    return Browser(HOST, base_url)


@pytest.fixture
def registered(io_loop, client, ambient):
    """The first call."""
    client.redirect_uri = CHATGPT
    reply = io_loop.run_sync(lambda: client.fetch("/.well-known/oauth-registration/mcp", "POST", REGISTRATION))
    assert reply.status == 201
    client.client_id, client.client_secret = reply.json["client_id"], reply.json["client_secret"]
    return reply.json


def test_the_answer_to_a_registration(registered, ambient):
    assert {name: registered[name] for name in REGISTRATION} == REGISTRATION
    name = re.fullmatch(r"mcp_client_(\d+)_\w+", registered["client_id"])
    assert name is not None
    assert int(name[1]) // 1000 == ambient.time
    assert re.fullmatch(r"[0-9a-f]{64}", registered["client_secret"])
    assert registered["client_id_issued_at"] == ambient.time
    assert registered["client_secret_expires_at"] == 0


@pytest.mark.parametrize("path", ["/auth/oauth/login", "/authorize"])
async def test_an_authorization_request_without_pkce(registered, client, path):
    given = {"code_challenge": None, "code_challenge_method": None, "state": "s 1", "scope": "user:email"}
    reply = await client.fetch(client.authorization_url(path, **given))
    assert reply.json == PKCE_REQUIRED
    assert reply.status == 302
    assert reply.headers["Location"].startswith(f"{CHATGPT}?")
    sent = parse_qs(urlsplit(reply.headers["Location"]).query)
    issuer = HOST + ("/mcp" if path == "/auth/oauth/login" else "")
    assert sent == {**{name: [value] for name, value in PKCE_REQUIRED.items()}, "state": ["s 1"], "iss": [issuer]}


@pytest.mark.parametrize("path", ["/auth/oauth/login", "/authorize"])
async def test_an_authorization_request_without_pkce_of_a_client_that_nobody_trusts(client, path):
    elsewhere = {**REGISTRATION, "redirect_uris": ["https://app.stranger.example/cb"]}
    reply = await client.fetch("/.well-known/oauth-registration/mcp", "POST", elsewhere)
    client.client_id, client.redirect_uri = reply.json["client_id"], elsewhere["redirect_uris"][0]
    reply = await client.fetch(client.authorization_url(path, code_challenge=None, code_challenge_method=None))
    assert (reply.status, reply.json) == (400, PKCE_REQUIRED)
    assert "Location" not in reply.headers


@pytest.mark.parametrize("path", ["/auth/oauth/login", "/authorize"])
async def test_an_authorization_request_with_pkce(registered, client, browser, path):
    page = await browser.request(client.authorization_url(path, scope="user:email"))
    assert page.status == 302
    assert page.location.startswith("https://github.com/login/oauth/authorize?")
    sent = {name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()}
    assert (sent["client_id"], sent["redirect_uri"]) == ("Iv1.0123456789abcdef", CALLBACK)
    assert sent["code_challenge_method"] == "S256"
    for theirs in (client.state, client.challenge, client.client_id, CHATGPT):
        assert theirs not in sent.values()


async def test_a_client_that_is_not_known_goes_nowhere(client):
    client.client_id = "mcp_client_1_unknown"
    reply = await client.fetch(client.authorization_url("/auth/oauth/login"))
    assert (reply.status, reply.error) == (400, "invalid_client")
    assert "Location" not in reply.headers


async def test_its_data_are_where_it_was_started(registered, tmp_path):
    assert (tmp_path / "data" / "mcpauth.sqlite3").exists()
