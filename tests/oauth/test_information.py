"""What anybody may know of the server, and what a bearer may know of themself."""

import re
from pathlib import Path

import jwt
import pytest

from mcpauth import app as composition
from mcpauth.models.records import Identity
from tests.conftest import ORIGIN, PASSWORD

OCTOCAT = Identity(
    provider="github", provider_id="583231", login="octocat", email="octo@cat.example", picture="https://a.example/o.png"
)  # fmt: skip
TIMESTAMP = r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|\+00:00)"


async def test_health_has_the_shape_of_config(client, services):
    reply = await client.fetch("/auth/oauth/health", Accept="text/html")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "application/json"
    body = reply.json
    assert set(body) == {"status", "timestamp", "oauth", "config"}
    assert (body["status"], body["oauth"]) == ("ok", "enabled")
    assert re.fullmatch(TIMESTAMP, body["timestamp"])
    assert body["timestamp"].startswith("2027-01-15T08:00:00")
    assert body["config"] == {
        "providers": {
            "available": ["password"],
            "trusted": ["password"],
            "redirectUri": f"{ORIGIN}/auth/oauth/callback",
        },
        "tokens": {"accessTokenExpiry": 3600, "refreshTokenExpiry": 2592000, "algorithm": "HS256"},
        "sessions": {"timeout": 86400, "maxPerUser": 5, "autoCreateUsers": True},
        "http": {"basePath": "/auth/oauth", "secureCookies": True, "sameSitePolicy": "lax"},
    }
    assert await services.operations.config() == body["config"]


async def test_the_providers(client):
    body = (await client.fetch("/auth/oauth/providers")).json
    assert re.fullmatch(TIMESTAMP, body.pop("timestamp"))
    assert body == {"providers": [{"id": "password", "name": "Password", "enabled": True}]}


class TestSeed:
    """The seed's five variables alone, at its own callback path."""

    @pytest.fixture
    def environment(self, environment):
        prefix = "OAUTH_"
        del environment["MCP_OAUTH_PUBLIC_URL"]
        given = {
            "ENABLED": "true",
            "GITHUB_CLIENT_ID": "gh-id",
            "GITHUB_CLIENT_SECRET": "gh-secret-canary",
            "REDIRECT_URI": f"{ORIGIN}/github/oauth/callback",
            "JWT_SECRET": "jwt-canary-of-thirty-two-bytes-or-more",
        }
        return {**environment, **{prefix + name: value for name, value in given.items()}}

    async def test_health_and_providers_tell_of_github_and_of_no_secret(self, client):
        health = await client.fetch("/auth/oauth/health")
        assert health.json["config"]["providers"] == {
            "available": ["github"],
            "trusted": ["github"],
            "redirectUri": f"{ORIGIN}/github/oauth/callback",
        }
        assert b"canary" not in health.body
        providers = (await client.fetch("/auth/oauth/providers")).json["providers"]
        assert providers == [{"id": "github", "name": "GitHub", "enabled": True}]


@pytest.fixture
def ask(client):
    async def ask(name):
        return await client.fetch(f"/auth/oauth/{name}", Authorization=f"Bearer {client.tokens['access_token']}")

    return ask


@pytest.fixture
def octocat(io_loop, services, ambient):
    """A member who came from GitHub, and has a password here too."""

    async def add():
        hashed = await services.passwords.hash(PASSWORD)
        now = ambient.time
        return await services.users.add("user-o", "octo", "member", now, password_hash=hashed, identity=OCTOCAT)

    return io_loop.run_sync(add)


async def test_me_is_the_bearer(client, browser, owner, ask, ambient):
    await client.connect(browser, "ada", PASSWORD, scope="mcp offline_access")
    claims = jwt.decode(client.tokens["access_token"], options={"verify_signature": False})
    reply = await ask("me")
    assert reply.status == 200
    assert reply.headers["Cache-Control"] == "no-store"
    assert reply.json == {
        "sub": "user-ada",
        "provider": "password",
        "name": "ada",
        "client_id": client.client_id,
        "scope": "mcp offline_access",
        "sid": claims["sid"],
        "expires_at": "2027-01-15T09:00:00Z",
        "role": "owner",
    }


async def test_me_of_a_member_from_github(client, browser, octocat, ask):
    await client.connect(browser, "octo", PASSWORD, resource=f"{ORIGIN}/mcp/files")
    me = (await ask("me")).json
    assert (me["sub"], me["provider"], me["role"]) == ("user-o", "github", "member")


@pytest.mark.parametrize("scope", ["mcp", "mcp user:email", "user:email"])
async def test_the_email_needs_its_scope(client, browser, octocat, ask, scope):
    await client.connect(browser, "octo", PASSWORD, scope=scope)
    facts = {
        "sub": "user-o",
        "name": "octo",
        "preferred_username": "octocat",
        "picture": "https://a.example/o.png",
    }
    email = {"email": "octo@cat.example", "email_verified": True}
    assert (await ask("userinfo")).json == ({**facts, **email} if "user:email" in scope else facts)
    await client.refresh(scope="mcp")
    assert (await ask("userinfo")).json == facts


async def test_what_is_not_known_is_left_out(client, browser, owner, ask):
    await client.connect(browser, "ada", PASSWORD, scope="mcp user:email")
    assert (await ask("userinfo")).json == {"sub": "user-ada", "name": "ada", "preferred_username": "ada"}


@pytest.mark.parametrize("name", ["me", "userinfo"])
async def test_a_token_that_is_over_says_nothing(client, browser, octocat, ask, services, ambient, name):
    async def refused():
        reply = await ask(name)
        return (reply.status, reply.error) == (401, "invalid_token") and "octo" not in str(reply.body)

    await client.connect(browser, "octo", PASSWORD)
    ambient.time += 3600
    assert await refused()
    await client.refresh()
    assert (await ask(name)).status == 200
    await client.token("/revoke", token=client.tokens["refresh_token"])
    assert await refused()
    await client.connect(browser, "octo", PASSWORD)
    await services.users.remove("user-o", ambient.time)
    assert await refused()


def test_people_read_of_apps_and_of_nothing_else_for_the_same():
    for path in Path(composition.__file__).with_name("templates").glob("*.html"):
        words = re.findall(r"\bprograms?\b", path.read_text().replace("clients/program.svg", ""), re.IGNORECASE)
        assert words == [], path.name
