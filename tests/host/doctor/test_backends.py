"""mcp.json, and whether what it names is there."""

import json
from pathlib import Path
from typing import Any

import pytest

from mcpauth.host.doctor import backends
from mcpauth.models.findings import Finding
from tests.host.doctor.conftest import of, verdicts

ENVIRON = {"PATH": "/usr/bin:/bin"}


def look(data: Path, servers: dict[str, Any], *, running: bool = False) -> list[Finding]:
    path = data / "mcp.json"
    path.touch(mode=0o600)
    path.write_text(json.dumps({"mcpServers": servers}))
    return backends.look(data, ENVIRON, running)


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
    ("server", "key"), [({"command": "sh", "cwd": "/nowhere"}, "cwd"), ({"builtin": "files", "root": "gone"}, "root")]
)
def test_a_folder_that_is_not_there(tmp_path: Path, server: dict[str, str], key: str) -> None:
    found = of("server a", look(tmp_path, {"a": server}))
    assert (found.verdict, f"change {key} in mcp.json" in found.fix) == ("problem", True)


def test_a_running_server_says_by_itself_what_it_finds(tmp_path: Path) -> None:
    assert verdicts(look(tmp_path, {"git": {"command": "no-such-program"}}, running=True)) == {"fine"}


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


def test_none_is_made(tmp_path: Path) -> None:
    (found,) = backends.look(tmp_path, ENVIRON, False)
    assert found.verdict == "fine"
    assert list(tmp_path.iterdir()) == []
