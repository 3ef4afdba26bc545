"""mcp.json, and whether what it names is there."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpauth.ambient import Ambient
from mcpauth.errors import GatewayError
from mcpauth.gateway import configuration
from mcpauth.gateway.build import Backends
from mcpauth.gateway.reaper import Reaper
from mcpauth.host.doctor import backends
from mcpauth.models.findings import Finding
from tests.host.doctor.conftest import of, verdicts

ENVIRON = {"PATH": "/usr/bin:/bin"}


def write(data: Path, servers: dict[str, Any]) -> None:
    path = data / "mcp.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"mcpServers": servers}))


def look(data: Path, servers: dict[str, Any], *, running: bool = False, refused: str | None = None) -> list[Finding]:
    write(data, servers)
    return backends.look(data, ENVIRON, running, refused)


def test_all_is_well(tmp_path: Path) -> None:
    servers = {"sh": {"command": "sh"}, "notes": {"builtin": "files", "root": str(tmp_path)}}
    found = look(tmp_path, servers)
    assert verdicts(found) == {"fine"}
    assert of("mcp.json", found).found == "2 servers: sh, notes"


@pytest.mark.parametrize("server", [{"command": "no-such-program"}, {"command": "./run", "cwd": "/tmp"}])
def test_a_program_that_is_not_there(tmp_path: Path, server: dict[str, str]) -> None:
    found = of("server git", look(tmp_path, {"git": server}))
    assert found.verdict == "problem"
    assert found.found == f"{server['command']} is not found"
    assert f"command -v {server['command']}" in found.fix


def test_the_path_of_the_entry_counts(tmp_path: Path) -> None:
    program = tmp_path / "own"
    program.touch(mode=0o700)
    server = {"command": "own", "env": {"PATH": str(tmp_path)}}
    assert of("server a", look(tmp_path, {"a": server})).verdict == "fine"
    assert of("server a", look(tmp_path, {"a": {"command": "./own", "cwd": "."}})).verdict == "fine"


@pytest.mark.parametrize(
    ("server", "key"),
    [
        ({"command": "sh", "cwd": "/nowhere"}, "cwd"),
        ({"builtin": "files", "root": "gone"}, "root"),
        ({"builtin": "files", "root": "x" * 300}, "root"),
    ],
)
def test_a_folder_that_is_not_there(tmp_path: Path, server: dict[str, str], key: str) -> None:
    found = of("server a", look(tmp_path, {"a": server}))
    assert (found.verdict, f"change {key} in mcp.json" in found.fix) == ("problem", True)


def test_a_running_server_says_by_itself_what_it_finds(tmp_path: Path) -> None:
    assert verdicts(look(tmp_path, {"git": {"command": "no-such-program"}}, running=True)) == {"fine"}


async def test_what_failed_in_the_running_server_is_told_as_of_a_stopped_one(tmp_path: Path, ambient: Ambient) -> None:
    """Its own reasons are for clients too, who learn no path."""
    servers: dict[str, Any] = {
        "program": {"command": "no-such-program"},
        "beside": {"command": "./run", "cwd": str(tmp_path)},
        "cwd": {"command": "sh", "cwd": "/nowhere"},
        "root": {"builtin": "files", "root": "gone"},
    }
    stopped = {one.check.removeprefix("server "): one for one in look(tmp_path, servers) if one.verdict == "problem"}
    reaper = Reaper("here")
    made = Backends(tmp_path, ambient, ENVIRON, reaper).of(configuration.read(tmp_path / "mcp.json"))
    reasons: dict[str, str] = {}
    for served in made:
        with pytest.raises(GatewayError) as failed:
            await served.ask(print)
        reasons[served.name] = failed.value.message
        assert "/nowhere" not in failed.value.message
    await reaper.close()
    assert backends.lacks(tmp_path, reasons) == stopped
    assert stopped.keys() == servers.keys()
    # It may have ended for another reason, in a server with another PATH.
    assert backends.lacks(tmp_path, {"program": "the server program ended (exit status 3)"}) == {}
    (tmp_path / "mcp.json").write_text("{")
    assert backends.lacks(tmp_path, reasons) == {}


def test_a_variable_of_a_header_that_is_not_set_is_named(tmp_path: Path) -> None:
    servers = {"far": {"url": "https://example.com/mcp", "headers": {"Authorization": "Bearer ${NO_SUCH}"}}}
    found = of("mcp.json", look(tmp_path, servers))
    assert (found.verdict, "put NO_SUCH=... into .env" in found.found) == ("problem", True)
    # One that runs was started with an environment of its own.
    assert verdicts(look(tmp_path, servers, running=True)) == {"fine"}


def test_what_the_running_server_refused_is_one_problem(tmp_path: Path) -> None:
    (found,) = look(tmp_path, {"a": {"command": "sh"}}, running=True, refused="line 3: NO_SUCH is not set")
    assert (found.verdict, "line 3: NO_SUCH is not set" in found.found) == ("problem", True)
    assert "goes on with what it said before" in found.found
    (tmp_path / "mcp.json").write_text("{")
    (found,) = backends.look(tmp_path, ENVIRON, True, "line 1")
    assert "goes on with what it said before" in found.found


def test_a_file_that_is_refused_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mcp.json"
    path.touch(mode=0o600)
    path.write_text('{"mcpServers": {\n')
    (found,) = backends.look(tmp_path, ENVIRON, False)
    assert (found.verdict, "line 2" in found.found) == ("problem", True)
    path.chmod(0o666)
    (found,) = backends.look(tmp_path, ENVIRON, False)
    assert "chmod 600" in found.found


def test_what_is_odd_is_a_warning(tmp_path: Path) -> None:
    found = look(tmp_path, {"a": {"command": "sh", "comand": "x"}})
    assert "comand: unknown, ignored" in of("mcp.json", found).found
    assert of("mcp.json", found).verdict == "warning"
    assert of("mcp.json", look(tmp_path, {})).verdict == "warning"


def test_what_is_switched_off_is_told_and_not_looked_for(tmp_path: Path) -> None:
    off = {"command": "no-such-program", "disabled": True}
    on, told = look(tmp_path, {"sh": {"command": "sh", "type": "stdio"}, "off": off, "Too": off})[:2]
    assert "is called too" in on.found
    assert (told.verdict, told.found) == ("fine", "switched off: off, too")
    warning, told = look(tmp_path, {"off": off})
    assert (warning.verdict, told.found) == ("warning", "switched off: off")
    assert warning.found == "all servers in it are switched off: apps will find no tools"


def test_none_is_made(tmp_path: Path) -> None:
    (found,) = backends.look(tmp_path, ENVIRON, False)
    assert found.verdict == "fine"
    assert list(tmp_path.iterdir()) == []
