"""Clients that publish what they are: a server on this computer, which fetches from a host on this computer."""

import pytest

from tests.browser import Browser
from tests.conftest import PASSWORD
from tests.fakes.documents import DocumentHost
from tests.oauth_client import OAuthClient

LOCAL = "http://localhost:3210"


@pytest.fixture
def environment(tmp_path):
    return {
        "MCP_OAUTH_PUBLIC_URL": LOCAL,
        "MCP_OAUTH_DATA_DIR": str(tmp_path / "data"),
        "MCP_OAUTH_CIMD_LOOPBACK": "true",
    }


@pytest.fixture
def host(io_loop):
    host = DocumentHost()
    io_loop.run_sync(host.start)
    yield host
    io_loop.run_sync(host.stop)


@pytest.fixture
def browser(http_server, base_url):
    return Browser(LOCAL, base_url)


@pytest.fixture
def client(http_server, base_url):
    return OAuthClient(LOCAL, base_url)


@pytest.fixture
def other(http_server, base_url):
    return OAuthClient(LOCAL, base_url)


@pytest.fixture
def connect(client, browser, owner):
    """Connects ``client`` as the client with this id; the form is what it proves itself with."""

    async def connect(client_id, redirect_uri="http://127.0.0.1:4/callback", **form):
        client.client_id, client.redirect_uri = client_id, redirect_uri
        return await client.redeem(await client.code(browser, "ada", PASSWORD), **form)

    return connect
