"""Which tool a published name belongs to: once written, a row stays."""

import sqlite3
from collections.abc import Mapping

from .database import Database

# The name belonged to somebody first: it is theirs, and this insert is a mistake that must be seen.
INSERT = """
    insert into published_names (published_name, backend, tool, published_at)
    values (:published_name, :backend, :tool, :published_at)
"""

Tool = tuple[str, str]  # backend, and the tool's name there


class PublishedNameStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> dict[str, Tool]:
        rows = await self._database.fetch_all("select published_name, backend, tool from published_names")
        return {row["published_name"]: (row["backend"], row["tool"]) for row in rows}

    async def add(self, names: Mapping[str, Tool], now: int) -> None:
        """On disk when this returns; all of them or none."""
        rows = [
            {"published_name": name, "backend": backend, "tool": tool, "published_at": now}
            for name, (backend, tool) in names.items()
        ]

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(INSERT, rows)

        await self._database.transact(add)
