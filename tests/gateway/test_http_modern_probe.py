"""Which eras a remote server speaks, as the probe finds out."""

import pytest

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.probe import probe
from mcpauth.gateway.served import Served
from tests.fakes.mcp_http_modern import ModernHttpServer
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.test_http_backend import headers_of


@pytest.fixture
def probed(io_loop):
    """What the probe finds at a server, and the server."""
    begun = []

    async def ask(far, **given):
        begun.append((far, Served(HttpBackend("remote", RemoteServer(url=far.url, **given), {}))))
        return await probe(begun[-1][1])

    yield ask
    for far, served in begun:
        io_loop.run_sync(served.close)
        io_loop.run_sync(far.close)


async def test_a_server_of_the_modern_era_alone(probed):
    far = ModernHttpServer()
    offer = await probed(far)
    assert offer.greeting is None
    assert offer.modern.discovered is not None
    assert offer.modern.versions == ["2026-07-28"]
    assert list(offer.tools) == ["echo"]
    repeated = {one.header for one in offer.modern.parameters["echo"]}
    assert repeated == {"Mcp-Param-Region", "Mcp-Param-Count", "Mcp-Param-Sure"}
    for method in ("server/discover", "tools/list"):
        for handler in far.of(method):
            sent = headers_of(handler)
            assert sent["Mcp-Method"] == method
            assert sent["Mcp-Protocol-Version"] == "2026-07-28"
            assert "Mcp-Session-Id" not in sent


async def test_a_server_of_both(probed):
    far = ModernHttpServer(dual=True)
    offer = await probed(far)
    assert offer.modern.discovered is not None
    assert offer.modern.versions == ["2026-07-28"]
    assert b"far" in bytes(offer.greeting["serverInfo"])
    (initialize,) = far.of("initialize")
    assert "Mcp-Method" not in headers_of(initialize)
    assert "Mcp-Protocol-Version" not in headers_of(initialize)
    for handler in far.of("tools/list"):
        modern = "_meta" in (handler.message["params"] or {})
        assert ("Mcp-Method" in headers_of(handler)) == modern
        assert ("Mcp-Session-Id" in headers_of(handler)) == (not modern)


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (200, "application/json", '{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Method not found"}}'),
        (400, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"No session ID"}}'),
        (400, "text/plain", "Invalid session ID"),
        (400, "application/json", '{"error":"unsupported protocol version"}'),
        (404, "text/html", "<h1>Not Found</h1>"),
        (404, "application/json", '{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}'),
        (405, "text/plain", ""),
        (406, "text/plain", ""),
        (422, "application/json", "{}"),
        (500, "text/plain", "Internal Server Error"),
        (202, "text/plain", ""),
        (200, "text/event-stream", ": nothing\n\n"),
    ],
)
async def test_a_server_of_the_older_era_alone(probed, status, kind, body):
    async def refuse(handler):
        handler.set_status(status)
        handler.set_header("Content-Type", kind)
        handler.set_header("Mcp-Session-Id", "a-session-nobody-asked-for")
        handler.finish(body)

    far = McpHttpServer()
    far.acts["server/discover"] = refuse
    offer = await probed(far)
    assert offer.modern.discovered is None
    assert list(offer.tools) == ["echo"]
    (initialize,) = far.of("initialize")
    assert "Mcp-Session-Id" not in headers_of(initialize)
    (listed,) = far.of("tools/list")
    assert headers_of(listed)["Mcp-Session-Id"] == far.sessions[-1]
    assert headers_of(listed)["Mcp-Protocol-Version"] == "2025-11-25"
    assert "Mcp-Method" not in headers_of(listed)


async def test_a_server_that_cuts_the_connection_is_asked_otherwise(probed):
    far = McpHttpServer()
    far.acts["server/discover"] = lambda handler: handler.cut()
    assert (await probed(far)).modern.discovered is None


async def test_a_server_that_refuses_us_is_of_no_era(probed):
    async def refuse(handler):
        handler.set_status(401)
        handler.finish()

    far = McpHttpServer()
    far.acts |= {"server/discover": refuse, "initialize": refuse}
    with pytest.raises(BackendUnavailable, match="the server remote refuses our credentials"):
        await probed(far)
