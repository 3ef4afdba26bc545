"""Grants: what a user allowed one client; they tie codes, tokens and sessions together."""

import json
import sqlite3
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.records import AuthorizationCode, Client, Grant
from . import clients, used_once
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


def mark_asserted(connection: sqlite3.Connection, grant_id: str) -> None:
    """From now on this grant wants a signed assertion. Part of a transaction."""
    connection.execute("update grants set asserted = 1 where grant_id = ?", (grant_id,))


def notice(connection: sqlite3.Connection, grant_id: str, kind: str, now: int) -> None:
    """Leave a notice for the user of the grant. Part of a transaction."""
    connection.execute(NOTICE, {"grant_id": grant_id, "kind": kind, "now": now})


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

        False when ``once_hash`` was used before, or client or user are gone meanwhile; then nothing is stored.
        """

        def approve(connection: sqlite3.Connection) -> bool:
            if not used_once.use(connection, once_hash, once_until):
                return False
            if described is not None:
                clients.describe(connection, described)
            used = connection.execute(
                "update clients set used_at = :now where client_id = :client_id",
                {"now": grant.created_at, "client_id": grant.client_id},
            )
            user = connection.execute(
                "select 1 from users where user_id = ? and role != 'pending'", (grant.user_id,)
            ).fetchone()
            if used.rowcount != 1 or user is None:
                return False
            connection.execute(INSERT, values_of(grant))
            connection.execute(INSERT_CODE, code.model_dump())
            return True

        return await self._database.transact(approve)

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
