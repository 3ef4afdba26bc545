"""The server as the README sets it up behind Tailscale: on a socket, as a process of its own."""

from pathlib import Path

from tests.browser import Browser
from tests.cli.conftest import Run
from tests.fakes.tailscale_serve import FakeServe
from tests.fakes.tailscaled import HOST, TAILNET, FakeTailscaled
from tests.live import LiveServer

ALICE = "100.101.102.103"


async def test_it_says_what_it_found_and_signs_in_who_comes_from_the_tailnet(
    tmp_path: Path, command: Run, tailscaled: FakeTailscaled
) -> None:
    tailscaled.join(ALICE, "alice@example.com", 71)
    socket = tailscaled.directory / "mcpauth.sock"
    settings = {
        "MCP_OAUTH_PUBLIC_URL": f"https://{HOST}",
        "MCP_OAUTH_UNIX_SOCKET": str(socket),
        "MCP_OAUTH_TAILSCALE_SOCKET": str(tailscaled.socket),
        "MCP_OAUTH_ALLOWED_USERS": "tailscale:alice@example.com",
        "MCP_OAUTH_LOG_FORMAT": "json",
    }
    serve = FakeServe(tailscaled, socket)
    async with LiveServer(tmp_path, **settings) as server:
        assert "  sign-in     Tailscale" in server.printed
        browser = Browser(f"https://{HOST}", serve.tailnet(ALICE))
        page = await browser.get("/auth/oauth/signin")
        assert "You are signed in" in (await browser.submit(page, page.form("login"), {})).text
        told = await command("status", **settings)
        assert f"  Tailscale   {TAILNET} ({HOST})" in told.printed
        assert (await command("user", "list", "--json")).json[0]["signs_in_with"] == ["tailscale:alice@example.com"]
    await serve.stop()
    assert '"event": "tailscale_found"' in server.log
    tailscaled.forbids = True
    told = await command("status", **settings)
    assert "does not let this user ask it" in told.printed
