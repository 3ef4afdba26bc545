"""`doctor`, and what the server finds by itself when it starts: by the real command line, in real processes."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from mcpauth.control import ask
from tests.cli.conftest import Done, Run, address
from tests.fakes.name_server import FakeNameServer
from tests.fakes.tailscaled import HOST, FakeTailscaled
from tests.live import SERVER, LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)

URL = f"https://{HOST}"


@pytest.fixture
def server(tmp_path: Path, tailscaled: FakeTailscaled) -> LiveServer:
    """Not started yet; its public URL is the name that the tailnet gives."""
    return LiveServer(tmp_path, MCP_OAUTH_PUBLIC_URL=URL, MCP_OAUTH_TAILSCALE_SOCKET=str(tailscaled.socket))


def settings(server: LiveServer) -> dict[str, str]:
    return {name: value for name, value in server.environ.items() if name.startswith("MCP_OAUTH_")}


def found(done: Done) -> dict[str, Any]:
    """By check; of those that are there several times, the last."""
    return {one["check"]: one for one in json.loads(done.printed)["findings"]}


async def test_a_server_on_this_computer_is_well(
    tmp_path: Path, command: Run, add_owner: Callable[[], Awaitable[Done]]
) -> None:
    await add_owner()
    async with LiveServer(tmp_path) as server:
        done = await command("doctor", **settings(server))
        assert (done.status, done.printed.splitlines()[-1]) == (0, "All is well."), done
        assert {"Settings and data", "Server", "Tailscale", "As apps see it"} <= set(done.printed.splitlines())
        assert "  ✓ this server: it is the one that answers there" in done.printed.splitlines()
        assert len(set(done.printed.splitlines())) == len(done.printed.splitlines())
        assert done.said == ""
        told = await command("doctor", "--json", **settings(server))
        assert (told.status, told.json["ok"]) == (0, True)
        assert {one["verdict"] for one in told.json["findings"]} == {"fine"}
        (story,) = (await command("trace", "--json", **settings(server))).json
        assert (story["state"], story["verdict"]) == ("looked at", "looked at by `doctor`, which goes no further")


async def test_a_socket_is_looked_at_through_the_socket(tmp_path: Path, command: Run) -> None:
    async with LiveServer(tmp_path, MCP_OAUTH_UNIX_SOCKET=str(tmp_path / "s")) as server:
        done = await command("doctor", "--json", **settings(server))
        assert found(done)["this server"]["verdict"] == "fine"


async def test_where_nothing_runs_nothing_is_made(tmp_path: Path, command: Run) -> None:
    done = await command("doctor", "--offline")
    assert done.status == 1
    assert "✗ server: it is not running" in done.printed
    assert "What to do: python server.py" in done.printed
    assert "Problems: 1, warnings: 1." in done.printed
    assert os.listdir(tmp_path) == []


async def test_a_start_that_nothing_leads_to_says_so_with_the_command(
    server: LiveServer, tailscaled: FakeTailscaled, command: Run
) -> None:
    fix = f"tailscale funnel --bg {server.port}"
    async with server:
        status = await ask(server.directory / "data", "status", {})
        assert [one["fix"] for one in status["problems"]] == [fix]
        done = await command("status", **settings(server))
        assert f"! {URL}: nothing leads from there to this server\n  What to do: {fix}" in done.printed
        # What was done about it shows at once.
        tailscaled.serve(f"http://127.0.0.1:{server.port}", funnel=True)
        assert (await ask(server.directory / "data", "status", {}))["problems"] == []
    lines = [json.loads(line) for line in server.log.splitlines() if '"self_check"' in line]
    assert [(line["level"], line["check"], line["fix"]) for line in lines] == [("warning", URL, fix)]


async def test_a_start_does_not_wait_for_tailscale(server: LiveServer, tailscaled: FakeTailscaled) -> None:
    tailscaled.held = asyncio.Event()
    async with server:
        async with aiohttp.ClientSession() as http, http.get(f"{address(server)}/auth/oauth/health") as answer:
            assert answer.status == 200
        tailscaled.held.set()


async def test_a_tailscale_that_talks_nonsense_fails_no_start(server: LiveServer, tailscaled: FakeTailscaled) -> None:
    tailscaled.answer = b"<html>"
    async with server:
        status = await ask(server.directory / "data", "status", {})
        assert [one["fix"] for one in status["problems"]] == ["sudo systemctl restart tailscaled"]


async def test_a_start_where_all_is_well_says_nothing(server: LiveServer, tailscaled: FakeTailscaled) -> None:
    tailscaled.serve(f"http://127.0.0.1:{server.port}", funnel=True)
    async with server:
        assert (await ask(server.directory / "data", "status", {}))["problems"] == []
    assert "self_check" not in server.log


async def test_a_name_that_leads_into_the_tailnet_is_named_as_the_cause(
    server: LiveServer, tailscaled: FakeTailscaled, name_server: FakeNameServer, command: Run
) -> None:
    tailscaled.serve(f"http://127.0.0.1:{server.port}", funnel=True)
    name_server.names[HOST] = ["100.64.0.1"]
    async with server:
        done = await command("doctor", "--resolver", name_server.address, "--json", **settings(server))
    assert done.status == 1
    name = found(done)["public name"]
    assert (name["verdict"], "100.64.0.1, which nobody reaches" in name["found"]) == ("problem", True)
    assert name["fix"].startswith(f"tailscale funnel --bg {server.port} ")
    assert found(done)[URL]["verdict"] == "fine"


async def test_an_address_of_this_computer_is_never_connected_to(
    server: LiveServer, tailscaled: FakeTailscaled, name_server: FakeNameServer, command: Run
) -> None:
    name_server.names[HOST] = ["127.0.0.1"]
    async with server:
        done = await command("doctor", "--resolver", name_server.address, "--json", **settings(server))
    assert "127.0.0.1, which nobody reaches" in found(done)["public name"]["found"]
    assert "certificate" not in found(done)


async def test_without_the_internet_it_is_no_failure(
    server: LiveServer,
    tailscaled: FakeTailscaled,
    name_server: FakeNameServer,
    command: Run,
) -> None:
    tailscaled.serve(f"http://127.0.0.1:{server.port}", funnel=True)
    name_server.refuses = True
    async with server:
        done = await command("doctor", "--resolver", name_server.address, **settings(server))
        assert done.status == 0, done
        assert "! public name: it could not be looked at from outside" in done.printed
        asked = len(name_server.asked)
        offline = await command("doctor", "--offline", "--resolver", name_server.address, **settings(server))
        assert "As apps see it" not in offline.printed
        assert len(name_server.asked) == asked


async def test_a_server_with_other_settings_is_noticed(tmp_path: Path, command: Run) -> None:
    async with LiveServer(tmp_path) as server:
        changed = {**settings(server), "MCP_OAUTH_PUBLIC_URL": "http://localhost:1"}
        done = await command("doctor", "--json", "--offline", **changed)
    assert done.status == 1
    assert found(done)["settings"]["fix"] == "stop the server, and start it again"


async def test_wrong_usage(command: Run) -> None:
    done = await command("doctor", "--resolver", "example.com")
    assert (done.status, done.printed) == (2, "")
    assert "--resolver must be an address" in done.said


async def test_ctrl_c_ends_it_at_once_and_leaves_nothing(tmp_path: Path, name_server: FakeNameServer) -> None:
    """While a name server is waited for; at a terminal, where it shows that it looks."""
    name_server.silent = True
    ours, theirs = os.openpty()
    inherited = {name: value for name, value in os.environ.items() if "OAUTH" not in name}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SERVER), "doctor", "--resolver", name_server.address),
        cwd=tmp_path,
        env={**inherited, "MCP_OAUTH_PUBLIC_URL": "https://mcp.example.com", "PYTHONIOENCODING": "utf-8"},
        stdout=asyncio.subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    assert process.stdout is not None
    while b"not needed" not in await process.stdout.readline():
        pass
    process.send_signal(signal.SIGINT)
    assert await process.wait() == 130
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert "looking" in shown
    assert shown.endswith("\r\x1b[K")
    assert "Traceback" not in shown
    assert os.listdir(tmp_path) == []
