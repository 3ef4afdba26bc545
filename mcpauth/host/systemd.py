"""A systemd unit for this installation."""

import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

UNIT = """\
# Save as ~/.config/systemd/user/mcpauth.service, then:
#   systemctl --user daemon-reload
#   systemctl --user enable --now mcpauth
#   loginctl enable-linger        (so that it runs while you are not logged in)
#   journalctl --user -u mcpauth  (what it prints, the setup link among it)
[Unit]
Description=mcpauth: MCP servers of this machine, behind OAuth
After=network-online.target
Wants=network-online.target

[Service]
Type=exec
WorkingDirectory={directory}
ExecStart={command}
# The PATH of today, so that the commands of mcp.json (npx, uvx) are found.
Environment={path}
Restart=on-failure
RestartSec=2
# Children are told first by mcpauth itself.
KillMode=mixed
TimeoutStopSec=10
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target"""


def unit(directory: Path, environ: Mapping[str, str], script: Path | None) -> str:
    """``directory`` is where ``.env`` and ``data`` are; ``script`` is server.py, None in an installation.

    Settings of today's environment are not copied: some are secrets.
    """
    program = [str(script)] if script is not None else ["-m", "mcpauth"]
    text = UNIT.format(
        directory=_escape(str(directory)),
        # There, and only there, a dollar sign would begin a variable.
        command=" ".join(_quote(part).replace("$", "$$") for part in [sys.executable, *program]),
        path=_quote(f"PATH={environ.get('PATH', '')}"),
    )
    set_now = sorted(name for name in environ if name.startswith(("MCP_OAUTH_", "OAUTH_")))
    if set_now:
        text = f"# Put these into {shlex.quote(str(directory / '.env'))}: {', '.join(set_now)}\n{text}"
    return text


def _escape(text: str) -> str:
    return text.replace("%", "%%")


def _quote(text: str) -> str:
    """As systemd.syntax(7) has it: double quotes, C escapes, and no specifiers."""
    return '"' + _escape(text).replace("\\", "\\\\").replace('"', '\\"') + '"'
