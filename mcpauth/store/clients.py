"""Clients: registered by themselves, or by the owner."""

import json
import sqlite3
from typing import Any

from ..models.records import Client, ClientMetadata
from . import client_approvals
from .database import Database

INSERT = """
    insert into clients (client_id, client_name, metadata, secret_hash, registration_token_hash,
                         preregistered, created_at)
    values (:client_id, :client_name, :metadata, :secret_hash, :registration_token_hash,
            :preregistered, :created_at)
"""

DROP_OLDEST_UNUSED = """
    delete from clients
     where client_id in (select client_id
                           from clients
                          where used_at is null and preregistered = 0
                            and client_id not in (select client_id from client_approvals where decision is null)
                          order by created_at desc, rowid desc
                          limit -1 offset :keep)
"""

DESCRIBE = f"""
    {INSERT.strip()}
    on conflict (client_id) do update set client_name = excluded.client_name, metadata = excluded.metadata
"""

UPDATE = """
    update clients
       set client_name = :client_name, metadata = :metadata, secret_hash = :secret_hash
     where client_id = :client_id
"""


def read(row: sqlite3.Row) -> Client:
    values: dict[str, Any] = dict(row)
    del values["client_name"]
    values["metadata"] = ClientMetadata.model_validate_json(values["metadata"])
    return Client(**values)


def values_of(client: Client) -> dict[str, Any]:
    return {
        **client.model_dump(exclude={"metadata", "used_at"}),
        "client_name": client.name,
        "metadata": json.dumps(client.metadata.model_dump(mode="json", exclude_none=True)),
    }


def describe(connection: sqlite3.Connection, client: Client) -> None:
    """What a client that never registered published of itself, when it was approved. Part of a transaction."""
    connection.execute(DESCRIBE, values_of(client))


class ClientStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, client: Client, keep_unused: int) -> None:
        """Store ``client``; of those that were never used, only the newest ``keep_unused`` stay."""

        def add(connection: sqlite3.Connection) -> None:
            connection.execute(INSERT, values_of(client))
            connection.execute(DROP_OLDEST_UNUSED, {"keep": keep_unused})

        await self._database.transact(add)

    async def find(self, client_id: str) -> Client | None:
        row = await self._database.fetch_one(
            "select * from clients where client_id = :client_id", {"client_id": client_id}
        )
        return read(row) if row else None

    async def list_all(self) -> list[Client]:
        rows = await self._database.fetch_all("select * from clients order by created_at, client_id")
        return [read(row) for row in rows]

    async def replace(self, client: Client) -> bool:
        """Store new metadata (RFC 7592 §2.2). False when the client is gone."""

        def replace(connection: sqlite3.Connection) -> bool:
            known = connection.execute("select * from clients where client_id = ?", (client.client_id,)).fetchone()
            if known is not None and set(read(known).metadata.redirect_uris) != set(client.metadata.redirect_uris):
                # Its answers go somewhere else: that is not what was approved.
                client_approvals.forget(connection, client.client_id)
            return connection.execute(UPDATE, values_of(client)).rowcount == 1

        return await self._database.transact(replace)

    async def labels(self) -> dict[str, str]:
        """What the owner calls them, by client_id; of those that have such a name."""
        rows = await self._database.fetch_all("select client_id, label from clients where label is not null")
        return {row["client_id"]: row["label"] for row in rows}

    async def set_label(self, client_id: str, label: str) -> bool:
        """What the owner calls it. False when it is not there."""
        return await self._set("update clients set label = :value where client_id = :client_id", client_id, label)

    async def set_access_token_ttl(self, client_id: str, ttl: int | None) -> bool:
        """None: as for all others. False when it is not there."""
        statement = "update clients set access_token_ttl = :value where client_id = :client_id"
        return await self._set(statement, client_id, ttl)

    async def _set(self, statement: str, client_id: str, value: str | int | None) -> bool:
        about = {"client_id": client_id, "value": value}
        return await self._database.transact(lambda connection: connection.execute(statement, about).rowcount == 1)

    async def remove(self, client_id: str) -> bool:
        """Remove it with its grants, codes, tokens and sessions. False when it was not there."""

        def remove(connection: sqlite3.Connection) -> bool:
            client_approvals.forget(connection, client_id)
            statement = "delete from clients where client_id = :client_id"
            return connection.execute(statement, {"client_id": client_id}).rowcount == 1

        return await self._database.transact(remove)
