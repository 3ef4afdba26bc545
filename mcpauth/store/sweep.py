"""Forgetting what has expired, a few rows at a time."""

import sqlite3
from functools import partial

from .database import Database

# Each removes at most :step rows, so that no one waits long behind it.
STATEMENTS = (
    # Approved, but the code was never redeemed.
    """delete from grants where rowid in (
        select grants.rowid from grants join authorization_codes using (grant_id)
         where redeemed_at is null and expires_at <= :now limit :step)""",
    """delete from authorization_codes where rowid in (
        select rowid from authorization_codes where expires_at <= :now - 30 * 86400 limit :step)""",
    """delete from refresh_tokens where rowid in (
        select refresh_tokens.rowid from refresh_tokens left join grants using (grant_id)
         where expires_at <= :now - 86400 and paused_at is null limit :step)""",
    # Ended, or without a token that could bring it back.
    """delete from grants where rowid in (
        select rowid from grants
         where (ended_at <= :now - 30 * 86400
                or not exists (select 1 from refresh_tokens where refresh_tokens.grant_id = grants.grant_id)
                   and not exists (select 1 from authorization_codes as c where c.grant_id = grants.grant_id)
                   and not exists (select 1 from sessions where sessions.grant_id = grants.grant_id))
         limit :step)""",
    """delete from clients where rowid in (
        select rowid from clients
         where used_at is null and preregistered = 0 and created_at <= :now - 90 * 86400 limit :step)""",
    """delete from users where rowid in (
        select rowid from users where role = 'pending' and role_set_at <= :now - 30 * 86400 limit :step)""",
    "delete from used_once where rowid in (select rowid from used_once where expires_at <= :now limit :step)",
    """delete from fetched_documents where rowid in (
        select rowid from fetched_documents
         where fetched_at <= :now - iif(kind = 'keys', 7, 90) * 86400 limit :step)""",
    """delete from client_approvals where rowid in (
        select rowid from client_approvals
         where decision is null and asked_at <= :now - 30 * 86400
            or decided_at <= :now - 90 * 86400
               and client_id not in (select client_id from clients)
               and (decision = 'approved' or client_id not like 'http%')
         limit :step)""",
    """delete from notices where rowid in (
        select rowid from notices where created_at <= :now - 30 * 86400 limit :step)""",
)


class Sweep:
    def __init__(self, database: Database, step: int = 500) -> None:
        self._database, self._step = database, step

    async def run(self, now: int) -> int:
        """Remove what has expired by ``now``; how many rows."""
        swept = 0
        for statement in STATEMENTS:
            removed = self._step
            while removed == self._step:
                removed = await self._database.transact(partial(self._remove, statement, now))
                swept += removed
        return swept

    def _remove(self, statement: str, now: int, connection: sqlite3.Connection) -> int:
        return connection.execute(statement, {"now": now, "step": self._step}).rowcount
