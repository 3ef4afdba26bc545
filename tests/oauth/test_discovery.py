"""The documents that clients find everything by: RFC 8414, RFC 9728."""

import pytest

from tests.conftest import ORIGIN
from tests.oauth_client import ROOT, SEED

SERVER_DOCUMENTS = {
    "/.well-known/oauth-authorization-server": ROOT,
    "/.well-known/oauth-authorization-server/mcp": SEED,
    "/mcp/.well-known/oauth-authorization-server": SEED,
}
RESOURCE_DOCUMENTS = {
    "/.well-known/oauth-protected-resource": "/mcp",
    "/.well-known/oauth-protected-resource/mcp": "/mcp",
    "/.well-known/oauth-protected-resource/mcp/files": "/mcp/files",
}
DOCUMENTS = [*SERVER_DOCUMENTS, *RESOURCE_DOCUMENTS]
NO_DOCUMENTS = [
    "/.well-known/openid-configuration",
    "/.well-known/openid-configuration/mcp",
    "/mcp/.well-known/openid-configuration",
    "/.well-known/openid-configuration/mcp/",
]


@pytest.mark.parametrize("path", SERVER_DOCUMENTS)
async def test_each_issuer_describes_itself_and_nothing_that_is_not_there(client, path):
    endpoints = SERVER_DOCUMENTS[path]
    methods = ["none", "client_secret_post", "client_secret_basic", "private_key_jwt"]
    algorithms = ["RS256", "ES256", "EdDSA"]
    assert (await client.fetch(path)).json == {
        "issuer": ORIGIN + endpoints.issuer,
        "authorization_endpoint": ORIGIN + endpoints.authorize,
        "token_endpoint": ORIGIN + endpoints.token,
        "registration_endpoint": ORIGIN + endpoints.register,
        "revocation_endpoint": ORIGIN + endpoints.revoke,
        "introspection_endpoint": ORIGIN + endpoints.introspect,
        "jwks_uri": f"{ORIGIN}/jwks",
        "scopes_supported": ["mcp", "mcp:read", "user:email", "offline_access", "mcp:files"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": algorithms,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": algorithms,
        "introspection_endpoint_auth_methods_supported": methods[1:],
        "introspection_endpoint_auth_signing_alg_values_supported": algorithms,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "client_id_metadata_document_supported": True,
        "service_documentation": f"{ORIGIN}/",
    }


async def test_the_order_of_the_authentication_methods_is_on_the_wire(client):
    body = (await client.fetch(ROOT.metadata)).body
    assert b'"token_endpoint_auth_methods_supported":["none","client_secret_post","client_secret_basic",' in body


@pytest.mark.parametrize("path", DOCUMENTS)
async def test_a_slash_at_the_end_makes_no_difference(client, path):
    """Whoever was told an address with a slash asks so; what is named is the one address all the same."""
    assert (await client.fetch(f"{path}/")).json == (await client.fetch(path)).json


@pytest.mark.parametrize("path", RESOURCE_DOCUMENTS)
async def test_each_resource_names_the_issuer_without_a_path(client, path):
    document = (await client.fetch(path)).json
    assert document.pop("resource_name")
    assert document == {
        "resource": ORIGIN + RESOURCE_DOCUMENTS[path],
        "authorization_servers": [ORIGIN],
        "scopes_supported": ["mcp"],
        "bearer_methods_supported": ["header"],
    }


async def test_a_backend_that_is_not_there_has_no_document(client):
    reply = await client.fetch("/.well-known/oauth-protected-resource/mcp/nobody")
    assert reply.status == 404
    assert reply.error == "not_found"


async def test_a_document_is_for_every_origin_and_for_five_minutes(client):
    for method in ["GET", "HEAD"]:
        for path in DOCUMENTS:
            reply = await client.fetch(path, method, Origin="https://claude.ai", Accept="text/html")
            assert reply.status == 200
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.headers["Access-Control-Allow-Origin"] == "*"
            assert reply.headers["Cache-Control"] == "public, max-age=300"
            assert bool(reply.body) == (method == "GET")


PREFLIGHTED = [
    *DOCUMENTS,
    *NO_DOCUMENTS,
    "/jwks",
    ROOT.register,
    SEED.register,
    ROOT.token,
    SEED.token,
    ROOT.revoke,
    SEED.revoke,
]


async def test_a_preflight_is_answered(client):
    for path in PREFLIGHTED:
        asked = "authorization, x-something-new"
        reply = await client.fetch(path, "OPTIONS", Origin="https://a.example", Access_Control_Request_Headers=asked)
        assert reply.status == 204
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert reply.headers["Access-Control-Allow-Headers"] == asked
        method = "POST" if path in (*ROOT, *SEED) and "authorization-server" not in path else "GET"
        assert method in reply.headers["Access-Control-Allow-Methods"].split(", ")


async def test_a_refusal_can_be_read_from_any_origin_too(client):
    for path in [ROOT.register, SEED.register, ROOT.token, SEED.token, ROOT.revoke, SEED.revoke]:
        reply = await client.fetch(path, "POST", {"nothing": 1}, Origin="https://a.example")
        assert reply.status in (400, 401)
        assert reply.headers["Access-Control-Allow-Origin"] == "*"


async def test_pages_have_no_cors(client):
    for path in [ROOT.authorize, SEED.authorize, "/auth/oauth/signin", "/auth/oauth/consent", "/"]:
        for method in ("GET", "OPTIONS"):
            reply = await client.fetch(path, method, Origin="https://claude.ai", Access_Control_Request_Method="POST")
            assert "Access-Control-Allow-Origin" not in reply.headers


async def test_openid_configuration_is_a_clean_404(client):
    for method in ["GET", "HEAD"]:
        for path in NO_DOCUMENTS:
            reply = await client.fetch(path, method, Accept="text/html")
            assert reply.status == 404
            assert reply.headers["Content-Type"] == "application/json"
            assert reply.headers["Access-Control-Allow-Origin"] == "*"
            if method == "GET":
                assert reply.error == "not_found"


async def test_a_document_cannot_be_posted_to(client):
    for path in [*DOCUMENTS, "/jwks", "/.well-known/jwks.json", "/auth/oauth/health"]:
        reply = await client.fetch(path, "POST", {})
        assert reply.status == 405
        assert reply.error == "method_not_allowed"
        assert "GET" in reply.headers["Allow"]


JSON_ROUTES = [
    *(("GET", path) for path in [*DOCUMENTS, *NO_DOCUMENTS, "/jwks", "/.well-known/jwks.json"]),
    *(("GET", f"/auth/oauth/{name}") for name in ("health", "providers", "me", "userinfo")),
    *(("POST", path) for path in (ROOT[3:] + SEED[3:])),
    *(("GET", path) for path in (ROOT[3:] + SEED[3:])),
    *((method, "/register/unknown") for method in ("GET", "PUT", "DELETE")),
    ("GET", "/.well-known/oauth-registration/mcp/mcp_client_1_a"),
    *((method, path) for method in ("POST", "DELETE") for path in ("/mcp", "/mcp/", "/mcp/files", "/mcp/files/")),
]


async def test_no_json_route_answers_html_or_redirects(client):
    for method, path in JSON_ROUTES:
        body = "x=y" if method in ("POST", "PUT") else None
        reply = await client.fetch(path, method, body, Accept="text/html,application/xhtml+xml")
        assert reply.headers["Content-Type"] == "application/json"
        assert not 300 <= reply.status < 400
        assert "Location" not in reply.headers
        assert isinstance(reply.json, dict)
