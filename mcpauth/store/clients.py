"""Clients: registered by themselves, or by the owner."""

import json
import sqlite3
from typing import Any

from ..models.records import Client, ClientMetadata
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
            return connection.execute(UPDATE, values_of(client)).rowcount == 1

        return await self._database.transact(replace)

    async def remove(self, client_id: str) -> bool:
        """Remove it with its grants, codes, tokens and sessions. False when it was not there."""

        def remove(connection: sqlite3.Connection) -> bool:
            statement = "delete from clients where client_id = :client_id"
            return connection.execute(statement, {"client_id": client_id}).rowcount == 1

        return await self._database.transact(remove)
