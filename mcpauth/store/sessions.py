"""Live sign-ins: the rows, and the memory that answers for them on every request."""

import sqlite3
from collections.abc import Callable, Iterable
from typing import NamedTuple

from ..models.records import Grant, Session
from . import grants
from .database import Database

INSERT = """
    insert into sessions (session_id, user_id, grant_id, cookie_hash, opened_at, last_used_at,
                          access_expires_at, generation, kept_until)
    values (:session_id, :user_id, :grant_id, :cookie_hash, :opened_at, :last_used_at,
            :access_expires_at, :generation, :kept_until)
"""

# Those that must go to make room: first what has no unexpired access token, then the least recently used.
SURPLUS = """
    select session_id
      from sessions
     where user_id = :user_id
       and (grant_id is null) = :of_browsers
     order by access_expires_at > :now desc, last_used_at desc, opened_at desc, rowid desc
     limit -1 offset :keep
"""

TOUCH = """
    update sessions
       set last_used_at = :last_used_at, generation = :generation
     where session_id = :session_id
"""

# RFC 9700 §4.14: the token that was rotated stays good until what replaced it is known to have arrived.
SUPERSEDE = """
    update refresh_tokens
       set superseded_at = :now
     where grant_id = :grant_id
       and generation < :generation
       and superseded_at is null
"""


STILL_WELCOME = """
    select 1
      from users
     where user_id = :user_id
       and role != 'pending'
       and (:password_hash is null
            or :password_hash = (select password_hash from passwords where user_id = :user_id))
"""


class Limits(NamedTuple):
    """``per_user`` sessions of each kind; one ends ``timeout`` seconds after its last use, or when it is kept until."""

    per_user: int
    timeout: int


class Opened(NamedTuple):
    """A session that was opened, and the ids of those that had to go for it."""

    session: Session
    closed: tuple[str, ...]


class LiveSession:
    """A session in memory, with the grant it stands for; ``last_used_at`` runs ahead of the disk."""

    __slots__ = ("access_expires_at", "dirty", "generation", "grant", "kept_until", "last_used_at", "record")

    def __init__(self, record: Session, grant: Grant | None) -> None:
        self.record, self.grant = record, grant
        self.last_used_at, self.generation = record.last_used_at, record.generation
        self.access_expires_at, self.kept_until = record.access_expires_at, record.kept_until
        self.dirty = False

    def is_over(self, now: float, timeout: int) -> bool:
        if self.last_used_at + timeout <= now and self.kept_until <= now:
            return True
        return self.grant is not None and self.grant.ends_at is not None and self.grant.ends_at <= now


def read(row: sqlite3.Row) -> Session:
    return Session(**dict(row))


def open_within_cap(connection: sqlite3.Connection, session: Session, limits: Limits) -> Opened:
    """Insert ``session``; close what is over the cap, expired ones first. Part of a transaction."""
    about = {
        "user_id": session.user_id,
        "of_browsers": session.grant_id is None,
        "now": session.opened_at,
        "expired": session.opened_at - limits.timeout,
        "keep": limits.per_user - 1,
        "grant_id": session.grant_id,
    }
    expired = connection.execute(
        "delete from sessions where user_id = :user_id"
        " and (last_used_at <= :expired and kept_until <= :now or grant_id = :grant_id) returning session_id",
        about,
    ).fetchall()
    surplus = connection.execute(SURPLUS, about).fetchall()
    closed = tuple(row[0] for row in (*expired, *surplus))
    connection.executemany("delete from sessions where session_id = ?", [(one,) for one in closed])
    connection.execute(INSERT, session.model_dump())
    return Opened(session, closed)


class SessionStore:
    """Opening and closing goes to the disk first; finding and touching is memory only."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database, self.limits = database, limits
        self._by_id: dict[str, LiveSession] = {}
        self._by_cookie: dict[str, LiveSession] = {}
        self._listeners: list[Callable[[Grant], None]] = []
        self._pause_listeners: list[Callable[[Grant], None]] = []

    async def load(self) -> None:
        """Take every session from the disk into memory; once, at the start."""
        known = {
            row["grant_id"]: grants.read(row)
            for row in await self._database.fetch_all(
                "select grants.* from grants join sessions using (grant_id) where ended_at is null"
            )
        }
        for row in await self._database.fetch_all("select * from sessions order by last_used_at"):
            session = read(row)
            if session.grant_id is None or session.grant_id in known:
                self.opened(Opened(session, ()), known.get(session.grant_id or ""))

    def on_closed(self, listener: Callable[[Grant], None]) -> None:
        """Call ``listener(grant)`` whenever a client's session ends, for whatever reason."""
        self._listeners.append(listener)

    def on_paused(self, listener: Callable[[Grant], None]) -> None:
        """The same whenever its grant is paused."""
        self._pause_listeners.append(listener)

    # Memory follows the disk: called after the commit, in its order.

    def opened(self, opened: Opened, grant: Grant | None) -> None:
        self.closed(opened.closed)
        live = LiveSession(opened.session, grant)
        self._by_id[live.record.session_id] = live
        if live.record.cookie_hash is not None:
            self._by_cookie[live.record.cookie_hash] = live

    def refreshed(self, session: Session, grant: Grant, closed: tuple[str, ...]) -> None:
        """A refresh used ``session``, or opened it anew."""
        live = self._by_id.get(session.session_id)
        if live is None:
            self.opened(Opened(session, closed), grant)
        else:
            live.grant = grant
            live.last_used_at = max(live.last_used_at, session.last_used_at)
            live.access_expires_at, live.kept_until = session.access_expires_at, session.kept_until

    def changed(self, grants: Iterable[Grant]) -> None:
        """What stands in them was changed. Whoever is at work for one that is paused now has to stop."""
        by_id = {grant.grant_id: grant for grant in grants}
        for live in self._by_id.values():
            if live.grant is not None and live.grant.grant_id in by_id:
                live.grant = by_id[live.grant.grant_id]
                if live.grant.paused_at is not None:
                    for listener in self._pause_listeners:
                        listener(live.grant)

    def closed(self, session_ids: Iterable[str]) -> None:
        for session_id in session_ids:
            live = self._by_id.pop(session_id, None)
            if live is None:
                continue
            if live.record.cookie_hash is not None:
                self._by_cookie.pop(live.record.cookie_hash, None)
            if live.grant is not None:
                for listener in self._listeners:
                    listener(live.grant)

    # What every request asks.

    def find(self, session_id: str, now: float) -> LiveSession | None:
        """The live session of that id; None when it ended or has not been used for too long."""
        live = self._by_id.get(session_id)
        return None if live is None or live.is_over(now, self.limits.timeout) else live

    def find_by_cookie(self, cookie_hash: str, now: float) -> LiveSession | None:
        live = self._by_cookie.get(cookie_hash)
        return None if live is None or live.is_over(now, self.limits.timeout) else live

    def touch(self, live: LiveSession, now: float) -> None:
        live.last_used_at = max(live.last_used_at, now)
        live.dirty = True

    def confirm(self, live: LiveSession, generation: int, now: float) -> None:
        """An access token of this generation arrived in use: the refresh token before it is superseded."""
        live.generation = generation
        live.dirty = True
        about = {"now": int(now), "grant_id": live.record.grant_id, "generation": generation}
        self.flush()
        self._database.submit(lambda connection: connection.execute(SUPERSEDE, about).rowcount)

    def list_live(self, now: float, user_id: str | None = None) -> list[LiveSession]:
        """Live sessions, least recently used first."""
        live = [
            one
            for one in self._by_id.values()
            if not one.is_over(now, self.limits.timeout) and user_id in (None, one.record.user_id)
        ]
        return sorted(live, key=lambda one: one.last_used_at)

    # What changes them.

    def flush(self) -> None:
        """Queue the last uses for the disk. Once a minute, at stop, and before a victim is chosen."""
        values = []
        for live in self._by_id.values():
            if live.dirty:
                live.dirty = False
                values.append(
                    {
                        "session_id": live.record.session_id,
                        "last_used_at": live.last_used_at,
                        "generation": live.generation,
                    }
                )
        if values:
            self._database.submit(lambda connection: connection.executemany(TOUCH, values).rowcount)

    async def open_browser(self, session: Session, password_hash: str | None = None) -> bool:
        """Open a browser's session within the cap.

        False when the user was removed or made pending meanwhile, or has another password than the one that
        was checked; None when it was no password.
        """

        def open_checked(connection: sqlite3.Connection) -> Opened | None:
            about = {"user_id": session.user_id, "password_hash": password_hash}
            if connection.execute(STILL_WELCOME, about).fetchone() is None:
                return None
            return open_within_cap(connection, session, self.limits)

        def then(opened: Opened | None) -> None:
            if opened is not None:
                self.opened(opened, None)

        self.flush()
        return await self._database.transact(open_checked, then) is not None

    async def close(self, session_ids: Iterable[str]) -> None:
        """Close these sessions; their cookies and access tokens stop working."""
        values = [(session_id,) for session_id in session_ids]

        def close(connection: sqlite3.Connection) -> list[str]:
            connection.executemany("delete from sessions where session_id = ?", values)
            return [session_id for (session_id,) in values]

        await self._database.transact(close, self.closed)

    async def close_idle(self, now: float) -> None:
        """Close what has not been used for too long."""
        idle = [session_id for session_id, live in self._by_id.items() if live.is_over(now, self.limits.timeout)]
        if idle:
            await self.close(idle)

    def surplus_for(self, user_id: str, now: int) -> LiveSession | None:
        """The client session that opening one more for ``user_id`` would close, if any."""
        clients = [one for one in self.list_live(now, user_id) if one.grant is not None]
        if len(clients) < self.limits.per_user:
            return None
        return min(clients, key=lambda one: (one.access_expires_at > now, one.last_used_at))
