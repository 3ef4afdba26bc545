"""The data directory and .env: for the owner's eyes only. The public URL: one that every client takes."""

from pathlib import Path

import pytest

from mcpauth.host.doctor import folder
from tests.fakes.tailscaled import HOST
from tests.host.doctor.conftest import Read, of, verdicts


@pytest.fixture
def data(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    for name in ("mcpauth.sqlite3", "jwt.key", "mcp.json"):
        (data / name).touch(mode=0o600)
    return data


def test_all_is_well(settings: Read, data: Path, tmp_path: Path) -> None:
    found = folder.look(settings(), tmp_path)
    assert verdicts(found) == {"fine"}
    assert [one.check for one in found] == ["public URL", "data directory"]


def test_a_file_that_others_may_read_is_named(settings: Read, data: Path, tmp_path: Path) -> None:
    (data / "jwt.key").chmod(0o640)
    found = of("data directory", folder.look(settings(), tmp_path))
    assert found.verdict == "problem"
    assert found.found == "others may read jwt.key"
    assert f"chmod 600 {data / 'jwt.key'}" in found.fix


def test_a_folder_that_others_may_look_into(settings: Read, data: Path, tmp_path: Path) -> None:
    data.chmod(0o750)
    found = of("data directory", folder.look(settings(), tmp_path))
    assert (found.verdict, found.fix) == ("problem", f"chmod 700 {data}")


def test_a_folder_that_is_not_there_is_made_by_the_server(settings: Read, tmp_path: Path) -> None:
    found = of("data directory", folder.look(settings(), tmp_path))
    assert (found.verdict, found.fix.startswith("python server.py")) == ("warning", True)
    assert not (tmp_path / "data").exists()


def test_secrets_in_env_are_not_for_others(settings: Read, data: Path, tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("MCP_OAUTH_PUBLIC_URL=https://host\nMCP_OAUTH_JWT_SECRET=\n")
    env.chmod(0o644)
    assert verdicts(folder.look(settings(), tmp_path)) == {"fine"}
    env.write_text("export MCP_OAUTH_GITHUB_CLIENT_SECRET=sesame\n")
    found = of(".env", folder.look(settings(), tmp_path))
    assert (found.verdict, found.fix) == ("warning", f"chmod 600 {env}")
    assert "sesame" not in found.found
    env.chmod(0o600)
    assert verdicts(folder.look(settings(), tmp_path)) == {"fine"}


def test_a_port_that_some_clients_do_not_take(settings: Read, data: Path, tmp_path: Path) -> None:
    found = of("public URL", folder.look(settings(PUBLIC_URL=f"https://{HOST}:8443"), tmp_path))
    assert found.verdict == "warning"
    assert "Claude connect to port 443 only, not to 8443" in found.found
    assert found.fix == f"tailscale funnel --bg 3210 && set MCP_OAUTH_PUBLIC_URL=https://{HOST}"


def test_this_computer_only_is_no_mistake(settings: Read, data: Path, tmp_path: Path) -> None:
    found = of("public URL", folder.look(settings(PUBLIC_URL="http://localhost:3210"), tmp_path))
    assert (found.verdict, "this computer only" in found.found) == ("fine", True)
