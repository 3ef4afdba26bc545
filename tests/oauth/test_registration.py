"""Clients register themselves: RFC 7591."""

import re

import pytest

from tests.oauth_client import SEED

SEED_REQUEST = {
    "client_name": "ChatGPT MCP Client",
    "redirect_uris": ["https://chat.openai.com/oauth/callback"],
    "grant_types": ["authorization_code"],
    "response_types": ["code"],
    "scope": "user:email",
}


@pytest.mark.parametrize("path", [SEED.register, "/.well-known/oauth-registration"])
async def test_what_the_seed_promised(client, ambient, path):
    reply = await client.fetch(path, "POST", SEED_REQUEST)
    assert reply.status == 201
    assert reply.headers["Cache-Control"] == "no-store"
    made = reply.json
    assert {name: made[name] for name in SEED_REQUEST} == SEED_REQUEST
    assert re.fullmatch(rf"mcp_client_{ambient.time * 1000}_[0-9a-zA-Z]+", made["client_id"])
    assert re.fullmatch(r"[0-9a-f]{64}", made["client_secret"])
    assert made["client_id_issued_at"] == ambient.time
    assert made["client_secret_expires_at"] == 0
    assert made["token_endpoint_auth_method"] == "client_secret_basic"


async def test_only_redirect_uris_is_required(client, at):
    reply = await client.fetch(at.register, "POST", {"redirect_uris": ["https://a.example/cb"]})
    assert reply.status == 201
    assert reply.json["token_endpoint_auth_method"] == "client_secret_basic"
    assert reply.json["grant_types"] == ["authorization_code", "refresh_token"]
    assert reply.json["response_types"] == ["code"]


async def test_every_registered_value_is_echoed_and_nothing_else(client, at):
    given = {
        "client_name": "Größe 测试",
        "redirect_uris": ["https://a.example/cb?x=1", "http://localhost:8787/callback"],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": "client_secret_post",
        "scope": "mcp something:else",
        "client_uri": "https://a.example",
        "logo_uri": "https://a.example/logo.png",
        "tos_uri": "https://a.example/tos",
        "policy_uri": "https://a.example/policy",
        "contacts": ["me@a.example"],
        "software_id": "a",
        "software_version": "1.0",
        "application_type": "native",
    }
    noise = {"x_unknown": {"deep": [1]}, "client_id": "mine", "client_secret": "mine", "jwks_uri": "https://a.example"}
    made = (await client.fetch(at.register, "POST", {**given, **noise})).json
    own = {
        "client_id",
        "client_secret",
        "client_id_issued_at",
        "client_secret_expires_at",
        "registration_access_token",
        "registration_client_uri",
    }
    assert {name: value for name, value in made.items() if name not in own} == given
    assert set(made) == own | set(given)
    assert "mine" not in (made["client_id"], made["client_secret"])


async def test_empty_members_are_as_good_as_absent(client, at):
    empty = {"client_name": None, "scope": "", "client_uri": "", "contacts": [], "logo_uri": None, "grant_types": None}
    reply = await client.fetch(at.register, "POST", {"redirect_uris": ["https://a.example/cb"], **empty})
    assert reply.status == 201
    assert not set(empty) - {"grant_types"} & set(reply.json)
    assert all(value not in (None, "", []) for value in reply.json.values())


async def test_a_public_client_gets_no_secret(client, at):
    reply = await client.register(at.register)
    assert reply.json["token_endpoint_auth_method"] == "none"
    assert "client_secret" not in reply.json
    assert "client_secret_expires_at" not in reply.json


async def test_grant_types_that_are_not_offered_are_left_out(client):
    device = "urn:ietf:params:oauth:grant-type:device_code"
    reply = await client.register(grant_types=["authorization_code", "refresh_token", device])
    assert reply.status == 201
    assert reply.json["grant_types"] == ["authorization_code", "refresh_token"]


GOOD_URIS = [
    "https://a.example/cb",
    "https://a.example:8443/cb?tenant=1",
    "http://127.0.0.1/cb",
    "http://127.0.0.1:33418/",
    "http://[::1]:1234/cb",
    "http://localhost:8787/callback",
    "cursor://anysphere.cursor-mcp/oauth/callback",
    "cursor://anysphere.cursor-retrieval/oauth/user-x/callback",
]


async def test_redirect_uris_that_clients_use_are_taken(client):
    for uri in GOOD_URIS:
        reply = await client.register(redirect_uris=[uri])
        assert reply.status == 201
        assert reply.json["redirect_uris"] == [uri]


async def test_all_three_of_cursors_are_taken_at_once(client):
    uris = [
        "cursor://anysphere.cursor-mcp/oauth/callback",
        "https://www.cursor.com/agents/mcp/oauth/callback",
        "http://localhost:8787/callback",
    ]
    assert (await client.register(redirect_uris=uris)).json["redirect_uris"] == uris


BAD_URIS = [
    "javascript:alert(1)//canary",
    "JavaScript://canary.example/%0aalert(1)",
    "data:text/html,canary",
    "vbscript:canary",
    "file:///canary",
    "ftp://canary.example/cb",
    "myapp://canary/cb",
    "cursor://canary.example/oauth/callback",
    "cursor://anysphere.cursor-mcp/oauth/canary",
    "cursor://anysphere.cursor-mcp/oauth/../canary",
    "cursor://anysphere.cursor-retrieval/oauth/a/canary/callback",
    "cursor://anysphere.cursor-retrieval/oauth/%2e%2e%2fcanary/callback",
    "http://canary.example/cb",
    "http://127.0.0.1.canary.example/cb",
    "http://localhost.canary.example/cb",
    "http://127.0.0.1@canary.example/cb",
    "https://user@canary.example/cb",
    "https://user:pass@canary.example/cb",
    "https://canary.example/cb#fragment",
    "https://canary.example/cb#",
    "https://canary.example/a/../cb",
    "https://canary.example/%2e%2e/cb",
    "https:///canary",
    "https:canary",
    "https://canary.example:99999/cb",
    "//canary.example/cb",
    "/canary",
    "canary",
    "https://canary.example/\ncb",
    " https://canary.example/cb",
    "https://canary.example/c b",
    "https://canary.example\\@b.example/cb",
    "https://cänary.example/canary",
    "https://canary.example/" + "x" * 2000,
    "",
    17,
    None,
    ["https://canary.example/cb"],
]


async def test_a_bad_redirect_uri_is_named_by_its_position(client):
    for uri in BAD_URIS:
        reply = await client.register(redirect_uris=["https://good.example/cb", uri])
        assert reply.status == 400
        assert reply.error == "invalid_redirect_uri"
        assert reply.json["error_description"].startswith("redirect_uris[1] ")
        assert b"canary" not in reply.body


async def test_redirect_uris_must_be_a_list_of_some(client, at):
    for uris in [None, [], "https://a.example/cb", {}, ["https://a.example/"] * 21]:
        reply = await client.fetch(at.register, "POST", {"client_name": "x", "redirect_uris": uris})
        assert reply.status == 400
        assert reply.error == "invalid_redirect_uri"


BAD_METADATA = [
    ("token_endpoint_auth_method", "tls_client_auth"),
    ("token_endpoint_auth_method", ["none"]),
    ("grant_types", ["client_credentials"]),
    ("grant_types", ["refresh_token"]),
    ("grant_types", "authorization_code"),
    ("grant_types", ["authorization_code", 3]),
    ("response_types", ["token"]),
    ("response_types", "code"),
    ("client_name", "canary\nline"),
    ("client_name", {"canary": 1}),
    ("client_name", "canary" * 100),
    ("scope", ["canary"]),
    ("client_uri", "javascript:canary"),
    ("logo_uri", "data:image/png,canary"),
    ("policy_uri", 5),
    ("contacts", "canary"),
    ("contacts", ["a@a.example", ["canary"]]),
]


async def test_bad_metadata_is_refused_by_the_members_name(client, at):
    for member, value in BAD_METADATA:
        reply = await client.register(at.register, **{member: value})
        assert reply.status == 400
        assert reply.error == "invalid_client_metadata"
        assert member in reply.json["error_description"]
        assert b"canary" not in reply.body


async def test_a_body_that_is_no_object_is_refused(client):
    for body in [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"redirect_uris=x", b"[" * 60000]:
        reply = await client.fetch("/register", "POST", body, Content_Type="application/json")
        assert reply.status == 400
        assert reply.error == "invalid_request"
