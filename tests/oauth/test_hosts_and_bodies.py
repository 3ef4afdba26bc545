"""What is refused before any endpoint looks at it: a foreign host, a body that is too large."""

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from tests.conftest import PASSWORD
from tests.oauth_client import ROOT, SEED

PATHS = [
    "/",
    "/.well-known/oauth-authorization-server",
    "/authorize",
    "/auth/oauth/signin",
    "/auth/oauth/health",
    "/mcp",
]
LIMIT = 64 * 1024


@pytest.mark.parametrize("path", [*PATHS, "/nothing/here"])
@pytest.mark.parametrize(
    "headers", [{"Host": "evil.example"}, {"X-Forwarded-Host": "evil.example"}], ids=["host", "xfh"]
)
async def test_another_host_is_not_served(client, caplog, path, headers):
    with caplog.at_level("INFO"):
        reply = await client.fetch(path, **headers)
    assert reply.status == 421
    said = reply.refusal if path == "/mcp" else reply.error
    assert said.startswith("invalid_request")
    refused = [record for record in caplog.records if record.getMessage() == "host_refused"]
    assert len(refused) == 1
    assert refused[0].fields["host"] == "evil.example"
    assert "MCP_OAUTH_PUBLIC_URL" in refused[0].fields["hint"]


async def test_another_host_cannot_be_posted_to(client):
    for path in [ROOT.token, SEED.register, "/auth/oauth/consent", "/auth/oauth/signin", "/mcp"]:
        reply = await client.fetch(path, "POST", "a=b", Host="evil.example")
        assert reply.status == 421


@pytest.mark.parametrize("path", ["/.well-known/oauth-authorization-server", "/auth/oauth/health"])
async def test_a_loopback_name_is_served_but_never_named(client, path):
    for host in ("localhost:3210", "127.0.0.1", "[::1]:8080", "HOST.example.ts.net", "host.example.ts.net:443"):
        reply = await client.fetch(path, Host=host)
        assert reply.status == 200
        assert host.encode() not in reply.body


async def test_a_foreign_host_on_the_page_is_told_in_words(client):
    reply = await client.fetch("/", Host="evil.example", Accept="text/html")
    assert reply.status == 421
    assert b"This is not the address of this server" in reply.body
    assert b"evil.example" not in reply.body


FOREIGN, OURS, LOOPBACK = "evil.example", "host.example.ts.net", "localhost:3210"


@pytest.mark.parametrize("path", ["/auth/oauth/health", "/.well-known/oauth-protected-resource", "/auth/oauth/signin"])
@pytest.mark.parametrize(
    ("host", "forwarded", "status"),
    [
        # A page whose own name leads to this computer can set the second, and never the first.
        (FOREIGN, OURS, 421),
        (FOREIGN, LOOPBACK, 421),
        (OURS, FOREIGN, 421),
        (LOOPBACK, FOREIGN, 421),
        (FOREIGN, FOREIGN, 421),
        (OURS, "", 421),
        (OURS, OURS, 200),
        (LOOPBACK, OURS, 200),
        (OURS, LOOPBACK, 200),
    ],
)
async def test_the_host_and_what_a_proxy_says_of_it_both_have_to_be_ours(client, path, host, forwarded, status):
    assert (await client.fetch(path, Host=host, X_Forwarded_Host=forwarded)).status == status


async def test_a_long_path_is_cut_in_the_log(client, caplog):
    path = "/" + "x" * 20_000
    with caplog.at_level("INFO", "mcpauth"):
        assert (await client.fetch(path)).status == 404
        assert (await client.fetch("/auth/oauth/me" + "/x" * 10_000)).status == 404
    logged = [record.fields["path"] for record in caplog.records if record.getMessage() == "request_refused"]
    assert logged[0] == path[:200]
    assert [len(one) for one in logged] == [200, 200]
    assert "x" * 201 not in caplog.text


HALF = "\\ud800"  # half of a surrogate pair, as JSON can spell it


@pytest.mark.parametrize("field", ["grant_type", "code", "code_verifier", "client_id", "redirect_uri", "refresh_token"])
async def test_half_a_character_is_refused(client, at, field):
    await client.register()
    fields = {"grant_type": "authorization_code", "client_id": client.client_id, "code": "x", field: HALF}
    body = "{" + ",".join(f'"{name}":"{value}"' for name, value in fields.items()) + "}"
    for path in (at.token, at.revoke):
        reply = await client.fetch(path, "POST", body.encode(), Content_Type="application/json")
        assert (reply.status, reply.error) == (400, "invalid_request")


@pytest.mark.parametrize("token", ["1e999", "-1e999", "1.5", "1" * 400, "true", "null", "[]", "{}"])
async def test_a_progress_token_that_is_no_number_of_ours_is_taken(client, browser, owner, token):
    await client.connect(browser, "ada", PASSWORD)
    session = {"Mcp-Session-Id": (await client.initialize()).headers["Mcp-Session-Id"]}
    told = f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}'
    reply = await client.mcp(told.encode(), Content_Type="application/json", **session)
    assert reply.status == 202
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert (await client.mcp(ping, **session)).json["result"] == {}


LIMITED = [
    *ROOT[3:],
    *SEED[3:],
    "/auth/oauth/consent",
    "/auth/oauth/signin",
    "/setup",
    "/authorize",
    "/nothing",
    "/mcp/.well-known/oauth-authorization-server",
    "/mcp/no/such/path",
]


async def test_a_body_over_64_kib_is_refused(client):
    for path in LIMITED:
        reply = await client.fetch(path, "POST", b"x" * (LIMIT + 1))
        assert reply.status == 413
        assert reply.error == "invalid_request"


async def test_a_body_of_unknown_length_is_counted(client, base_url):
    async def produce(write):
        for _ in range(5):
            await write(b"x" * (LIMIT // 4))

    headers = {"Host": "host.example.ts.net", "Content-Type": "application/json"}
    request = HTTPRequest(f"{base_url}/register", "POST", headers=headers, body_producer=produce)
    reply = await AsyncHTTPClient().fetch(request, raise_error=False)
    assert reply.code == 413


@pytest.mark.parametrize("path", [ROOT.register, SEED.register])
async def test_a_body_of_64_kib_is_read(client, path):
    filler = "x" * (LIMIT - 200)
    body = b'{"redirect_uris":["http://localhost/cb"],"jwks":"' + filler.encode() + b'"}'
    reply = await client.fetch(path, "POST", body.ljust(LIMIT), Content_Type="application/json")
    assert reply.status == 201


class TestAProxyThatIsNotTrusted:
    @pytest.fixture
    def environment(self, environment):
        return {**environment, "MCP_OAUTH_TRUSTED_PROXIES": "192.0.2.1"}

    async def test_what_it_forwards_does_not_count(self, client):
        assert (await client.fetch("/auth/oauth/health", X_Forwarded_Host="evil.example")).status == 200
        reply = await client.fetch("/auth/oauth/health", Host="evil.example", X_Forwarded_Host="host.example.ts.net")
        assert reply.status == 421
