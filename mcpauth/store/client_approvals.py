"""What the owner decided about clients, and those that wait for it."""

import sqlite3

from ..models.records import ClientApproval
from .database import Database

ASK = """
    insert into client_approvals (client_id, client_name, hosts, asked_by, asked_at)
    select :client_id, :client_name, :hosts, :asked_by, :now
     where (select count(*) from client_approvals where decision is null) < :most
       and (select count(*) from client_approvals where decision is null and asked_by = :asked_by) < :most_of_one
    on conflict (client_id) do nothing
"""

DECIDE = """
    insert into client_approvals (client_id, client_name, hosts, asked_at, decision, decided_at)
    values (:client_id, :client_name, '', :now, :decision, :now)
    on conflict (client_id) do update set decision = :decision, decided_at = :now
"""

# The person who connects it says yes to it too, unless the owner has said no.
APPROVE_WITH_GRANT = """
    insert into client_approvals (client_id, client_name, hosts, asked_at, decision, decided_at)
    select client_id, client_name, '', :now, 'approved', :now from clients where client_id = :client_id
    on conflict (client_id) do update set decision = 'approved', decided_at = :now where decision is null
"""

FIND = "select * from client_approvals where client_id = :client_id"


def approve_with_grant(connection: sqlite3.Connection, client_id: str, now: int) -> bool:
    """That a client which a person connects now is approved. Part of a transaction; False when it was refused."""
    connection.execute(APPROVE_WITH_GRANT, {"client_id": client_id, "now": now})
    row = connection.execute(FIND, {"client_id": client_id}).fetchone()
    return row is not None and row["decision"] == "approved"


def forget(connection: sqlite3.Connection, client_id: str) -> None:
    """The client is gone, or is not what it was: it has to ask again. Part of a transaction."""
    statement = "delete from client_approvals where client_id = ? and decision is not 'refused'"
    connection.execute(statement, (client_id,))


class ClientApprovalStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, client_id: str) -> ClientApproval | None:
        row = await self._database.fetch_one(FIND, {"client_id": client_id})
        return ClientApproval(**dict(row)) if row else None

    async def ask(
        self, client_id: str, client_name: str, hosts: str, user_id: str | None, now: int, most: int, most_of_one: int
    ) -> ClientApproval | None:
        """The client waits from now on, or what is known of it already.

        None when ``most`` are waiting, or ``most_of_one`` for this user.
        """
        about = {"client_id": client_id, "client_name": client_name, "hosts": hosts, "asked_by": user_id}

        def ask(connection: sqlite3.Connection) -> ClientApproval | None:
            connection.execute(ASK, {**about, "now": now, "most": most, "most_of_one": most_of_one})
            row = connection.execute(FIND, about).fetchone()
            return ClientApproval(**dict(row)) if row else None

        return await self._database.transact(ask)

    async def decide(self, client_id: str, client_name: str, decision: str, now: int) -> None:
        about = {"client_id": client_id, "client_name": client_name, "decision": decision, "now": now}
        await self._database.transact(lambda connection: connection.execute(DECIDE, about).rowcount)

    async def list_undecided_or_refused(self) -> list[ClientApproval]:
        rows = await self._database.fetch_all(
            "select * from client_approvals where decision is not 'approved' order by asked_at, client_id"
        )
        return [ClientApproval(**dict(row)) for row in rows]

    async def list_waiting(self) -> list[ClientApproval]:
        """Who waited longest first."""
        rows = await self._database.fetch_all(
            "select * from client_approvals where decision is null order by asked_at, client_id"
        )
        return [ClientApproval(**dict(row)) for row in rows]
