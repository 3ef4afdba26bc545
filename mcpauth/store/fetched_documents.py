"""What clients publish of themselves, as it was fetched last: it survives a restart, and its source being away."""

import sqlite3

from ..ambient import fingerprint
from ..models.documents import Copy
from .database import Database

SAVE = """
    insert into fetched_documents (kind, uri_hash, uri, body, fetched_at, fresh_until)
    values (:kind, :uri_hash, :uri, :body, :fetched_at, :fresh_until)
    on conflict do update
       set body = excluded.body, fetched_at = excluded.fetched_at, fresh_until = excluded.fresh_until
"""

# Copies of what somebody approved stay whatever strangers make us fetch. Keys are fetched for approved clients only,
# but each of those can name others all the time.
DROP_OLDEST = """
    delete from fetched_documents
     where kind = :kind
       and rowid in (select fetched_documents.rowid
                       from fetched_documents left join clients on client_id = uri
                      where kind = :kind and client_id is null
                      order by fetched_at desc, fetched_documents.rowid desc
                      limit -1 offset :keep)
"""


class FetchedDocumentStore:
    """``kind``: client, a metadata document; or keys, a JWK set."""

    def __init__(self, database: Database, kind: str) -> None:
        self._database, self._kind = database, kind

    async def find(self, uri: str) -> Copy | None:
        row = await self._database.fetch_one(
            "select body, fetched_at, fresh_until from fetched_documents where kind = :kind and uri_hash = :uri_hash",
            self._key(uri),
        )
        return Copy(**dict(row)) if row else None

    async def save(self, uri: str, copy: Copy, keep: int) -> None:
        """In place of an older copy. The newest ``keep`` stay; of documents, those of approved clients do besides."""

        def save(connection: sqlite3.Connection) -> None:
            connection.execute(SAVE, {**self._key(uri), "uri": uri, **copy._asdict()})
            connection.execute(DROP_OLDEST, {"kind": self._kind, "keep": keep})

        await self._database.transact(save)

    def _key(self, uri: str) -> dict[str, str]:
        return {"kind": self._kind, "uri_hash": fingerprint(uri)}
