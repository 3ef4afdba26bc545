"""The unit that `systemd` prints."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mcpauth.host.systemd import unit
from tests.cli.conftest import Run
from tests.live import SERVER

STRANGE = 'a b/100%/"c"/$HOME/d\\e'


async def test_it_names_todays_path_and_what_runs_here(command: Run, tmp_path: Path) -> None:
    done = await command("systemd", MCP_OAUTH_JWT_SECRET="sesame-" * 5)
    lines = done.printed.splitlines()
    assert f'Environment="PATH={os.environ["PATH"]}"' in lines
    assert f"WorkingDirectory={tmp_path}" in lines
    assert f'ExecStart="{sys.executable}" "{SERVER}"' in lines
    # A secret stays where it is; that it is needed is said.
    assert "sesame" not in done.printed
    assert f"# Put these into {tmp_path}/.env: MCP_OAUTH_JWT_SECRET" in lines
    assert (await command("systemd", "--json")).json == {"unit": (await command("systemd")).printed.rstrip("\n")}


def test_an_installation_runs_as_a_module() -> None:
    assert f'ExecStart="{sys.executable}" "-m" "mcpauth"' in unit(Path("/srv/mcp"), {}, None).splitlines()


def test_what_systemd_would_read_differently_is_escaped() -> None:
    lines = unit(Path("/srv/100%"), {"PATH": STRANGE}, Path("/srv/$HOME/server.py")).splitlines()
    assert "WorkingDirectory=/srv/100%%" in lines
    assert 'Environment="PATH=a b/100%%/\\"c\\"/$HOME/d\\\\e"' in lines
    assert any(line.endswith(' "/srv/$$HOME/server.py"') for line in lines)


@pytest.mark.skipif(
    not shutil.which("systemd-analyze") and not os.environ.get("MCPAUTH_TESTS_SKIP_NOTHING"),
    reason="systemd-analyze is not installed",
)
@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no systemd")
@pytest.mark.parametrize("path", [os.environ["PATH"], STRANGE], ids=["today", "strange"])
def test_systemd_takes_it(tmp_path: Path, path: str) -> None:
    file = tmp_path / "mcpauth.service"
    file.write_text(unit(tmp_path, {"PATH": path}, SERVER))
    done = subprocess.run(["systemd-analyze", "verify", str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
