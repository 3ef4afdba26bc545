"""Grants: what a user allowed one client; they tie codes, tokens and sessions together."""

import json
import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.records import AuthorizationCode, Client, Grant
from . import client_approvals, clients, used_once
from .database import Database

if TYPE_CHECKING:
    from .sessions import SessionStore

INSERT = """
    insert into grants (grant_id, user_id, client_id, redirect_uri, scope, resource, servers, created_at)
    values (:grant_id, :user_id, :client_id, :redirect_uri, :scope, :resource, :servers, :created_at)
"""

INSERT_CODE = """
    insert into authorization_codes (code_hash, grant_id, redirect_uri, code_challenge, expires_at)
    values (:code_hash, :grant_id, :redirect_uri, :code_challenge, :expires_at)
"""

END = """
    update grants
       set ended_at = :now, end_reason = :reason
     where ended_at is null
       and (:grant_id is null or grant_id = :grant_id)
       and (:user_id is null or user_id = :user_id)
       and (:client_id is null or client_id = :client_id)
    returning grant_id
"""

# Later than each of its connections that was paused before: those stay so when the client goes on.
PAUSE_CLIENT = """
    update clients
       set paused_at = coalesce(
               paused_at,
               max(:now, (select coalesce(max(paused_at) + 1, 0)
                            from grants
                           where client_id = :client_id and ended_at is null)))
     where client_id = :client_id
    returning paused_at
"""
PAUSED_SINCE = "select paused_at from clients where client_id = ?"
RESUME_CLIENT = "update clients set paused_at = null where client_id = ?"

# Of what an owner changes in a grant; memory follows what comes back.
CHANGE = """
    update grants
       set {change}
     where ended_at is null
       and (:grant_id is null or grant_id = :grant_id)
       and (:client_id is null or client_id = :client_id)
    returning *
"""
CHANGE_LABEL, CHANGE_END = CHANGE.format(change="label = :value"), CHANGE.format(change="ends_at = :value")
PAUSE = CHANGE.format(change="paused_at = coalesce(paused_at, :value)")
RESUME = """
    update grants
       set paused_at = null
     where ended_at is null
       and paused_at >= :since
       and (:grant_id is null or grant_id = :grant_id)
       and (:client_id is null or client_id = :client_id)
    returning *
"""

# While it is paused a client cannot refresh: that time does not count.
GIVE_BACK = """
    update refresh_tokens
       set expires_at = expires_at + :value - paused.paused_at
      from grants as paused
     where paused.grant_id = refresh_tokens.grant_id
       and paused.ended_at is null
       and paused.paused_at >= :since
       and (:grant_id is null or paused.grant_id = :grant_id)
       and (:client_id is null or paused.client_id = :client_id)
"""

NOTICE = """
    insert into notices (user_id, kind, about, created_at)
    select user_id, :kind, client_name, :now
      from grants join clients using (client_id)
     where grant_id = :grant_id
"""


class Ended(NamedTuple):
    """How many grants were ended, and the sessions that went with them."""

    grants: int
    sessions: tuple[str, ...]


def read(row: sqlite3.Row) -> Grant:
    return from_values(dict(row))


def from_values(values: dict[str, Any]) -> Grant:
    if values["servers"] is not None:
        values["servers"] = {
            name: None if tools is None else frozenset(tools) for name, tools in json.loads(values["servers"]).items()
        }
    return Grant(**values)


def values_of(grant: Grant) -> dict[str, Any]:
    values = grant.model_dump(exclude={"ended_at", "end_reason", "asserted", "servers"})
    servers = grant.servers
    values["servers"] = (
        None
        if servers is None
        else json.dumps({name: None if tools is None else sorted(tools) for name, tools in servers.items()})
    )
    return values


def end(
    connection: sqlite3.Connection,
    now: int,
    reason: str,
    *,
    grant_id: str | None = None,
    user_id: str | None = None,
    client_id: str | None = None,
) -> Ended:
    """End the grants that match, with their sessions. Part of a transaction; at least one id is given."""
    if grant_id is None and user_id is None and client_id is None:
        raise ValueError("end what?")
    about = {"now": now, "reason": reason, "grant_id": grant_id, "user_id": user_id, "client_id": client_id}
    ended = [row[0] for row in connection.execute(END, about).fetchall()]
    sessions: list[str] = []
    for one in ended:
        rows = connection.execute("delete from sessions where grant_id = ? returning session_id", (one,))
        sessions += [row[0] for row in rows.fetchall()]
    return Ended(len(ended), tuple(sessions))


def resume(
    connection: sqlite3.Connection, now: int, since: int, *, grant_id: str | None = None, client_id: str | None = None
) -> list[Grant]:
    """Let the grants that match go on, of those that were paused at ``since`` or later. Part of a transaction."""
    values = {"value": now, "since": since, "grant_id": grant_id, "client_id": client_id}
    connection.execute(GIVE_BACK, values)
    return [read(row) for row in connection.execute(RESUME, values).fetchall()]


def mark_asserted(connection: sqlite3.Connection, grant_id: str) -> None:
    """From now on this grant wants a signed assertion. Part of a transaction."""
    connection.execute("update grants set asserted = 1 where grant_id = ?", (grant_id,))


def notice(connection: sqlite3.Connection, grant_id: str, kind: str, now: int) -> None:
    """Leave a notice for the user of the grant. Part of a transaction."""
    connection.execute(NOTICE, {"grant_id": grant_id, "kind": kind, "now": now})


class _NothingToApprove(Exception):
    """Takes back what the transaction has done so far."""


class GrantStore:
    def __init__(self, database: Database, sessions: "SessionStore") -> None:
        self._database, self._sessions = database, sessions

    async def approve(
        self,
        grant: Grant,
        code: AuthorizationCode,
        once_hash: str,
        once_until: int,
        described: Client | None = None,
    ) -> bool:
        """Store the grant and its code in one transaction; with ``described``, a client that never registered.

        False when ``once_hash`` was used before, or client or user are gone, paused or refused meanwhile; then
        nothing is stored.
        """

        def approve(connection: sqlite3.Connection) -> None:
            if not used_once.use(connection, once_hash, once_until):
                raise _NothingToApprove
            if described is not None:
                clients.describe(connection, described)
            used = connection.execute(
                "update clients set used_at = :now where client_id = :client_id and paused_at is null",
                {"now": grant.created_at, "client_id": grant.client_id},
            )
            user = connection.execute(
                "select 1 from users where user_id = ? and role != 'pending'", (grant.user_id,)
            ).fetchone()
            if used.rowcount != 1 or user is None:
                raise _NothingToApprove
            if not client_approvals.approve_with_grant(connection, grant.client_id, grant.created_at):
                raise _NothingToApprove
            connection.execute(INSERT, values_of(grant))
            connection.execute(INSERT_CODE, code.model_dump())

        try:
            await self._database.transact(approve)
        except _NothingToApprove:
            return False
        return True

    async def deny(self, once_hash: str, once_until: int) -> bool:
        """That there will be no grant. False when ``once_hash`` was used before."""
        return await self._database.transact(lambda connection: used_once.use(connection, once_hash, once_until))

    async def find(self, grant_id: str) -> Grant | None:
        row = await self._database.fetch_one("select * from grants where grant_id = :grant_id", {"grant_id": grant_id})
        return read(row) if row else None

    async def connected(self, client_id: str, user_id: str | None = None) -> list[Grant]:
        """The grants of this client (and user) from which tokens were issued, newest first."""
        rows = await self._database.fetch_all(
            "select * from grants"
            " where client_id = :client_id and (:user_id is null or user_id = :user_id)"
            "   and exists (select 1 from refresh_tokens where refresh_tokens.grant_id = grants.grant_id)"
            " order by created_at desc, rowid desc",
            {"client_id": client_id, "user_id": user_id},
        )
        return [read(row) for row in rows]

    async def end(
        self,
        now: int,
        reason: str,
        *,
        grant_id: str | None = None,
        user_id: str | None = None,
        client_id: str | None = None,
    ) -> int:
        """End the grants that match, with sessions, access and refresh tokens, at once; how many there were."""
        ended = await self._database.transact(
            lambda connection: end(connection, now, reason, grant_id=grant_id, user_id=user_id, client_id=client_id),
            lambda ended: self._sessions.closed(ended.sessions),
        )
        return ended.grants

    async def end_expired(self, now: int) -> None:
        """Those whose time is up. They stopped working by themselves: this tells everybody else."""
        rows = await self._database.fetch_all(
            "select grant_id from grants where ended_at is null and ends_at <= :now", {"now": now}
        )
        for row in rows:
            await self.end(now, "expired", grant_id=row["grant_id"])

    async def list_paused(self, user_id: str | None = None) -> list[Grant]:
        rows = await self._database.fetch_all(
            "select * from grants where ended_at is null and paused_at is not null"
            " and (:user_id is null or user_id = :user_id) order by created_at",
            {"user_id": user_id},
        )
        return [read(row) for row in rows]

    async def set_label(self, grant_id: str, label: str) -> None:
        await self._change(CHANGE_LABEL, label, grant_id=grant_id)

    async def set_end(self, at: int | None, *, grant_id: str | None = None, client_id: str | None = None) -> int:
        """When the grants that match end; None: not by themselves. How many there are."""
        return await self._change(CHANGE_END, at, grant_id=grant_id, client_id=client_id)

    async def pause(self, grant_id: str, now: int) -> None:
        """Nothing can be done with it from now on."""
        await self._change(PAUSE, now, grant_id=grant_id)

    async def resume(self, grant_id: str, now: int) -> None:
        """It goes on with what it had left."""
        await self._database.transact(
            lambda connection: resume(connection, now, 0, grant_id=grant_id), self._sessions.changed
        )

    async def pause_client(self, client_id: str, now: int) -> bool:
        """The same with all that a client has, and it gets nothing new. False when there is no such client."""

        def pause(connection: sqlite3.Connection) -> list[Grant] | None:
            row = connection.execute(PAUSE_CLIENT, {"client_id": client_id, "now": now}).fetchone()
            if row is None:
                return None
            values = {"value": row[0], "grant_id": None, "client_id": client_id}
            return [read(one) for one in connection.execute(PAUSE, values).fetchall()]

        return await self._change_client(pause)

    async def resume_client(self, client_id: str, now: int) -> bool:
        """What was paused with it goes on; not what was paused by itself."""

        def go_on(connection: sqlite3.Connection) -> list[Grant] | None:
            row = connection.execute(PAUSED_SINCE, (client_id,)).fetchone()
            if row is None:
                return None
            connection.execute(RESUME_CLIENT, (client_id,))
            return [] if row[0] is None else resume(connection, now, row[0], client_id=client_id)

        return await self._change_client(go_on)

    async def _change_client(self, change: Callable[[sqlite3.Connection], list[Grant] | None]) -> bool:
        changed = await self._database.transact(change, lambda changed: self._sessions.changed(changed or []))
        return changed is not None

    async def _change(
        self, statement: str, value: str | int | None, *, grant_id: str | None = None, client_id: str | None = None
    ) -> int:
        if grant_id is None and client_id is None:
            raise ValueError("change what?")
        values = {"value": value, "grant_id": grant_id, "client_id": client_id}
        changed = await self._database.transact(
            lambda connection: [read(row) for row in connection.execute(statement, values).fetchall()],
            self._sessions.changed,
        )
        return len(changed)
