"""What the running server says, and what is said when it says nothing."""

import asyncio
from typing import Any

import pytest

from mcpauth import __version__
from mcpauth.host.doctor import running
from mcpauth.host.doctor.running import Running
from mcpauth.models.findings import Finding
from tests.fakes.tailscaled import HOST
from tests.host.doctor.conftest import Read, of, verdicts

STATUS: dict[str, Any] = {
    "version": __version__,
    "publicUrl": f"https://{HOST}",
    "listensOn": "127.0.0.1:3210",
    "configurationProblem": None,
    "ownerNeeded": False,
    "servers": [{"name": "files", "state": "ok", "reason": None, "tools": ["a", "b"]}],
}


def look(settings: Read, **changes: Any) -> list[Finding]:
    return running.look(Running({**STATUS, **changes}), settings(), held=True, lacks={})


def test_all_is_well(settings: Read) -> None:
    found = look(settings)
    assert verdicts(found) == {"fine"}
    assert of("server files", found).found == "2 tools"


@pytest.mark.parametrize(
    ("changes", "check", "verdict", "text", "fix"),
    [
        ({"version": "0.0.1"}, "server", "warning", "version 0.0.1", "start it again"),
        ({"publicUrl": "http://localhost:3210"}, "settings", "problem", "MCP_OAUTH_PUBLIC_URL", "start it again"),
        ({"listensOn": "127.0.0.1:9"}, "settings", "problem", "127.0.0.1:9", "start it again"),
        ({"ownerNeeded": True}, "owner", "warning", "nobody can sign in", "user add NAME --owner"),
        (
            {"servers": [{"name": "git", "state": "failed", "reason": "uvx does not start", "tools": []}]},
            "server git",
            "problem",
            "uvx does not start",
            "mcp.json",
        ),
        (
            {"servers": [{"name": "git", "state": "failed", "reason": "it ended; log reference abc", "tools": []}]},
            "server git",
            "problem",
            "log reference abc",
            "look in the log",
        ),
        (
            {"servers": [{"name": "a", "state": "failed", "reason": "ended", "lastLine": "no key", "tools": []}]},
            "server a",
            "problem",
            "ended; it wrote last: no key",
            "mcp.json",
        ),
        (
            {"servers": [{"name": "git", "state": "starting", "reason": None, "tools": []}]},
            "server git",
            "fine",
            "it is starting",
            "",
        ),
        (
            {
                "servers": [
                    {"name": "a", "state": "starting", "reason": "for 99 s", "lastLine": "Downloading", "tools": []}
                ]
            },
            "server a",
            "fine",
            "for 99 s; it wrote last: Downloading; look again",
            "",
        ),
        ({"servers": [{"name": "a", "state": "ok", "reason": None, "tools": ["x"]}]}, "server a", "fine", "1 tool", ""),
        (
            {"servers": [{"name": "a", "state": "ok", "reason": "it ended", "lastLine": "in use", "tools": ["x"]}]},
            "server a",
            "warning",
            "1 tool as before, for it runs and could not be asked again: it ended; it wrote last: in use",
            '"share": "user"',
        ),
    ],
)
def test_what_the_server_says(
    settings: Read, changes: dict[str, Any], check: str, verdict: str, text: str, fix: str
) -> None:
    found = of(check, look(settings, **changes))
    assert (found.verdict, text in found.found, fix in found.fix) == (verdict, True, True)


def test_it_does_not_run(settings: Read) -> None:
    (found,) = running.look(Running(None), settings(), held=False, lacks={})
    assert (found.verdict, found.fix.startswith("python server.py")) == ("problem", True)


def test_it_holds_the_folder_and_does_not_listen(settings: Read) -> None:
    (found,) = running.look(Running(None), settings(), held=True, lacks={})
    assert (found.verdict, "does not listen" in found.found) == ("problem", True)


async def test_it_is_another_users(settings: Read) -> None:
    async def forbidden(operation: str, arguments: dict[str, Any]) -> Any:
        raise PermissionError

    (found,) = running.look(await Running.ask(forbidden), settings(), held=True, lacks={})
    assert (found.verdict, found.fix) == ("problem", "run this as that user")


async def test_it_does_not_answer(settings: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SECONDS", 0.05)

    async def forever(operation: str, arguments: dict[str, Any]) -> Any:
        await asyncio.Event().wait()

    (found,) = running.look(await Running.ask(forever), settings(), held=True, lacks={})
    assert (found.verdict, "does not answer" in found.found) == ("problem", True)
