"""Where an access token is accepted, and what is said where it is not: RFC 9068, RFC 6750."""

import base64
import hashlib
import hmac
import json

import jwt
import pytest

from tests.conftest import ORIGIN, PASSWORD

METADATA = f"{ORIGIN}/.well-known/oauth-protected-resource"
CHALLENGE = f'Bearer resource_metadata="{METADATA}/mcp", scope="mcp"'
PATHS = ["/mcp", "/mcp/", "/mcp/files", "/mcp/files/"]


@pytest.fixture
def connected(io_loop, client, browser, owner):
    """A client with tokens for ``{origin}/mcp``."""
    io_loop.run_sync(lambda: client.connect(browser, "ada", PASSWORD, scope="mcp user:email"))
    return client


def claims_of(client):
    return jwt.decode(client.tokens["access_token"], options={"verify_signature": False})


async def refusal(client, token, path="/mcp"):
    """Sends ``token``; what came back must be a 401 as it should be."""
    client.tokens = {"access_token": token}
    reply = await client.initialize(path)
    assert reply.status == 401, (token, reply.body)
    assert reply.refusal.startswith("invalid_token: ")
    assert reply.headers["WWW-Authenticate"].startswith("Bearer resource_metadata=")
    assert ', error="invalid_token"' in reply.headers["WWW-Authenticate"]
    me = await client.fetch("/auth/oauth/me", Authorization=f"Bearer {token}")
    return me.status


DOCUMENTS = [("/mcp", "/mcp"), ("/mcp/", "/mcp"), ("/mcp/files", "/mcp/files"), ("/mcp/nobody", "/mcp")]


async def test_whoever_brings_no_token_is_told_where_to_get_one(client):
    for method in ["POST", "GET", "HEAD", "DELETE"]:
        for path, document in DOCUMENTS:
            body = "not even json" if method == "POST" else None
            # Before Origin, Accept and body are looked at.
            for headers in ({}, {"Origin": "https://evil.example"}, {"Accept": "*/*"}, {"Mcp-Session-Id": "x"}):
                reply = await client.fetch(path, method, body, **headers)
                assert reply.status == 401
                assert (
                    reply.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{METADATA}{document}", scope="mcp"'
                )
                assert reply.headers["Content-Type"] == "application/json"
                if method != "HEAD":
                    # A body that speaks the language of the endpoint.
                    message = "invalid_token: an access token is needed"
                    error = {"code": -32600, "message": message}
                    assert reply.json == {"jsonrpc": "2.0", "id": None, "error": error}


BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8"


async def test_a_browser_is_told_what_the_address_is_for(client):
    for path, document in DOCUMENTS:
        for method in ["GET", "HEAD"]:
            reply = await client.fetch(path, method, Accept=BROWSER)
            assert reply.status == 401
            challenge = f'Bearer resource_metadata="{METADATA}{document}", scope="mcp"'
            assert reply.headers["WWW-Authenticate"] == challenge
            assert reply.headers["Content-Type"].startswith("text/html")
            assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
            assert "Set-Cookie" not in reply.headers
            if method == "GET":
                page = reply.body.decode()
                assert "This is an address for apps" in page
                assert f"{ORIGIN}{path}" in page
                assert 'href="/"' in page
                assert "invalid_token: an access token is needed" in page


async def test_a_browser_that_is_let_in_gets_that_page_too(connected):
    """Where authorization is switched off, everybody is."""
    token = f"Bearer {connected.tokens['access_token']}"
    reply = await connected.fetch("/mcp", Accept=BROWSER, Authorization=token)
    assert reply.status == 405
    assert "POST" in reply.headers["Allow"]
    assert "This is an address for apps" in reply.body.decode()
    assert (await connected.fetch("/mcp", Authorization=token)).json["error"]["code"] == -32600


@pytest.mark.parametrize("accept", [f"application/json, {BROWSER}", f"text/event-stream, {BROWSER}", "text/*", "*/*"])
async def test_a_client_that_takes_pages_too_gets_json(client, accept):
    reply = await client.fetch("/mcp", Accept=accept)
    assert (reply.status, reply.refusal) == (401, "invalid_token: an access token is needed")
    assert (await client.fetch("/mcp", "POST", "{}", Accept=BROWSER)).refusal == reply.refusal
    assert (await client.fetch("/mcp", "DELETE", Accept=BROWSER)).refusal == reply.refusal


async def test_a_browser_that_used_another_name_is_told_so_at_the_endpoint_too(client):
    reply = await client.fetch("/mcp", Accept=BROWSER, Host="evil.example")
    assert reply.status == 421
    assert "This is not the address of this server" in reply.body.decode()


async def test_what_is_no_bearer_token_is_as_good_as_none(client):
    for header in ["Basic YTpi", "Bearer", "Bearer ", "bearer  ", "DPoP abc", "token abc", ""]:
        for path in ("/mcp", "/auth/oauth/me", "/auth/oauth/userinfo"):
            reply = await client.fetch(path, "POST" if path == "/mcp" else "GET", None, Authorization=header)
            assert reply.status == 401
            assert reply.headers["WWW-Authenticate"] == CHALLENGE


async def test_a_token_that_is_none_of_ours_is_named_as_the_error(client):
    for token in ["x", "a.b.c", "ü", "x" * 8000, "e30.e30."]:
        for path in ("/mcp", "/auth/oauth/me"):
            reply = await client.fetch(path, "POST" if path == "/mcp" else "GET", None, Authorization=f"Bearer {token}")
            assert reply.status == 401
            assert reply.headers["WWW-Authenticate"].startswith(f'{CHALLENGE}, error="invalid_token"')


async def test_a_token_counts_in_the_header_only(connected, browser):
    token = connected.tokens["access_token"]
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping", "access_token": token}
    assert (await connected.fetch(f"/mcp?access_token={token}", "POST", message)).status == 401
    assert (await connected.fetch("/auth/oauth/me", Cookie=f"access_token={token}")).status == 401
    assert (await connected.fetch(f"/auth/oauth/me?access_token={token}")).status == 401
    # Nor does it count that the person is signed in.
    assert (await browser.request("/mcp", "POST", "{}")).status == 401
    assert (await browser.request("/auth/oauth/me")).status == 401


async def test_the_scheme_may_be_written_in_any_case(connected):
    token = connected.tokens["access_token"]
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert (await connected.fetch("/auth/oauth/me", Authorization=f"{scheme} {token}")).status == 200
        reply = await connected.mcp({"jsonrpc": "2.0", "id": 1}, Authorization=f"{scheme} {token}")
        assert reply.status == 400


@pytest.mark.parametrize(
    ("resource", "good"), [(f"{ORIGIN}/mcp", PATHS[:2]), (f"{ORIGIN}/mcp/files", PATHS[2:])], ids=["all", "one"]
)
async def test_a_token_works_at_its_own_resource_alone(client, browser, owner, resource, good):
    await client.connect(browser, "ada", PASSWORD, resource=resource)
    for path in [*PATHS, "/mcp/nobody"]:
        reply = await client.initialize(path)
        assert (path, reply.status) == (path, 200 if path in good else 401)
        if path not in good:
            assert reply.refusal == "invalid_token: the access token is for another resource"
            assert 'error="invalid_token"' in reply.headers["WWW-Authenticate"]
    assert (await client.fetch("/auth/oauth/me", Authorization=f"Bearer {client.tokens['access_token']}")).status == 200


async def test_a_token_of_either_issuer_is_good(client, browser, owner, at):
    code = await (await registered(client)).code(browser, "ada", PASSWORD, path=at.authorize)
    await client.redeem(code, path=at.token)
    assert claims_of(client)["iss"] == ORIGIN + at.issuer
    assert (await client.initialize()).status == 200


async def registered(client):
    await client.register()
    return client


async def test_a_token_lives_for_an_hour(connected, ambient):
    ambient.time += 3599
    assert (await connected.initialize()).status == 200
    ambient.time += 1
    assert await refusal(connected, connected.tokens["access_token"]) == 401


async def test_a_token_survives_a_restart(connected, restart):
    await restart()
    assert (await connected.initialize()).status == 200
    await restart()
    assert (await connected.initialize()).status == 200


CHANGES = [
    {"iss": "https://other.example"},
    {"iss": f"{ORIGIN}/"},
    {"iss": f"{ORIGIN}/mcp/files"},
    {"sub": "user-bob"},
    {"client_id": "mcp_client_1_other"},
    {"aud": f"{ORIGIN}/mcp/files"},
    {"aud": "https://other.example/mcp"},
    {"aud": [f"{ORIGIN}/mcp"]},
    {"scope": "mcp user:email offline_access"},
    {"sid": "another"},
    {"exp": 1},
    {"exp": "9999999999"},
    {"nbf": 1},
    {"sub": None},
    {"aud": None},
    {"exp": None},
    {"sid": None},
    {"iss": None},
]


async def test_no_request_asks_the_database(client, browser, owner, services):
    await client.connect(browser, "ada", PASSWORD)
    session_id = (await client.initialize()).headers["Mcp-Session-Id"]
    request = {"jsonrpc": "2.0", "id": 2, "method": "tools/list", "params": {}}
    before = await client.mcp(request, Mcp_Session_Id=session_id)
    assert before.json["result"]["tools"]

    def rename(old, new):
        tables = ("users", "clients", "grants", "sessions", "refresh_tokens", "mcp_sessions", "published_names")
        return lambda connection: [connection.execute(f"alter table {old}{one} rename to {new}{one}") for one in tables]

    await services.database.transact(rename("", "hidden_"))
    assert (await client.mcp(request, Mcp_Session_Id=session_id)).body == before.body
    await services.database.transact(rename("hidden_", ""))


async def test_claims_that_disagree_with_the_session_are_refused(connected, services):
    claims = claims_of(connected)
    for change in CHANGES:
        forged = {name: value for name, value in {**claims, **change}.items() if value is not None}
        assert await refusal(connected, services.signing_keys.sign(forged)) == 401, change
    connected.tokens = {"access_token": services.signing_keys.sign(claims)}
    assert (await connected.initialize()).status == 200


def encode(header, claims, key, digest=hashlib.sha256):
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signed = b".".join(parts)
    return (signed + b"." + base64.urlsafe_b64encode(hmac.digest(key, signed, digest)).rstrip(b"=")).decode()


async def test_the_header_chooses_nothing(connected, services):
    good, claims = connected.tokens["access_token"], claims_of(connected)
    header = jwt.get_unverified_header(good)
    key = (services.settings.data_dir / "jwt.key").read_bytes().strip()
    assert encode(header, claims, key).count(".") == 2
    connected.tokens = {"access_token": encode(header, claims, key)}
    assert (await connected.initialize()).status == 200
    head, body, signature = good.split(".")
    unsigned = base64.urlsafe_b64encode(json.dumps({**header, "alg": "none"}).encode()).rstrip(b"=").decode()
    for token in (
        encode({**header, "alg": "HS384"}, claims, key, hashlib.sha384),
        encode({**header, "alg": "HS512"}, claims, key, hashlib.sha512),
        encode({**header, "alg": "RS256"}, claims, key),
        encode({**header, "typ": "JWT"}, claims, key),
        encode({name: header[name] for name in ("alg", "kid")}, claims, key),
        encode({**header, "kid": "another"}, claims, key),
        encode({name: header[name] for name in ("alg", "typ")}, claims, key),
        encode({**header, "crit": ["x"], "x": 1}, claims, key),
        encode(header, claims, b"another key of thirty-two bytes!!"),
        encode(header, [claims], key),
        f"{unsigned}.{body}.",
        f"{unsigned}.{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}",
        f"{head}.{body[:-2]}.{signature}",
        good[:-4] + ("AAAA" if good[-4:] != "AAAA" else "BBBB"),
    ):
        assert await refusal(connected, token) == 401


async def test_without_an_mcp_scope_the_answer_is_403_with_all_that_is_needed(connected, services):
    token = services.signing_keys.sign({**claims_of(connected), "scope": "user:email"})
    connected.tokens = {"access_token": token}
    reply = await connected.initialize()
    assert (reply.status, reply.refusal) == (403, "insufficient_scope: the access token has no mcp scope")
    challenge = reply.headers["WWW-Authenticate"]
    assert challenge.startswith(f'{CHALLENGE}, error="insufficient_scope"')
    assert challenge.count("Bearer") == 1
    # Who the bearer is can be asked all the same.
    assert (await connected.fetch("/auth/oauth/me", Authorization=f"Bearer {token}")).status == 200


async def test_an_origin_that_is_not_allowed_is_refused_after_the_token(connected):
    for origin in ["https://evil.example", "null", "https://host.example.ts.net.evil.example"]:
        assert (await connected.fetch("/mcp", "POST", {}, Origin=origin)).status == 401
        reply = await connected.mcp({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin=origin)
        assert reply.status == 403
        assert "WWW-Authenticate" not in reply.headers
        assert "Access-Control-Allow-Origin" not in reply.headers


async def test_pages_of_the_client_itself_may_ask(client, browser, owner):
    await client.register(redirect_uris=["https://claude.ai/api/mcp/auth_callback"])
    await client.connect(browser, "ada", PASSWORD)
    for origin in ("https://claude.ai", ORIGIN, "http://localhost:6274"):
        reply = await client.mcp({"jsonrpc": "2.0", "id": 1, "method": "ping"}, Origin=origin)
        assert reply.status == 400  # No session: it came as far as the message.
        assert reply.headers["Access-Control-Allow-Origin"] == origin
        assert reply.headers["Access-Control-Expose-Headers"] == "WWW-Authenticate, Mcp-Session-Id"
    assert (await client.mcp({}, Origin="https://chatgpt.com")).status == 403
