"""Which tool or prompt a published name belongs to: once written, a row stays."""

import sqlite3
from collections.abc import Mapping
from typing import Literal

from .database import Database

# The name belonged to somebody first: it is theirs, and this insert is a mistake that must be seen.
INSERT = """
    insert into published_names (kind, published_name, backend, name, published_at)
    values (:kind, :published_name, :backend, :name, :published_at)
"""

PublishedKind = Literal["tool", "prompt"]
Owner = tuple[str, str]  # backend, and the name there


class PublishedNameStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, kind: PublishedKind) -> dict[str, Owner]:
        sql = "select published_name, backend, name from published_names where kind = :kind"
        rows = await self._database.fetch_all(sql, {"kind": kind})
        return {row["published_name"]: (row["backend"], row["name"]) for row in rows}

    async def add(self, kind: PublishedKind, names: Mapping[str, Owner], now: int) -> None:
        """On disk when this returns; all of them or none."""
        rows = [
            {"kind": kind, "published_name": published, "backend": backend, "name": name, "published_at": now}
            for published, (backend, name) in names.items()
        ]

        def add(connection: sqlite3.Connection) -> None:
            connection.executemany(INSERT, rows)

        await self._database.transact(add)
