"""Authorization codes: redeemed once, by one conditional UPDATE."""

import sqlite3
from typing import NamedTuple

from ..models.records import AuthorizationCode, Grant, Session
from . import grants, refresh_tokens
from .database import Database
from .sessions import Opened, SessionStore, open_within_cap

FIND = """
    select code_hash, grant_id, user_id, client_id, authorization_codes.redirect_uri, code_challenge,
           resource, expires_at, redeemed_at
      from authorization_codes join grants using (grant_id)
     where code_hash = :code_hash
"""

REDEEM = """
    update authorization_codes
       set redeemed_at = :now
     where code_hash = :code_hash
       and redeemed_at is null
       and grant_id in (select grant_id from grants where ended_at is null)
    returning grant_id
"""


class Redeemed(NamedTuple):
    grant: Grant
    opened: Opened


class CodeStore:
    def __init__(self, database: Database, sessions: SessionStore) -> None:
        self._database, self._sessions = database, sessions

    async def find(self, code_hash: str) -> AuthorizationCode | None:
        row = await self._database.fetch_one(FIND, {"code_hash": code_hash})
        return AuthorizationCode(**dict(row)) if row else None

    async def redeem(
        self, code_hash: str, token: refresh_tokens.NewToken, session: Session, *, asserted: bool = False
    ) -> Redeemed | None:
        """Mark the code as used, store the first refresh token and open the session, all or nothing.

        ``asserted``: see models.records.Grant. None for every caller but one, ever.
        """

        def redeem(connection: sqlite3.Connection) -> Redeemed | None:
            now = token.issued_at
            row = connection.execute(REDEEM, {"code_hash": code_hash, "now": now}).fetchone()
            if row is None:
                return None
            if asserted:
                grants.mark_asserted(connection, row[0])
            found = connection.execute("select * from grants where grant_id = ?", (row[0],)).fetchone()
            refresh_tokens.insert(connection, token)
            opened = open_within_cap(connection, session, self._sessions.limits)
            return Redeemed(grants.read(found), opened)

        def then(redeemed: Redeemed | None) -> None:
            if redeemed is not None:
                self._sessions.opened(redeemed.opened, redeemed.grant)

        self._sessions.flush()
        return await self._database.transact(redeem, then)
