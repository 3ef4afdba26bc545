"""`try`: the owner's own server is connected to as a client would, and nothing stays of it."""

import asyncio
import fcntl
import json
import os
import re
import signal
import sys
import termios
from argparse import Namespace
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.ioloop import IOLoop

from mcpauth.cli.trying import Owner, Report, start
from mcpauth.control import ask
from mcpauth.errors import SettingsError, StepFailed
from mcpauth.replay.loopback import Loopback, at_home
from mcpauth.replay.sequence import Token, load
from mcpauth.replay.wire import Wire
from mcpauth.settings import Settings
from tests.browser import Browser
from tests.cli.conftest import Done
from tests.conftest import PASSWORD, current_loop
from tests.live import SERVER, LiveServer, run

pytestmark = pytest.mark.gen_test(timeout=120)

# A browser for the `webbrowser` module: it notes where it was sent.
NOTE = "import sys; open('opened', 'w').write(sys.argv[1])"
# One that runs until it is closed.
STAY = """
import os, time
while not os.path.exists('closed'):
    time.sleep(0.05)
"""


@pytest.fixture(scope="module")
def io_loop() -> Iterator[IOLoop]:
    yield from current_loop(asyncio.new_event_loop())


@pytest.fixture(scope="module")
def server(io_loop: IOLoop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("server"), MCP_OAUTH_CIMD_LOOPBACK="true")

    async def start() -> None:
        added = await run(
            server.directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD, **settings(server)
        )
        assert added[0] == 0, added
        await server.start()

    io_loop.run_sync(start)
    yield server
    assert io_loop.run_sync(server.stop) == 0


def settings(server: LiveServer) -> dict[str, str]:
    return {"MCP_OAUTH_PORT": str(server.port)}


class Trying:
    """The command, running; ``url`` is where the owner is to sign in."""

    def __init__(self, server: LiveServer, process: asyncio.subprocess.Process) -> None:
        self._server, self.process = server, process
        self.printed = self.url = ""

    async def asked(self, stream: asyncio.StreamReader | None) -> None:
        """Until the sign-in is asked for."""
        assert stream is not None
        while not self.url:
            line = (await stream.readline()).decode()
            assert line, (self.printed, await self.done())
            self.printed += line
            found = re.search(r"Sign in and (?:allow|deny) it here: (\S+)", line)
            self.url = found[1] if found else ""

    async def decide(self, decision: str) -> None:
        browser = Browser(self._server.origin, self._server.origin)
        page = await browser.sign_in(await browser.get(self.url), "ada", PASSWORD)
        location = (await browser.decide(page, decision)).location
        assert (await AsyncHTTPClient().fetch(location)).code == 200

    async def done(self) -> Done:
        printed, said = await self.process.communicate()
        assert self.process.returncode is not None
        assert b"Traceback" not in said, said
        return Done(self.process.returncode, self.printed + printed.decode(), said.decode())


@asynccontextmanager
async def trying(server: LiveServer, *arguments: str, **environ: str) -> AsyncIterator[Trying]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        "try",
        *arguments,
        cwd=server.directory,
        env={**server.environ, **environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Trying(server, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def listed(server: LiveServer, what: str) -> list[Any]:
    """client or session: those of clients."""
    rows = await ask(server.directory / "data", f"{what} list", {})
    return [one for one in rows if one["client_id"]]


async def stories(server: LiveServer) -> list[Any]:
    """The newest last."""
    told: list[Any] = await ask(server.directory / "data", "trace list", {})
    return told


async def left(server: LiveServer) -> list[Any]:
    """Clients that registered, and sessions of any client."""
    registered = [one for one in await listed(server, "client") if one["client_id"].startswith("mcp_client_")]
    return [*registered, *await listed(server, "session")]


async def test_it_connects_and_leaves_nothing(server: LiveServer) -> None:
    async with trying(server, "--as", "chatgpt", "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    assert done.status == 0, done
    assert "✗" not in done.printed
    assert "Its code comes to this computer instead of https://chatgpt.com/" in done.printed
    assert "Connected" in done.printed.splitlines()[-1]
    assert await left(server) == []
    # What it asks for wrongly, to see how that is refused, does not stay as a failure.
    assert [one["state"] for one in await stories(server) if one["client"] == "ChatGPT"] == ["connected"]


async def test_a_client_of_this_computer_keeps_its_document_and_its_grant_ends(server: LiveServer) -> None:
    opened = server.directory / "opened"
    async with trying(server, "--as", "vscode", BROWSER=f'{sys.executable} -c "{NOTE}" %s') as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    assert done.status == 0, done
    assert "client_id=https%3A%2F%2Fvscode.dev%2Foauth%2Fclient-metadata.json" in attempt.url
    while not (opened.exists() and opened.read_text()):  # noqa: ASYNC110 - the browser is nobody's child by now
        await asyncio.sleep(0.05)
    assert opened.read_text() == attempt.url
    assert await left(server) == []


async def test_it_goes_to_where_the_running_server_says_that_it_is(server: LiveServer) -> None:
    """Whose settings may be others than those of the shell that the command is typed in."""
    elsewhere = {"MCP_OAUTH_PUBLIC_URL": "http://localhost:1"}
    async with trying(server, "--as", "gemini", "--no-browser", **elsewhere) as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    assert done.status == 0, done
    assert f"Gemini CLI connects to {server.origin}/mcp\n" in done.printed


async def test_another_way_of_a_client_is_played(server: LiveServer) -> None:
    options = ("--as", "chatgpt", "--way", "a secret in the form", "--no-browser", "--json")
    async with trying(server, *options) as attempt:
        await attempt.asked(attempt.process.stderr)
        registered = [one for one in await listed(server, "client") if one["client_id"].startswith("mcp_client_")]
        await attempt.decide("allow")
        done = await attempt.done()
    told = json.loads(done.printed.splitlines()[-1])
    assert (done.status, told["way"], told["connected"]) == (0, "a secret in the form", True)
    assert [one["kind"] for one in registered] == ["confidential"]
    assert await left(server) == []


async def test_the_ways_are_named_and_what_is_left_out(server: LiveServer) -> None:
    async with trying(server, "--as", "sdk-python", "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    lines = done.printed.splitlines()
    assert "  Its way: with a secret. It has others: --way 'a secret in the form', --way 'no secret'." in lines
    left_out = (
        "  What it does later is left out, because you would be asked once more; --way 'with a secret' plays that too."
    )
    assert left_out in lines
    assert lines[-1].startswith("Connected")


@pytest.mark.parametrize(
    ("client", "way", "decision"),
    [("claude", "registration", "deny"), ("chatgpt", "reconnected without scope", "allow")],
)
async def test_a_way_that_is_named_is_played_to_its_end(
    server: LiveServer, client: str, way: str, decision: str
) -> None:
    async with trying(server, "--as", client, "--way", way, "--no-browser") as attempt:
        for one in ("allow", decision):
            await attempt.asked(attempt.process.stdout)
            await attempt.decide(one)
            attempt.url = ""
        done = await attempt.done()
    assert done.status == 0, done
    assert f"Sign in and {decision} it here: " in done.printed
    assert "(waiting for up to 10 minutes; Ctrl-C ends it)" in done.printed
    assert "left out" not in done.printed
    assert await left(server) == []


async def test_that_it_moves_to_another_port_is_left_out(server: LiveServer) -> None:
    async with trying(server, "--as", "mcp-remote", "--way", "0.1, on another port", "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    assert done.status == 0, done
    assert "  That it registers anew at another port is left out: this computer listens at one." in done.printed
    assert await left(server) == []


@pytest.mark.parametrize(("client", "way"), [("claude", "nothing"), ("mcp-remote", "a document of one's own")])
async def test_a_way_that_is_not_there_is_wrong_usage(tmp_path: Path, client: str, way: str) -> None:
    done = Done(*await run(tmp_path, "try", "--as", client, "--way", way))
    assert done.status == 2
    assert "--way must be one of " in done.said


async def test_what_needs_nobody_is_played_to_the_end(server: LiveServer) -> None:
    client, refresh = load("goose"), Token(do="refresh")
    async with Loopback() as loopback:
        way, notes = at_home(client, client.runs[0].model_copy(update={"then": (refresh,)}), loopback, again=False)
    assert (way.then, notes) == ((refresh,), ())


async def test_a_no_is_told_and_leaves_nothing(server: LiveServer) -> None:
    async with trying(server, "--as", "claude", "--no-browser", "--json") as attempt:
        await attempt.asked(attempt.process.stderr)
        await attempt.decide("deny")
        done = await attempt.done()
    told = json.loads(done.printed.splitlines()[-1])
    assert (done.status, told["connected"]) == (1, False)
    assert told["steps"][-1]["step"] == "sign-in and consent"
    assert "Allow" in told["steps"][-1]["fix"]
    assert await left(server) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_leaves_nothing(server: LiveServer, number: signal.Signals) -> None:
    async with trying(server, "--as", "gemini", "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        assert await left(server) != []
        attempt.process.send_signal(number)
        attempt.process.send_signal(signal.SIGTERM)  # One more does not interrupt what the first one began.
        done = await attempt.done()
    # Two at once come in any order, and the second may come when all is done.
    assert done.status in (128 + number, 128 + signal.SIGTERM, -signal.SIGTERM)
    assert "was removed" in done.printed
    assert await left(server) == []


async def test_a_terminal_that_is_closed_leaves_nothing(server: LiveServer) -> None:
    terminal, inside = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SERVER), "try", "--as", "gemini", "--no-browser"),
        cwd=server.directory,
        env=server.environ,
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=partial(fcntl.ioctl, inside, termios.TIOCSCTTY, 0),
    )
    os.close(inside)
    printed = b""
    while b"allow it here" not in printed:
        printed += await asyncio.to_thread(os.read, terminal, 1024)
    assert await left(server) != []
    os.close(terminal)
    assert await process.wait() == 128 + signal.SIGHUP
    assert await left(server) == []


async def test_a_grant_ends_with_a_signal_too(server: LiveServer) -> None:
    """Of a client that needs no registration; in the middle of what it does with its tokens."""
    async with trying(server, "--as", "vscode", "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        deciding = asyncio.create_task(attempt.decide("allow"))
        assert attempt.process.stdout is not None
        while not (line := (await attempt.process.stdout.readline()).decode()).lstrip().startswith("✓ token"):
            assert line
        attempt.process.send_signal(signal.SIGTERM)
        done = await attempt.done()
        await deciding
    assert done.status == 128 + signal.SIGTERM or "Connected" in done.printed
    assert "Its connection was ended" in done.printed
    assert await left(server) == []


async def test_a_browser_that_keeps_its_command_keeps_nothing_up(server: LiveServer) -> None:
    (server.directory / "stay.py").write_text(STAY)
    async with trying(server, "--as", "claude", BROWSER=f"{sys.executable} stay.py %s") as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        while attempt.process.returncode is None:  # noqa: ASYNC110 - wait() waits for the browser too: it has our pipe
            await asyncio.sleep(0.05)
        (server.directory / "closed").touch()
        done = await attempt.done()
    assert done.status == 0
    assert "Connected" in done.printed


async def test_a_browser_that_cannot_be_opened_is_done_without(server: LiveServer) -> None:
    async with trying(server, "--as", "claude", BROWSER='no "such') as attempt:
        await attempt.asked(attempt.process.stdout)
        await attempt.decide("allow")
        done = await attempt.done()
    assert done.status == 0, done


async def test_nobody_is_sent_to_a_page_that_is_an_error(server: LiveServer) -> None:
    owner = Owner(Report(as_json=True), browser=False)
    async with aiohttp.ClientSession() as http:
        owner.wire = Wire(http, 10, "")
        with pytest.raises(StepFailed, match="This app is not known here"):
            await owner.allow(f"{server.origin}/authorize?client_id=nobody&redirect_uri=http://127.0.0.1:1/callback")


async def test_a_server_that_is_not_there_is_a_problem_with_a_fix(tmp_path: Path) -> None:
    done = Done(*await run(tmp_path, "try", "--as", "codex", "--url", "http://127.0.0.1:9"))
    assert done.status == 1
    assert "✗ challenge             no server answers at http://127.0.0.1:9\n" in done.printed
    assert "Fix: Start it with: python server.py" in done.printed
    assert done.printed.splitlines()[-1] == "Not connected."


async def test_an_mcp_server_that_is_not_there_is_told_with_those_that_are(server: LiveServer) -> None:
    for host in ("localhost", "127.0.0.1"):
        url = f"http://{host}:{server.port}/mcp/nope"
        done = Done(*await run(server.directory, "try", "--as", "codex", "--url", url, **settings(server)))
        assert done.status == 1
        assert f"there is no MCP server nope at http://{host}:{server.port}; there are: files." in done.said
    assert await left(server) == []


async def test_nobody_is_played_over_http_and_sse(server: LiveServer) -> None:
    url = f"{server.origin}/sse"
    done = Done(*await run(server.directory, "try", "--as", "codex", "--url", url, **settings(server)))
    assert done.status == 1
    assert f"what is at {url} is at {server.origin}/mcp too" in done.said


async def test_an_mcp_server_that_is_not_there_is_told_without_asking_its_owner(server: LiveServer) -> None:
    """From a folder that no server runs in: what there is, is not known there."""
    url = f"{server.origin}/mcp/nope"
    (server.directory / "elsewhere").mkdir()
    elsewhere = LiveServer(server.directory / "elsewhere")
    async with trying(elsewhere, "--as", "goose", "--url", url, "--no-browser") as attempt:
        await attempt.asked(attempt.process.stdout)
        browser = Trying(server, attempt.process)
        browser.url = attempt.url
        await browser.decide("allow")
        done = await attempt.done()
    assert done.status == 1
    assert f"the token is for {server.origin}/mcp, not for this address" in done.printed
    assert "There may be no MCP server of that name" in done.printed
    assert await left(server) == []


async def test_another_address_of_the_server_is_told_apart(server: LiveServer) -> None:
    url = f"http://127.0.0.1:{server.port}/mcp"
    done = Done(*await run(server.directory, "try", "--as", "vscode", "--url", url, **settings(server)))
    assert done.status == 1
    assert f"resource is the URL: it does not hold, it is '{server.origin}/mcp' and not '{url}'" in done.printed
    assert "Fix: Set MCP_OAUTH_PUBLIC_URL" in done.printed


async def test_the_clients_are_listed_with_what_is_not_known_of_them(tmp_path: Path) -> None:
    listed = Done(*await run(tmp_path, "try", "--list", "--json")).json
    assert {"chatgpt", "claude", "claude-code", "vscode", "cursor", "codex", "gemini"} <= {
        one["client"] for one in listed
    }
    assert all(one["sources"] for one in listed)
    assert "ChatGPT" in Done(*await run(tmp_path, "try", "--list")).printed
    assert not os.listdir(tmp_path)


def test_what_is_to_be_copied_does_nothing_else_in_a_shell(capsys: pytest.CaptureFixture[str]) -> None:
    Report(as_json=False).removed("It could not be removed.", ["x; touch y"])
    assert "client remove 'x; touch y'" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("client", "url"), [("nobody", None), ("claude", "host.example.com"), ("claude", "http://localhost:x/mcp")]
)
def test_what_is_not_there_to_be_tried_is_refused(client: str, url: str | None) -> None:
    given = Namespace(client=client, way=None, url=url, list=False, json=False, browser=False)
    with pytest.raises(SettingsError):
        start(given, Settings.from_env({}))


async def test_wrong_usage_is_two(tmp_path: Path) -> None:
    assert (await run(tmp_path, "try"))[0] == 2
    assert (await run(tmp_path, "try", "--as", "nobody"))[0] == 2
