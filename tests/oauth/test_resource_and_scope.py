"""What a client asks for, and what it gets: RFC 8707, RFC 6749 §3.3."""

import jwt

from tests.conftest import ORIGIN, PASSWORD
from tests.oauth_client import answer

ALL = f"{ORIGIN}/mcp"
FILES = f"{ORIGIN}/mcp/files"
WITH_PORT = f"{ORIGIN}:443"


def audience(client):
    return jwt.decode(client.tokens["access_token"], options={"verify_signature": False})["aud"]


FORMS = [
    (None, ALL),
    ("", ALL),
    (ORIGIN, ALL),
    (f"{ORIGIN}/", ALL),
    (WITH_PORT, ALL),
    (f"{WITH_PORT}/", ALL),
    (ALL, ALL),
    (f"{ALL}/", ALL),
    (f"{WITH_PORT}/mcp", ALL),
    (f"{WITH_PORT}/mcp/", ALL),
    ("HTTPS://Host.Example.TS.net/mcp", ALL),
    ([ALL, ALL], ALL),
    (FILES, FILES),
    (f"{FILES}/", FILES),
    (f"{WITH_PORT}/mcp/files", FILES),
    ([FILES, FILES, FILES], FILES),
]


async def test_every_form_of_a_resource_means_the_same_one(client, browser, owner):
    for resource, canonical in FORMS:
        await client.connect(browser, "ada", PASSWORD, resource=resource)
        assert audience(client) == canonical
        repeated = resource[0] if isinstance(resource, list) else resource
        assert (await client.refresh(resource=repeated)).status == 200
        assert audience(client) == canonical


OTHERS = [
    "https://other.example/mcp",
    f"{ORIGIN}/mcp/nobody",
    f"{ORIGIN}/mcpx",
    f"{ORIGIN}/sse",
    f"{ORIGIN}/mcp/files/more",
    f"{ORIGIN}/MCP",
    f"{ORIGIN}/other",
    f"{ORIGIN}:8443/mcp",
    f"{ORIGIN}:99999/mcp",
    f"{ORIGIN}/mcp#fragment",
    f"{ORIGIN}/mcp#",
    f"{ORIGIN}/mcp?x=1",
    "https://user@host.example.ts.net/mcp",
    "https://host.example.ts.net.evil.example/mcp",
    "http://host.example.ts.net/mcp",
    "/mcp",
    "mcp",
    "urn:mcp",
    [ALL, FILES],
    [ALL, "https://other.example/mcp"],
]


async def test_another_resource_is_refused(client, browser, at):
    for resource in OTHERS:
        await client.register()
        page = await browser.request(client.authorization_url(at.authorize, resource=resource))
        assert page.status == 302
        sent = answer(page)
        assert sent["error"] == "invalid_target"
        assert (sent["state"], sent["iss"]) == (client.state, ORIGIN + at.issuer)


async def test_the_token_request_may_only_repeat_the_resource(client, browser, owner, at):
    await client.register()
    code = await client.code(browser, "ada", PASSWORD, resource=FILES)
    for resource in (ALL, ORIGIN, "https://other.example/mcp", f"{FILES}#x"):
        reply = await client.redeem(code, path=at.token, resource=resource)
        assert (reply.status, reply.error) == (400, "invalid_target")
    twice = "&resource=https%3A%2F%2Fother.example"
    body = f"grant_type=authorization_code&code={code}&client_id={client.client_id}&resource={FILES}{twice}"
    reply = await client.fetch(at.token, "POST", body)
    assert (reply.status, reply.error) == (400, "invalid_target")
    # None of these used the code up.
    assert (await client.redeem(code, resource=f"{WITH_PORT}/mcp/files/")).status == 200
    for resource in (ALL, ORIGIN, "https://other.example/mcp"):
        reply = await client.refresh(path=at.token, resource=resource)
        assert (reply.status, reply.error) == (400, "invalid_target")
    assert (await client.refresh()).status == 200
    assert audience(client) == FILES


REQUESTS = [
    (None, "mcp"),
    ("", "mcp"),
    ("mcp", "mcp"),
    ("mcp:read", "mcp:read"),
    ("mcp:files", "mcp:files"),
    ("mcp:read mcp:files", "mcp:read mcp:files"),
    ("user:email", "mcp user:email"),
    ("openid profile email", "mcp"),
    ("offline_access", "mcp offline_access"),
    ("mcp:nobody", "mcp"),
    ("mcp:nobody user:email", "mcp user:email"),
    ("mcp:read nonsense user:email offline_access", "mcp:read user:email offline_access"),
    ("mcp mcp", "mcp"),
]


async def test_unknown_scopes_are_dropped_and_some_mcp_is_always_there(client, browser, owner):
    for requested, granted in REQUESTS:
        await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD, scope=requested)
        asked = set((requested or "mcp").split())
        assert ("It did not ask for mcp" in page.text) == (bool(requested) and "mcp" in set(granted.split()) - asked)
        reply = await client.redeem(answer(await browser.decide(page))["code"])
        assert set(reply.json["scope"].split()) == set(granted.split())
        claims = jwt.decode(reply.json["access_token"], options={"verify_signature": False})
        assert claims["scope"] == reply.json["scope"]


REFRESHES = [
    ("mcp user:email", None, "mcp user:email"),
    ("mcp user:email", "mcp", "mcp"),
    ("mcp user:email", "mcp:read", "mcp:read"),
    ("mcp user:email", "mcp:files user:email", "mcp:files user:email"),
    ("mcp user:email", "mcp:read mcp:read", "mcp:read"),
    ("mcp user:email", "user:email", "mcp user:email"),
    ("mcp user:email", "openid", "mcp user:email"),
    ("mcp user:email", "mcp:nobody", "mcp user:email"),
    ("mcp", "mcp user:email", "mcp"),
    ("mcp:read", "mcp", "mcp:read"),
    ("mcp:read", "mcp mcp:read user:email", "mcp:read"),
    ("mcp:files", "mcp:files mcp:read", "mcp:files"),
]


async def test_a_refresh_gets_what_was_granted_or_less(client, browser, owner):
    for held, requested, granted in REFRESHES:
        await client.connect(browser, "ada", PASSWORD, scope=held)
        reply = await client.refresh(scope=requested)
        assert sorted(reply.json["scope"].split()) == sorted(granted.split())
        assert (await client.initialize()).status == 200
        # A narrower answer is no narrower grant.
        assert set((await client.refresh()).json["scope"].split()) == set(held.split())


async def test_a_narrowed_token_can_do_only_that(client, browser, owner):
    await client.connect(browser, "ada", PASSWORD)
    await client.refresh(scope="mcp:read")
    assert "write_file" not in await client.tools()
    read = await client.call("tools/call", name="list_directory", arguments={})
    assert not read.json["result"].get("isError")
