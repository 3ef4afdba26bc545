"""Programs on the person's own computer listen where they can: RFC 8252 §7.3."""

import pytest

from tests.conftest import PASSWORD
from tests.oauth_client import answer

HOSTS = ["127.0.0.1", "[::1]", "localhost"]


@pytest.mark.parametrize("registered", HOSTS)
async def test_port_and_loopback_host_make_no_difference(client, browser, owner, registered):
    await client.register(redirect_uris=[f"http://{registered}:33418/callback?x=1"])
    for host in HOSTS:
        for port in ("", ":1", ":65535"):
            client.redirect_uri = f"http://{host}{port}/callback?x=1"
            page = await browser.decide(await client.consent_page(browser, "ada", PASSWORD))
            assert page.location.startswith(client.redirect_uri + "&code=")
            # The code is bound to the address that was used, not to the one that was registered.
            code = answer(page)["code"]
            reply = await client.redeem(code, redirect_uri="http://127.0.0.1:2/callback?x=1")
            assert (reply.status, reply.error) == (400, "invalid_grant")
            assert (await client.redeem(code)).status == 200


async def test_everything_else_does(client, browser):
    await client.register(redirect_uris=["http://127.0.0.1:33418/callback?x=1", "https://localhost:9/tls"])
    for uri in (
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:33418/callback",
        "http://127.0.0.1:33418/callback?x=2",
        "http://127.0.0.1:33418/callback/?x=1",
        "http://127.0.0.1:33418/Callback?x=1",
        "http://127.0.0.1:33418/callback?x=1#",
        "http://127.0.0.1:33418/a/../callback?x=1",
        "http://user@127.0.0.1:33418/callback?x=1",
        "http://127.0.0.1.evil.example:33418/callback?x=1",
        "http://127.0.0.2:33418/callback?x=1",
        "https://127.0.0.1:33418/callback?x=1",
        "https://localhost:10/tls",
        "https://127.0.0.1:9/tls",
        "http://localhost:9/tls",
    ):
        page = await browser.request(client.authorization_url(redirect_uri=uri), Accept="*/*")
        assert (uri, page.status) == (uri, 400)
        assert "Location" not in page.headers
    page = await browser.request(client.authorization_url(redirect_uri="https://localhost:9/tls"))
    assert page.status == 302


async def test_elsewhere_the_port_counts(client, browser):
    await client.register(redirect_uris=["https://a.example/cb"])
    for uri in (
        "https://a.example:444/cb",
        "https://a.example:443/cb",
        "https://A.example/cb",
        "https://a.example/cb/",
    ):
        page = await browser.request(client.authorization_url(redirect_uri=uri), Accept="*/*")
        assert (uri, page.status) == (uri, 400)
        assert "Location" not in page.headers


async def test_a_registered_path_of_vs_codes_is_met(client, browser):
    await client.register(redirect_uris=["http://127.0.0.1:33418/", "http://127.0.0.1/", "https://vscode.dev/redirect"])
    for uri in (
        "http://127.0.0.1:50123/",
        "http://127.0.0.1:50123",
        "http://localhost:1/",
        "https://vscode.dev/redirect",
    ):
        page = await browser.request(client.authorization_url(redirect_uri=uri))
        assert (uri, page.status) == (uri, 302)
