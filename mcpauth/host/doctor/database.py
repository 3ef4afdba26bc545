"""The database: in use by a server, or whole, or neither."""

import shlex
from pathlib import Path

from ...models.findings import Finding
from ...store import checkup

CHECK = "database"


def look(path: Path, running: bool) -> Finding | None:
    """None when there is none yet: the data directory says so."""
    if running:
        return Finding.fine(CHECK, "the running server has it")
    if not path.exists():
        return None
    if wrong := checkup.problem(path):
        aside = f"mv {shlex.quote(str(path))} {shlex.quote(f'{path}.broken')}"
        return Finding.problem(
            CHECK,
            f"{path} cannot be used: {wrong}",
            "install the newer version again"
            if "newer" in wrong
            else f"bring back a copy of it; without one: {aside}   (everybody connects anew)",
        )
    return Finding.fine(CHECK, f"{path.name} opens, and is whole")
