"""`python server.py`: what it prints is true, it finds everything again, and it says why it does not start."""

import asyncio
import os
import re
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest

from mcpauth import __version__
from tests.cli.conftest import Done, Run, address, browser_at, connect
from tests.conftest import PASSWORD
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}},
}


async def tools_of(server: LiveServer, headers: dict[str, str], session: aiohttp.ClientSession, url: str) -> list[str]:
    sent = {"Accept": "application/json, text/event-stream", **headers}
    async with session.post(url, json=INITIALIZE, headers=sent) as begun:
        assert begun.status == 200
        sent["Mcp-Session-Id"] = begun.headers["Mcp-Session-Id"]
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    async with session.post(url, json=listing, headers=sent) as answered:
        return [tool["name"] for tool in (await answered.json())["result"]["tools"]]


def modes(directory: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.lstat().st_mode) for path in directory.iterdir() if not path.is_dir()}


async def test_the_first_start_prints_what_is_true(tmp_path: Path) -> None:
    async with LiveServer(tmp_path) as server:
        printed = server.printed
        assert printed[:5] == [
            f"mcpauth {__version__}",
            f"  MCP URL     {server.origin}/mcp",
            f"  public URL  {server.origin}  (only this computer reaches it)",
            "  sign-in     Password",
            "  servers     1: files",
        ]
        browser = browser_at(server)
        page = await browser.get(server.setup_link)
        fields = {"username": "ada", "password": PASSWORD, "password_again": PASSWORD}
        done = await browser.submit(page, page.form("password"), fields)
        assert "This server is yours, ada" in done.text
        assert (await browser.get(server.setup_link)).status == 404
        client = await connect(server)
        bearer = {"Authorization": f"Bearer {client.tokens['access_token']}"}
        async with aiohttp.ClientSession() as session:
            tools = await tools_of(server, bearer, session, f"{address(server)}/mcp")
        assert printed[-1] == f"  tools       files {len(tools)}"
    assert server.process is not None
    assert server.process.returncode == 0
    code = re.search(r"code=(\S+)", "\n".join(printed))
    assert code is not None
    assert code[1] not in server.log


async def test_the_data_directory_is_for_the_owners_eyes_only(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with LiveServer(tmp_path):
            data = tmp_path / "data"
            assert stat.S_IMODE(data.stat().st_mode) == 0o700
            found = modes(data)
    finally:
        os.umask(before)
    assert {"mcpauth.sqlite3", "mcp.json", "control.sock", "jwt.key", "seal.key", "refresh.key"} <= set(found)
    assert {name: oct(mode) for name, mode in found.items() if mode != 0o600} == {}


async def test_a_second_start_finds_it_all_again(tmp_path: Path, add_owner: Callable[[], Awaitable[Done]]) -> None:
    async with LiveServer(tmp_path) as server:
        first_link = server.setup_link
        await server.restart()
        assert server.setup_link
        assert server.setup_link != first_link
        assert (await browser_at(server).get(first_link)).status == 403
        await add_owner()
        client = await connect(server)
        browser = browser_at(server)
        await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
        await server.restart()
        assert not server.setup_link
        assert (await client.initialize()).status == 200
        assert (await client.refresh()).status == 200
        assert "You signed in as ada" in (await browser.get("/auth/oauth/signin")).text


async def test_a_second_process_on_the_same_data_says_so(tmp_path: Path, command: Run) -> None:
    async with LiveServer(tmp_path):
        done = await command(MCP_OAUTH_PORT="0", MCP_OAUTH_PUBLIC_URL="http://localhost")
        assert done.status == 2
        assert "another process is using the data directory" in done.said
        assert done.printed == ""


async def test_a_killed_server_is_no_hindrance(tmp_path: Path, command: Run) -> None:
    async with LiveServer(tmp_path) as server:
        assert server.process is not None
        server.process.kill()
        await server.wait()
        assert (tmp_path / "data" / "control.sock").exists()
        assert (await command("user", "list", "--json")).json == []
        await server.start()
        assert (await command("status")).status == 0


async def test_a_port_in_use_is_named(tmp_path: Path, command: Run) -> None:
    async with LiveServer(tmp_path) as server:
        done = await command(MCP_OAUTH_PORT=str(server.port), MCP_OAUTH_DATA_DIR=str(tmp_path / "other"))
    assert done.status == 2
    assert f"port {server.port}" in done.said
    assert done.printed == ""


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"MCP_OAUTH_PROT": "sesame"}, "unknown setting: MCP_OAUTH_PROT; did you mean MCP_OAUTH_PORT?"),
        ({"MCP_OAUTH_JWT_SECRET": "sesame"}, "MCP_OAUTH_JWT_SECRET"),
        ({"MCP_OAUTH_METRICS_PORT": "1"}, "not built yet"),
        ({"MCP_OAUTH_ENABLED": "false"}, "MCP_OAUTH_UNIX_SOCKET"),
        ({"MCP_OAUTH_HOST": "192.0.2.1"}, "cannot listen on 192.0.2.1"),
        ({"MCP_OAUTH_UNIX_SOCKET": "/nowhere/at/all.sock"}, "MCP_OAUTH_UNIX_SOCKET"),
        ({"MCP_OAUTH_DATA_DIR": "/dev/null/data"}, "MCP_OAUTH_DATA_DIR"),
        ({"MCP_OAUTH_TRUSTED_PROXIES": "sesame"}, "MCP_OAUTH_TRUSTED_PROXIES"),
    ],
)
async def test_wrong_settings_stop_the_start(command: Run, settings: dict[str, str], said: str) -> None:
    done = await command(**settings)
    assert done.status == 2
    assert done.said.startswith("mcpauth: ")
    assert said in done.said
    assert "sesame" not in done.said
    assert done.printed == ""


async def test_a_damaged_key_is_named_and_kept(tmp_path: Path, command: Run) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "data" / "jwt.key").write_text("abc\n")
    done = await command()
    assert done.status == 2
    assert "jwt.key is damaged" in done.said
    assert (tmp_path / "data" / "jwt.key").read_text() == "abc\n"


async def test_the_seeds_five_variables_alone_make_a_working_server(tmp_path: Path) -> None:
    seed = {
        "ENABLED": "true",
        "GITHUB_CLIENT_ID": "Iv1.0123456789abcdef",
        "GITHUB_CLIENT_SECRET": "0123456789012345678901234567890123456789",
        "REDIRECT_URI": "https://host.tailnet.ts.net/github/oauth/callback",
        "JWT_SECRET": "a-secret-of-more-than-thirty-two-bytes",
    }
    async with LiveServer(tmp_path, **{f"OAUTH_{name}": value for name, value in seed.items()}) as server:
        assert server.printed[1:4] == [
            "  MCP URL     https://host.tailnet.ts.net/mcp",
            "  public URL  https://host.tailnet.ts.net",
            "  sign-in     GitHub",
        ]
        assert server.setup_link.startswith("https://host.tailnet.ts.net/setup?code=")
        async with aiohttp.ClientSession() as session, session.get(f"{address(server)}/auth/oauth/health") as answer:
            assert answer.status == 200
            assert (await answer.json())["config"]["providers"]["available"] == ["github"]
    assert seed["JWT_SECRET"] not in server.log + "\n".join(server.printed)


async def test_it_does_not_claim_that_nobody_else_reaches_it(tmp_path: Path) -> None:
    async with LiveServer(tmp_path, MCP_OAUTH_HOST="0.0.0.0") as server:
        assert (
            server.printed[2]
            == f"  public URL  {server.origin}  (a name for this computer only: set MCP_OAUTH_PUBLIC_URL)"
        )
        assert "only this computer reaches it" not in "\n".join(server.printed)


@pytest.mark.parametrize("public_url", ["https://host.tailnet.ts.net", ""])
async def test_a_socket_is_named(tmp_path: Path, public_url: str) -> None:
    path = tmp_path / "mcp.sock"
    named = {"MCP_OAUTH_PUBLIC_URL": public_url} if public_url else {}
    async with LiveServer(tmp_path, MCP_OAUTH_UNIX_SOCKET=str(path), **named) as server:
        at = public_url or server.origin
        assert server.printed[2] == f"  public URL  {at}  (through whatever serves {path} there)"


async def test_a_list_of_programs_that_is_somebody_elses_is_refused(tmp_path: Path, command: Run) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    path = tmp_path / "data" / "mcp.json"
    if os.geteuid() == 0:
        path.write_text('{"mcpServers": {}}')
        path.chmod(0o600)
        os.chown(path, 4242, -1)
        done = await command()
        assert done.status == 2
        assert "the file belongs to another user; run: chown 0 " in done.said
        assert done.printed == ""
    else:
        # Nobody but root can give a file away. One of root's is as good as one's own, so this fails later.
        path.symlink_to("/etc/passwd")
        done = await command()
        assert done.status == 2
        assert "belongs to another user" not in done.said


async def test_without_authorization_only_the_socket_is_served(tmp_path: Path) -> None:
    path = tmp_path / "mcp.sock"
    settings = {"MCP_OAUTH_ENABLED": "false", "MCP_OAUTH_UNIX_SOCKET": str(path)}
    async with LiveServer(tmp_path, **settings) as server:
        assert server.printed[3].startswith("  sign-in     off: everybody who reaches the socket may do everything")
        assert "Funnel" in server.printed[3]
        assert not server.setup_link
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session:
            assert await tools_of(server, {}, session, "http://localhost/mcp")
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
