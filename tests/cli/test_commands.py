"""Every command, with a server running and without one, as JSON and for a person."""

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from mcpauth import __version__
from mcpauth.ambient import Ambient
from mcpauth.cli import show
from tests.cli.conftest import Done, Run, browser_at, connect
from tests.conftest import PASSWORD
from tests.live import SERVER, LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)

AddOwner = Callable[[], Awaitable[Done]]

ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Either:
    """A folder in which a server runs, or not."""

    def __init__(self, command: Run, server: LiveServer) -> None:
        self.command, self.server = command, server

    async def __call__(self, *arguments: str, typed: str = "") -> Done:
        settings = {} if self.server.process else {"MCP_OAUTH_PORT": str(self.server.port)}
        return await self.command(*arguments, typed=typed, **settings)


@pytest.fixture(params=[True, False], ids=["running", "not running"])
def either(request: pytest.FixtureRequest, command: Run, io_loop: object, tmp_path: Path) -> object:
    server = LiveServer(tmp_path)
    if request.param:
        io_loop.run_sync(server.start)  # type: ignore[attr-defined]
    yield Either(command, server)
    if request.param:
        assert io_loop.run_sync(server.stop) == 0  # type: ignore[attr-defined]


async def test_config_prints_the_shape_of_the_manual(either: Either) -> None:
    expected = {
        "providers": {
            "available": ["password"],
            "trusted": ["password"],
            "redirectUri": f"{either.server.origin}/auth/oauth/callback",
        },
        "tokens": {"accessTokenExpiry": 3600, "refreshTokenExpiry": 2592000, "algorithm": "HS256"},
        "sessions": {"timeout": 86400, "maxPerUser": 5, "autoCreateUsers": True},
        "http": {"basePath": "/auth/oauth", "secureCookies": False, "sameSitePolicy": "lax"},
    }
    shown, as_json = await either("config"), await either("config", "--json")
    assert shown.json == as_json.json == expected
    assert "\n" not in as_json.printed.strip()


async def test_looking_makes_nothing(command: Run, tmp_path: Path) -> None:
    for arguments in (("config",), ("status",), ("status", "--json"), ("--version",), ("--help",), ("systemd",)):
        await command(*arguments)
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


async def test_status_says_how_it_is(either: Either, add_owner: AddOwner) -> None:
    running = either.server.process is not None
    await add_owner()
    shown, as_json = await either("status"), await either("status", "--json")
    assert shown.status == as_json.status == (0 if running else 1)
    lines = shown.printed.splitlines()
    assert lines[0] == f"mcpauth {__version__}  {'running' if running else 'not running'}"
    assert "  users       1 owner, 0 members" in lines
    assert "  sign-in     Password" in lines
    found = as_json._replace(status=0).json
    assert found["version"] == __version__
    assert found["mcpUrl"] == f"{either.server.origin}/mcp"
    assert found["publicUrl"] == either.server.origin
    assert f"  public URL  {either.server.origin}" in lines
    assert found["listensOn"] == f"127.0.0.1:{either.server.port}"
    assert f"  listens on  127.0.0.1:{either.server.port}" in lines
    assert found["registration"] == "open"
    assert "  connecting  open: every app, with your Allow" in lines
    assert found["sseUrl"] is None
    assert "/sse" not in shown.printed
    assert found["users"] == {"owner": 1, "member": 0, "pending": 0}
    assert found["ownerNeeded"] is False
    assert [one["name"] for one in found["servers"]] == ["files"]
    assert found["processes"] == {"running": 0, "most": 64}


async def test_status_and_the_start_say_what_is_switched_on(tmp_path: Path, command: Run) -> None:
    settings = {"MCP_OAUTH_LEGACY_SSE": "true", "MCP_OAUTH_REGISTRATION": "approve"}
    async with LiveServer(tmp_path, **settings) as server:
        line = f"  older URL   {server.origin}/sse  (HTTP+SSE, MCP 2024-11-05)"
        assert line in server.printed
        shown = (await command("status")).printed.splitlines()
        assert line in shown
        assert "  connecting  approve: apps that you approved, and those that mcpauth knows for certain" in shown
        found = (await command("status", "--json")).json
        assert (found["sseUrl"], found["registration"]) == (f"{server.origin}/sse", "approve")


async def test_only_status_and_the_server_tell_of_what_is_odd_in_the_file(
    tmp_path: Path, command: Run, add_owner: AddOwner
) -> None:
    settings = {"MCP_OAUTH_PORT": "0", "MCP_OAUTH_PUBLIC_URL": "http://localhost:1"}
    path = tmp_path / "data" / "mcp.json"
    await add_owner()
    path.write_text('{"mcpServers": {"a": {"builtin": "files", "root": "files", "colour": 1}}}')
    path.chmod(0o644)
    notes = [
        f"! {path}: others may read this file; better: chmod 600 {path}",
        "! mcp.json: mcpServers.a.colour: unknown, ignored",
    ]
    for arguments in (("user", "list"), ("client", "list"), ("session", "list"), ("trace",), ("config",)):
        done = await command(*arguments, **settings)
        assert (done.status, done.said) == (0, "")
        assert "chmod" not in done.printed
    status = await command("status", **settings)
    assert status.said == ""
    assert status.printed.splitlines()[-2:] == notes
    async with LiveServer(tmp_path) as server:
        assert [line for line in (await command("status")).printed.splitlines() if line.startswith("!")] == notes
        assert server.log.count("configuration_noted") == 2


async def test_status_without_anything_is_a_problem_found(command: Run) -> None:
    done = await command("status")
    assert done.status == 1
    assert "no server is running" in done.said


async def test_the_signing_key_is_replaced(either: Either, tmp_path: Path) -> None:
    def keys() -> dict[str, tuple[str, int]]:
        return {
            path.name: (path.read_text(), path.stat().st_mode & 0o777) for path in (tmp_path / "data").glob("*.key")
        }

    told = (await either("rotate-keys", "--json")).json
    assert set(told) == {"algorithm", "kid", "previous_until"}
    assert ISO.fullmatch(told["previous_until"])
    before = await asyncio.to_thread(keys)
    shown = await either("rotate-keys")
    assert (shown.status, "signed with a new HS256 key now" in shown.printed) == (0, True)
    after = await asyncio.to_thread(keys)
    assert {mode for _, mode in after.values()} == {0o600}
    assert len(after) == len(before) + 1
    replaced = [text for name, (text, _) in after.items() if name not in before]
    assert replaced == [before["jwt.key"][0]] != [after["jwt.key"][0]]
    assert [after[name] for name in ("refresh.key", "seal.key")] == [
        before[name] for name in ("refresh.key", "seal.key")
    ]


async def test_users_come_change_and_go(either: Either, add_owner: AddOwner) -> None:
    assert (await either("user", "list")).printed == "There are no users yet.\n"
    assert (await either("user", "list", "--json")).json == []
    assert (await add_owner()).printed == "Added ada (owner).\n"
    bob = await either("user", "add", "bob", "--json", "--password-stdin", typed=PASSWORD)
    assert bob.json == {"name": "bob", "role": "member", "user_id": bob.json["user_id"]}
    assert (
        "there is a user BOB already" in (await either("user", "add", "BOB", "--password-stdin", typed=PASSWORD)).said
    )

    assert (await either("user", "role", "bob", "pending")).printed == "bob is now pending.\n"
    assert (await either("user", "approve", "bob")).printed == "bob may sign in now.\n"
    assert (await either("user", "approve", "bob")).status == 1
    assert (await either("user", "password", "bob", "--password-stdin", typed="another one, quite long")).status == 0
    rows = (await either("user", "list", "--json")).json
    assert [(row["name"], row["role"], row["signs_in_with"]) for row in rows] == [
        ("ada", "owner", ["password"]),
        ("bob", "member", ["password"]),
    ]
    assert all(ISO.fullmatch(row["created_at"]) for row in rows)
    shown = (await either("user", "list")).printed.splitlines()
    assert shown[0].split() == ["NAME", "ROLE", "SIGNS", "IN", "WITH", "SESSIONS", "CREATED", "AT"]
    assert shown[1].split()[:2] == ["ada", "owner"]

    for arguments in (("user", "remove", "ada"), ("user", "role", "ada", "member"), ("user", "role", "ada", "pending")):
        done = await either(*arguments)
        assert done.status == 1
        assert "ada is the last owner" in done.said
    assert (await either("user", "role", "bob", "owner", "--json")).json["role"] == "owner"
    assert (await either("user", "remove", "ada")).printed == "Removed ada.\n"
    assert "there is no user ada (users: bob)" in (await either("user", "remove", "ada")).said


def test_whoever_is_removed_and_still_listed_is_named() -> None:
    answer = {"name": "ada", "user_id": "u1", "still_allowed": ["github:ada", "github:a\x1b[31m"]}
    assert list(show.lines("user remove", answer, True)) == [
        "Removed ada.",
        "An entry of MCP_OAUTH_ALLOWED_USERS fits github:ada, github:a\ufffd[31m: it lets them in again.",
    ]


async def test_clients_come_and_go(either: Either) -> None:
    assert "There are no clients yet" in (await either("client", "list")).printed
    redirect = ("--redirect-uri", "https://client.example/cb")
    public = (await either("client", "add", "--name", "Phone", *redirect, "--public", "--json")).json
    assert set(public) == {"client_id"}
    shown = (await either("client", "add", "--name", "Desk", *redirect)).printed
    assert re.search(r"^client_secret  [0-9a-f]{64}$", shown, re.MULTILINE)
    assert "only this once" in shown
    rows = (await either("client", "list", "--json")).json
    assert {row["kind"] for row in rows} == {"public", "confidential"}
    assert {row["registered"] for row in rows} == {"by the owner"}
    assert (await either("client", "list")).printed.splitlines()[0].split()[:2] == ["NAME", "CLIENT"]
    for row in rows:
        assert (await either("client", "remove", row["client_id"])).status == 0
    assert "there is no client" in (await either("client", "remove", public["client_id"])).said
    refused = await either("client", "add", "--name", "x", "--redirect-uri", "javascript:alert(1)")
    assert refused.status == 2
    assert "redirect_uris[0]" in refused.said


def test_what_strangers_call_themselves_does_not_drive_the_terminal() -> None:
    row = {"session_id": "s", "user": "a\x1b[31m", "of": "b\u202ec\nd", "state": "ok"}
    row |= {"last_used_at": None, "ends_at": None, "scope": []}
    shown = list(show.lines("session list", [row], True))[1].split()
    assert shown == ["s", "a\ufffd[31m", "b\ufffdc\ufffdd", "ok", "-", "-", "-"]


async def test_a_session_that_is_ended_gets_401_on_its_next_request(
    tmp_path: Path, command: Run, add_owner: AddOwner
) -> None:
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client, other = await connect(server), await connect(server)
        browser = browser_at(server)
        await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
        rows = (await command("session", "list", "--json")).json
        assert {row["of"] for row in rows} == {"Test client", "a browser"}
        session_id = next(row["session_id"] for row in rows if row["client_id"] == client.client_id)
        assert session_id in (await command("session", "list", "--user", "ada")).printed

        assert (await client.initialize()).status == 200
        assert (await command("session", "end", session_id)).printed == "Sessions ended: 1.\n"
        assert (await client.initialize()).status == 401
        assert (await client.refresh()).error == "invalid_grant"
        assert (await other.initialize()).status == 200
        assert (await command("session", "end", session_id)).status == 1

        assert (await command("session", "end", "--client", other.client_id, "--json")).json == {"ended": 1}
        assert (await other.initialize()).status == 401
        assert "You signed in as ada" in (await browser.get("/auth/oauth/signin")).text
        assert (await command("session", "end", "--user", "ada")).status == 0
        assert "You signed in as ada" not in (await browser.get("/auth/oauth/signin")).text
        assert (await command("session", "list")).printed == "Nobody is signed in.\n"
        assert (await command("session", "end", "--all")).printed == "Sessions ended: 0.\n"


async def test_pausing_renaming_and_ending_take_effect_at_once(
    tmp_path: Path, command: Run, add_owner: AddOwner
) -> None:
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client = await connect(server)
        rows = (await command("session", "list", "--json")).json
        session_id = next(row["session_id"] for row in rows if row["client_id"] == client.client_id)

        for of, about in (("client", client.client_id), ("session", session_id)):
            done = await command(of, "pause", about)
            assert done.printed == f"Paused {about}: it keeps what it has, and can do nothing.\n"
            assert "error" in (await client.initialize()).json
            assert (await client.refresh()).status == 503
            assert (await command(of, "resume", about, "--json")).json["paused_at"] is None
            assert "result" in (await client.initialize()).json

        assert (await command("client", "rename", client.client_id, "Mine")).status == 0
        assert (await command("session", "rename", session_id, "upstairs")).status == 0
        assert "Mine (upstairs)" in (await command("session", "list")).printed
        done = await command("client", "lifetime", client.client_id, "7d")
        assert "are good for 604800 seconds" in done.printed
        assert (await client.refresh()).json["expires_in"] == 604800
        assert "as long as all others" in (await command("client", "lifetime", client.client_id, "default")).printed
        assert (await command("session", "expire", session_id, "7d", "--json")).json["ends_at"]
        assert "ends: never." in (await command("session", "expire", session_id, "never")).printed
        assert "1 connections" in (await command("client", "expire", client.client_id, "1h")).printed
        # What is not there is a problem found; what makes no sense is wrong usage.
        assert (await command("client", "lifetime", "nobody", "1h")).status == 1
        for arguments in (
            ("session", "expire", session_id, "soon"),
            ("client", "lifetime", client.client_id, "1y"),
            ("client", "lifetime", client.client_id, "1"),
            ("client", "rename", client.client_id, ""),
        ):
            assert (await command(*arguments)).status == 2
        assert (await command("client", "expire", client.client_id)).status == 2

        assert (await command("client", "end", client.client_id)).status == 0
        assert (await client.initialize()).status == 401
        assert (await command("client", "refuse", client.client_id)).printed == "Mine is kept out.\n"
        assert "refused" in (await command("client", "list")).printed
        assert (await command("client", "approve", client.client_id)).printed == "Mine may be connected now.\n"


def test_a_client_that_waits_is_named_with_what_to_do() -> None:
    waiting = {
        "client_id": "https://a.example/$(id)",
        "name": "App",
        "hosts": "a.example",
        "asked_by": "bob",
        "asked_at": "2026-01-01",
    }
    answer = {
        "version": __version__,
        "mcpUrl": "",
        "dataDir": "",
        "signIn": [],
        "users": {"owner": 1, "member": 1, "pending": 0},
        "clients": 1,
        "sessions": {"clients": 0, "browsers": 0},
        "servers": [],
        "processes": {"running": 0, "most": 64},
        "configurationProblem": None,
        "configurationNotes": [],
        "sseUrl": None,
        "publicUrl": "",
        "listensOn": "",
        "registration": "approve",
        "problems": [],
        "ownerNeeded": False,
        "waiting": [waiting],
        "notices": [],
    }
    assert list(show.status(answer, True))[-3:] == [
        "! 2026-01-01  bob wants to connect an app that you have not let in yet. "
        "It calls itself \u201cApp\u201d, and its answers go to a.example.",
        "  To let it in: client approve 'https://a.example/$(id)'",
        "  To keep it out: client refuse 'https://a.example/$(id)'",
    ]


def test_a_program_that_ended_is_told_with_what_it_wrote_last() -> None:
    failed = {"name": "mine", "state": "failed", "reason": "it ended", "lastLine": "no\x1b key", "tools": []}
    printed = list(show.status({"servers": [failed]}, True))
    at = printed.index("  server      mine: it ended")
    assert printed[at + 1].strip() == "it wrote last: no\N{REPLACEMENT CHARACTER} key"


def test_a_program_that_could_not_be_asked_again_has_its_tools_and_a_note() -> None:
    kept = {"name": "mine", "state": "ok", "reason": "it\x1b ended", "lastLine": "port in use", "tools": ["a"]}
    printed = list(show.status({"servers": [kept]}, True))
    at = printed.index("  server      mine: 1 tool")
    assert printed[at + 1].strip() == "it wrote last: port in use"
    assert printed[at + 2].startswith(
        "! server mine: it runs and could not be asked again: it\N{REPLACEMENT CHARACTER}"
    )
    assert '"share": "user"' in printed[at + 3]


def test_a_server_of_another_version_says_what_it_can() -> None:
    answer = {"version": __version__, "mcpUrl": "http://localhost/mcp", "registration": "by-letter", "notices": ["one"]}
    printed = list(show.status(answer, True))
    assert f"mcpauth {__version__}  running" in printed
    assert "  MCP URL     http://localhost/mcp" in printed
    assert "  connecting  unknown" in printed
    assert "  processes   unknown" in printed
    assert printed[-3] == "! one"
    assert printed[-1] == "  What to do: restart the server"


async def test_what_takes_access_away_takes_effect_at_once(tmp_path: Path, command: Run, add_owner: AddOwner) -> None:
    async with LiveServer(tmp_path) as server:
        await add_owner()
        client = await connect(server)
        assert (await command("client", "remove", client.client_id)).status == 0
        assert (await client.initialize()).status == 401
        client = await connect(server)
        await command("user", "add", "bob", "--owner", "--password-stdin", typed=PASSWORD)
        assert (await command("user", "remove", "ada")).status == 0
        assert (await client.initialize()).status == 401


async def test_the_first_owner_is_made_without_a_browser_and_signs_in(
    tmp_path: Path, command: Run, add_owner: AddOwner
) -> None:
    assert (await add_owner()).status == 0
    async with LiveServer(tmp_path) as server:
        assert not server.setup_link
        browser = browser_at(server)
        assert (await browser.get("/setup")).status == 404
        page = await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", PASSWORD)
        assert "You signed in as ada" in page.text
        forgotten = await command("user", "password", "ada", "--password-stdin", typed="a new one, quite long")
        assert forgotten.status == 0
        assert "You signed in as ada" not in (await browser.get("/auth/oauth/signin")).text
        page = await browser.sign_in(await browser.get("/auth/oauth/signin"), "ada", "a new one, quite long")
        assert "You signed in as ada" in page.text


async def test_a_password_comes_from_a_pipe_or_a_person_and_has_to_be_one(command: Run) -> None:
    short = await command("user", "add", "ada", "--owner", "--password-stdin", typed="short")
    assert short.status == 2
    assert "at least 12 characters" in short.said
    nobody_types = await command("user", "add", "ada", "--owner", typed=PASSWORD)
    assert nobody_types.status == 2
    assert "--password-stdin" in nobody_types.said
    assert (await command("user", "list", "--json")).json == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("sesame",),
        ("user",),
        ("user", "sesame"),
        ("user", "add"),
        ("user", "role", "ada", "king"),
        ("user", "list", "--sesame"),
        ("client", "add", "--name", "x"),
        ("session", "end"),
        ("session", "end", "x", "--all"),
        ("session", "end", "--user", "ada", "--client", "x"),
        ("config", "sesame"),
    ],
)
async def test_wrong_usage_is_2(command: Run, arguments: tuple[str, ...]) -> None:
    done = await command(*arguments)
    assert done.status == 2
    assert "usage: " in done.said
    assert done.printed == ""


async def test_wrong_settings_are_2_for_a_command_too(command: Run) -> None:
    done = await command("user", "list", MCP_OAUTH_PROT="1")
    assert done.status == 2
    assert "did you mean MCP_OAUTH_PORT?" in done.said


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("status",), 1, "no server is running"),
        (("user", "remove", "ada"), 1, "there is no user ada"),
        (("trace", "sesame"), 1, "no connection attempts"),
        (("session", "expire", "x", "soon"), 2, "soon is no time"),
        (("try", "--as", "sesame"), 2, "--as must be one of"),
        (("user", "role", "ada", "king"), 2, "invalid choice: 'king'"),
    ],
)
async def test_with_json_what_goes_wrong_is_json_too(
    command: Run, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = await command(*arguments)
    assert (done.status, done.printed) == (status, "")
    assert said in done.said
    as_json = await command(*arguments, "--json")
    assert (as_json.status, as_json.said) == (status, "")
    assert said in json.loads(as_json.printed)["error"]


async def test_who_reads_may_stop_reading(tmp_path: Path, add_owner: AddOwner) -> None:
    await add_owner()
    reading, writing = os.pipe()
    os.close(reading)
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVER), "user", "list", cwd=tmp_path, stdout=writing, stderr=asyncio.subprocess.PIPE
    )
    os.close(writing)
    _, said = await process.communicate()
    assert said == b""


def test_an_identifier_is_no_option() -> None:
    ambient = Ambient()
    assert not any(ambient.identifier().startswith("-") for _ in range(2000))


def test_a_command_does_not_wait_for_what_the_server_alone_needs() -> None:
    program = "import sys, mcpauth.cli.main; print({'mcpauth.app', 'aiosqlite', 'jwt', 'tornado'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"set()\n"
