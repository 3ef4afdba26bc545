"""Values that count once, across restarts."""

import sqlite3

from .database import Database


def use(connection: sqlite3.Connection, value_hash: str, expires_at: int) -> bool:
    """True for exactly one caller, ever (until the row is swept, after ``expires_at``). Part of a transaction."""
    statement = "insert or ignore into used_once (value_hash, expires_at) values (?, ?)"
    return connection.execute(statement, (value_hash, expires_at)).rowcount == 1


class UsedOnceStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def use(self, value_hash: str, expires_at: int) -> bool:
        """``use``, in a transaction of its own."""
        return await self._database.transact(lambda connection: use(connection, value_hash, expires_at))
