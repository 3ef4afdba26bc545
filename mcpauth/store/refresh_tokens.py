"""Refresh tokens: rotated in one transaction, which also tells a lost answer from a theft."""

import sqlite3
from typing import NamedTuple

from ..models.records import Grant, Session
from . import grants
from .database import Database
from .sessions import SUPERSEDE, Limits, SessionStore, open_within_cap
from .sessions import read as read_session

FIND = """
    select token_hash, grant_id, generation, expires_at, rotated_at, superseded_at, client_id, ended_at, asserted,
           paused_at, ends_at
      from refresh_tokens join grants using (grant_id)
     where token_hash = :token_hash
"""

INSERT = """
    insert into refresh_tokens (token_hash, grant_id, generation, issued_at, expires_at)
    values (:token_hash, :grant_id, :generation, :issued_at, :expires_at)
"""

ROTATE = """
    update refresh_tokens
       set rotated_at = :now
     where token_hash = :token_hash
       and rotated_at is null
"""

USE_SESSION = """
    update sessions
       set last_used_at = max(last_used_at, :now), access_expires_at = max(access_expires_at, :expires_at),
           kept_until = max(kept_until, :kept_until)
     where grant_id = :grant_id
       and (last_used_at > :expired or kept_until > :now)
    returning *
"""


class NewToken(NamedTuple):
    token_hash: str
    grant_id: str
    generation: int
    issued_at: int
    expires_at: int


class Rotation(NamedTuple):
    """What a rotation needs to know. ``session_id`` is opened when the grant has none that lives.

    ``asserted``: see models.records.Grant.
    """

    token_hash: str
    successor_hash: str
    client_id: str
    now: int
    expires_at: int
    access_expires_at: int
    grace: int
    session_id: str
    asserted: bool = False
    kept_until: int = 0


class Rotated(NamedTuple):
    grant: Grant
    session: Session
    generation: int
    closed: tuple[str, ...]


class Refused(NamedTuple):
    """``reason``: unknown, unproven, ended, paused, expired or reused; after ``reused`` the grant has ended."""

    reason: str
    closed: tuple[str, ...] = ()


class Found(NamedTuple):
    grant: Grant
    expires_at: int
    superseded_at: int | None


def insert(connection: sqlite3.Connection, token: NewToken) -> None:
    connection.execute(INSERT, token._asdict())


def rotate(connection: sqlite3.Connection, rotation: Rotation, limits: Limits) -> Rotated | Refused:
    row = connection.execute(FIND, {"token_hash": rotation.token_hash}).fetchone()
    if row is None or row["client_id"] != rotation.client_id:
        return Refused("unknown")
    if row["asserted"] and not rotation.asserted:
        # Before anything else: whoever has only the token can neither use it nor spoil it.
        return Refused("unproven")
    grant_id, now = row["grant_id"], rotation.now
    if row["ended_at"] is not None or (row["ends_at"] is not None and row["ends_at"] <= now):
        return Refused("ended")
    if row["paused_at"] is not None:
        return Refused("paused")
    if row["superseded_at"] is not None and row["superseded_at"] + rotation.grace < now:
        # What replaced it has long been in use: only a copy can come with it now.
        ended = grants.end(connection, now, "refresh_token_reused", grant_id=grant_id)
        grants.notice(connection, grant_id, "refresh_token_reused", now)
        return Refused("reused", ended.sessions)
    if row["expires_at"] <= now:
        return Refused("expired")
    generation = row["generation"] + 1
    if connection.execute(ROTATE, rotation._asdict()).rowcount:
        successor = NewToken(rotation.successor_hash, grant_id, generation, now, rotation.expires_at)
        insert(connection, successor)
    if rotation.asserted and not row["asserted"]:
        grants.mark_asserted(connection, grant_id)
    # That this one came shows that it arrived: its own predecessor is superseded.
    about = {"grant_id": grant_id, "generation": row["generation"], "now": now}
    connection.execute(SUPERSEDE, about)
    grant = grants.read(connection.execute("select * from grants where grant_id = ?", (grant_id,)).fetchone())
    used = connection.execute(
        USE_SESSION,
        {
            "grant_id": grant_id,
            "now": now,
            "expires_at": rotation.access_expires_at,
            "kept_until": rotation.kept_until,
            "expired": now - limits.timeout,
        },
    ).fetchone()
    if used is not None:
        return Rotated(grant, read_session(used), generation, ())
    opened = open_within_cap(
        connection,
        Session(
            session_id=rotation.session_id,
            user_id=grant.user_id,
            grant_id=grant_id,
            cookie_hash=None,
            opened_at=now,
            last_used_at=now,
            access_expires_at=rotation.access_expires_at,
            kept_until=rotation.kept_until,
            generation=row["generation"],
        ),
        limits,
    )
    return Rotated(grant, opened.session, generation, opened.closed)


class RefreshTokenStore:
    def __init__(self, database: Database, sessions: SessionStore) -> None:
        self._database, self._sessions = database, sessions

    async def rotate(self, rotation: Rotation) -> Rotated | Refused:
        """Replace the token by its successor, or repeat that answer while it may have been lost."""

        def then(outcome: Rotated | Refused) -> None:
            if isinstance(outcome, Rotated):
                self._sessions.refreshed(outcome.session, outcome.grant, outcome.closed)
            else:
                self._sessions.closed(outcome.closed)

        self._sessions.flush()
        limits = self._sessions.limits
        return await self._database.transact(lambda connection: rotate(connection, rotation, limits), then)

    async def find_grant(self, token_hash: str) -> Found | None:
        """The grant that a refresh token belongs to, whether either is still good or not."""
        row = await self._database.fetch_one(
            "select grants.*, refresh_tokens.expires_at as token_expires_at, superseded_at"
            "  from refresh_tokens join grants using (grant_id)"
            " where token_hash = :token_hash",
            {"token_hash": token_hash},
        )
        if row is None:
            return None
        values = dict(row)
        expires_at, superseded_at = values.pop("token_expires_at"), values.pop("superseded_at")
        return Found(grants.from_values(values), expires_at, superseded_at)
