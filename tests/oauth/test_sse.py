"""Who asks for a token at the address of HTTP+SSE: RFC 9728, RFC 8707."""

import pytest

from tests.conftest import ORIGIN, PASSWORD
from tests.oauth.test_resource_and_scope import ALL, FILES, WITH_PORT, audience
from tests.oauth_client import answer

SSE = f"{ORIGIN}/sse"
DOCUMENT = "/.well-known/oauth-protected-resource/sse"


@pytest.fixture
def environment(environment):
    return {**environment, "MCP_OAUTH_LEGACY_SSE": "true"}


async def test_the_resource_is_the_address_that_clients_were_given(client):
    for path in (DOCUMENT, f"{DOCUMENT}/"):
        reply = await client.fetch(path, Origin="https://a.example")
        assert reply.json == {
            "resource": SSE,
            "authorization_servers": [ORIGIN],
            "scopes_supported": ["mcp"],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcpauth",
        }
        assert reply.headers["Access-Control-Allow-Origin"] == "*"
        assert reply.headers["Cache-Control"] == "public, max-age=300"
    assert (await client.fetch(DOCUMENT, "HEAD")).status == 200
    assert (await client.fetch(DOCUMENT, "OPTIONS")).status == 204
    # That of everything is another.
    assert (await client.fetch("/.well-known/oauth-protected-resource/mcp")).json["resource"] == ALL


@pytest.mark.parametrize(("path", "method"), [("/sse", "GET"), ("/sse/", "GET"), ("/messages?session_id=x", "POST")])
async def test_the_challenge_names_that_document(client, path, method):
    body = {} if method == "POST" else None
    reply = await client.fetch(path, method, body)
    assert reply.status == 401
    assert reply.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{ORIGIN}{DOCUMENT}", scope="mcp"'
    reply = await client.fetch(path, method, body, Authorization="Bearer x")
    assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
    # At the other addresses it is theirs.
    for other in (ALL, FILES):
        there = (await client.fetch(other.removeprefix(ORIGIN), "POST", {})).headers["WWW-Authenticate"]
        assert f"{ORIGIN}/.well-known/oauth-protected-resource{other.removeprefix(ORIGIN)}" in there


async def test_a_token_that_is_asked_for_there_is_one_for_everything(client, browser, owner):
    for resource in (SSE, f"{SSE}/", f"{WITH_PORT}/sse"):
        await client.connect(browser, "ada", PASSWORD, resource=resource)
        assert audience(client) == ALL
        for again in (SSE, ALL, None):
            assert (await client.refresh(resource=again)).status == 200
            assert audience(client) == ALL
        assert "read_file" in await client.tools()
    assert (await client.refresh(resource=FILES)).error == "invalid_target"


async def test_what_is_for_one_server_alone_opens_nothing_there(client, browser, owner):
    await client.register()
    for resource, status in ((FILES, 401), (SSE, 404)):
        code = await client.code(browser, "ada", PASSWORD, resource=resource)
        # What is not what the code is for uses it up no more than elsewhere.
        other = SSE if resource == FILES else FILES
        assert (await client.redeem(code, resource=other)).error == "invalid_target"
        assert (await client.redeem(code, resource=resource)).status == 200
        bearer = f"Bearer {client.tokens['access_token']}"
        reply = await client.fetch("/messages?session_id=x", "POST", {}, Authorization=bearer)
        assert reply.status == status


async def test_nothing_beneath_it_is_a_resource(client, browser):
    await client.register()
    for resource in (f"{SSE}/files", f"{ORIGIN}/messages", f"{SSE}x", f"{SSE}?session_id=x"):
        page = await browser.request(client.authorization_url(resource=resource))
        assert answer(page)["error"] == "invalid_target"
    assert (await client.fetch(f"{DOCUMENT}/files")).status == 404
