"""The official suite's authorization scenarios, at both issuers; the person at the browser is played here."""

from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from tests.browser import Browser
from tests.conformance import suite
from tests.conformance.inject_proxy import Document, InjectProxy
from tests.live import LiveServer, free_port, run
from tests.oauth_client import OAuthClient

PASSWORD = "correct horse battery staple"

SCENARIOS = {"authorization-server-metadata-endpoint", "authorization-code-grant"}

ISSUERS = pytest.mark.parametrize("issuer", ["", "/mcp"], ids=["origin", "mcp"])

pytestmark = pytest.mark.gen_test(timeout=120)


class Person:
    """Opens the address that the suite prints, signs in, allows, and arrives at the suite's callback."""

    def __init__(self, origin: str) -> None:
        self._browser = Browser(origin, origin)

    async def read(self, line: str) -> None:
        if not line.startswith("http") or "response_type=code" not in line:
            return
        page = await self._browser.sign_in(await self._browser.get(line), "ada", PASSWORD)
        page = await self._browser.decide(page)
        await AsyncHTTPClient().fetch(page.location)


async def examine(tmp_path: Path, origin: str, issuer: str, method: str, *more: str) -> suite.Outcome:
    """The suite's verdict on ``issuer``, as seen by a new client that authenticates by ``method``."""
    added = await run(tmp_path, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD)
    assert added[0] == 0, added
    port = free_port()
    client = OAuthClient(origin, origin)
    redirect_uris = [f"http://127.0.0.1:{port}/callback"]
    registered = await client.register(redirect_uris=redirect_uris, token_endpoint_auth_method=method)
    assert registered.status == 201, registered.body
    secret = ["--client-secret", client.client_secret] if client.client_secret else []
    return await suite.run(
        tmp_path / "out",
        *("authorization", "--url", origin + issuer, "--client-id", client.client_id, *secret, "-p", str(port), *more),
        heard=Person(origin).read,
    )


def assert_fine(outcome: suite.Outcome) -> None:
    assert outcome.failures == ""
    assert outcome.status == 0, outcome.printed
    assert set(outcome.checks) == SCENARIOS
    for checks in outcome.checks.values():
        assert "SUCCESS" in {check["status"] for check in checks}, outcome.printed


@ISSUERS
async def test_a_public_client_gets_its_token(tmp_path: Path, issuer: str) -> None:
    suite.need_suite()
    async with LiveServer(tmp_path) as server:
        outcome = await examine(tmp_path, server.origin, issuer, "none", "--resource", f"{server.origin}/mcp")
    assert_fine(outcome)


@ISSUERS
@pytest.mark.parametrize("method", ["client_secret_post", "client_secret_basic"])
async def test_a_confidential_client_gets_its_token(tmp_path: Path, issuer: str, method: str) -> None:
    """The suite sends no secret where the metadata lists ``none``, so a proxy takes that out."""
    suite.need_suite()

    def without_none(document: Document) -> None:
        assert "none" in document["token_endpoint_auth_methods_supported"]
        document["token_endpoint_auth_methods_supported"] = [method]

    proxy = InjectProxy(edit=without_none)
    async with proxy, LiveServer(tmp_path, MCP_OAUTH_PUBLIC_URL=proxy.origin) as server:
        proxy.target = server.port
        outcome = await examine(tmp_path, proxy.origin, issuer, method)
    assert_fine(outcome)
