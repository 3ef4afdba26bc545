"""What is refused before any endpoint looks at it: a foreign host, a body that is too large."""

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

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
    assert reply.error == "invalid_request"
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
