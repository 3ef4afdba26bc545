"""Whether a database that nobody uses is whole. Reads it, and changes nothing in it."""

import sqlite3
from pathlib import Path
from urllib.parse import quote

from .database import MIGRATIONS


def problem(path: Path) -> str | None:
    """What is wrong with the file, in words; None when nothing is."""
    # Immutable: read as any file is. Otherwise SQLite makes two more beside it, which would be ours, not the server's.
    # Those of a server that was killed are there already, and belong to it.
    how = "mode=ro" if path.with_name(f"{path.name}-wal").exists() else "immutable=1"
    try:
        connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, timeout=1)
        try:
            version = connection.execute("pragma user_version").fetchone()[0]
            result = connection.execute("pragma quick_check(1)").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return str(error)
    if version > max(int(one.name[:4]) for one in MIGRATIONS.glob("*.sql")):
        return "it was written by a newer mcpauth"
    return None if result == "ok" else str(result)
