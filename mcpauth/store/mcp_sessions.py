"""MCP sessions of legacy clients, as they outlive the process. In memory they are gateway/mcp_sessions.py."""

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping

from ..models.records import StoredMcpSession
from .database import Database

# Nothing is kept for a grant that has ended meanwhile.
KEEP = """
    insert into mcp_sessions (session_hash, grant_id, endpoint, handshake, last_used_at)
    select :session_hash, :grant_id, :endpoint, :handshake, :last_used_at
     where :grant_id is null
        or exists (select 1 from sessions where sessions.grant_id = :grant_id)
        on conflict (session_hash) do update
       set handshake = :handshake, last_used_at = :last_used_at
"""

TOUCH = """
    update mcp_sessions
       set last_used_at = :last_used_at
     where session_hash = :session_hash
"""

FORGET = """
    delete from mcp_sessions
     where last_used_at <= :idle_since
        or grant_id is not null
       and not exists (select 1 from sessions where sessions.grant_id = mcp_sessions.grant_id)
"""

ALL = """
    select session_hash, grant_id, endpoint, handshake, last_used_at,
           coalesce(user_id, '') as user_id, coalesce(client_id, '') as client_id
      from mcp_sessions
      left join grants using (grant_id)
     order by last_used_at
"""


class McpSessionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, idle_since: int) -> list[StoredMcpSession]:
        """Least recently used first; what has ended, or was not used since ``idle_since``, is forgotten."""
        await self._database.transact(
            lambda connection: connection.execute(FORGET, {"idle_since": idle_since}).rowcount
        )
        return [StoredMcpSession(**dict(row)) for row in await self._database.fetch_all(ALL)]

    def keep(self, session: StoredMcpSession) -> "asyncio.Future[int]":
        """On disk once that is done, unless its grant has ended."""
        values = session.model_dump()
        return self._database.submit(lambda connection: connection.execute(KEEP, values).rowcount)

    def touch(self, uses: Mapping[str, int]) -> None:
        """Queue the last uses for the disk."""
        values = [{"session_hash": one, "last_used_at": at} for one, at in uses.items()]
        if values:
            self._database.submit(lambda connection: connection.executemany(TOUCH, values).rowcount)

    def remove(self, session_hashes: Iterable[str]) -> None:
        """Queued for the disk."""
        values = [(one,) for one in session_hashes]

        def remove(connection: sqlite3.Connection) -> None:
            connection.executemany("delete from mcp_sessions where session_hash = ?", values)

        if values:
            self._database.submit(remove)
