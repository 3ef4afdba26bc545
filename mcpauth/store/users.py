"""Users, the provider identities linked to them, and their passwords."""

import sqlite3
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from ..models.records import Identity, Role, User
from . import grants
from .database import Database
from .sessions import SessionStore

T = TypeVar("T")

# One statement, so that of two people with the setup code only one becomes the owner.
INSERT_OWNER = """
    insert into users (user_id, name, role, created_at, role_set_at)
    select :user_id, :name, 'owner', :now, :now
     where not exists (select 1 from users where role = 'owner')
"""

INSERT = """
    insert into users (user_id, name, role, created_at, role_set_at)
    values (:user_id, :name, :role, :now, :now)
"""

LINK = """
    insert into identities (provider, provider_id, user_id, login, email, picture, linked_at)
    values (:provider, :provider_id, :user_id, :login, :email, :picture, :now)
"""

# The login stays what it was when it was linked: an entry of ALLOWED_USERS was matched with it.
REFRESH_IDENTITY = """
    update identities
       set email = :email, picture = :picture
     where provider = :provider and provider_id = :provider_id
"""

PIN_LOGIN = """
    update identities
       set login = :login
     where provider = :provider and provider_id = :provider_id
"""

FIND_LINKED = """
    select users.*
      from users join identities using (user_id)
     where provider = :provider and provider_id = :provider_id
"""

SET_PASSWORD = """
    insert into passwords (user_id, password_hash, changed_at)
    values (:user_id, :password_hash, :now)
    on conflict (user_id) do update set password_hash = :password_hash, changed_at = :now
"""


class Listed(NamedTuple):
    user: User
    identities: tuple[Identity, ...]
    has_password: bool


def read(row: sqlite3.Row) -> User:
    return User(**dict(row))


def free_name(connection: sqlite3.Connection, wanted: str) -> str:
    """``wanted``, or with the first number that makes it nobody else's."""
    name, number = wanted, 1
    while connection.execute("select 1 from users where name = ?", (name,)).fetchone():
        number += 1
        name = f"{wanted}-{number}"
    return name


class UserStore:
    def __init__(self, database: Database, sessions: SessionStore) -> None:
        self._database, self._sessions = database, sessions
        self.with_password = 0
        self.owners = 0

    async def load(self) -> None:
        """Take into memory what every page asks: is there an owner, has anybody a password."""
        row = await self._database.fetch_one(
            "select (select count(*) from passwords) as passwords,"
            " (select count(*) from users where role = 'owner') as owners"
        )
        if row is not None:
            self.with_password, self.owners = row["passwords"], row["owners"]

    async def add_owner(
        self,
        user_id: str,
        name: str,
        now: int,
        *,
        password_hash: str | None = None,
        identity: Identity | None = None,
    ) -> User | None:
        """The first owner, with the means to sign in. None when there is an owner already."""

        def add(connection: sqlite3.Connection) -> User | None:
            values = {"user_id": user_id, "name": free_name(connection, name), "now": now}
            if connection.execute(INSERT_OWNER, values).rowcount != 1:
                return None
            self._add_means(connection, user_id, now, password_hash, identity)
            return self._read_one(connection, user_id)

        return await self._change(add)

    async def add(
        self,
        user_id: str,
        name: str,
        role: Role,
        now: int,
        *,
        password_hash: str | None = None,
        identity: Identity | None = None,
        most_pending: int | None = None,
    ) -> User | None:
        """A user. None when the name is taken, or ``most_pending`` are waiting already.

        Somebody who comes through a provider gets another name when theirs is taken.
        """

        def add(connection: sqlite3.Connection) -> User | None:
            if most_pending is not None:
                waiting = connection.execute("select count(*) from users where role = 'pending'").fetchone()[0]
                if waiting >= most_pending:
                    return None
            free = free_name(connection, name)
            if identity is None and free != name:
                return None
            connection.execute(INSERT, {"user_id": user_id, "name": free, "role": role, "now": now})
            self._add_means(connection, user_id, now, password_hash, identity)
            return self._read_one(connection, user_id)

        return await self._change(add)

    @staticmethod
    def _add_means(
        connection: sqlite3.Connection,
        user_id: str,
        now: int,
        password_hash: str | None,
        identity: Identity | None,
    ) -> None:
        if identity is not None:
            connection.execute(LINK, {**identity.model_dump(), "user_id": user_id, "now": now})
        if password_hash is not None:
            connection.execute(SET_PASSWORD, {"user_id": user_id, "password_hash": password_hash, "now": now})

    @staticmethod
    def _read_one(connection: sqlite3.Connection, user_id: str) -> User:
        return read(connection.execute("select * from users where user_id = ?", (user_id,)).fetchone())

    async def _change(self, function: Callable[[sqlite3.Connection], T]) -> T:
        result = await self._database.transact(function)
        await self.load()
        return result

    async def promote_to_owner(self, user_id: str, now: int) -> bool:
        """Make an existing user the first owner. False when there is an owner already."""

        def promote(connection: sqlite3.Connection) -> bool:
            statement = (
                "update users set role = 'owner', role_set_at = :now"
                " where user_id = :user_id and not exists (select 1 from users where role = 'owner')"
            )
            return connection.execute(statement, {"user_id": user_id, "now": now}).rowcount == 1

        return await self._change(promote)

    async def find(self, user_id: str) -> User | None:
        row = await self._database.fetch_one("select * from users where user_id = :user_id", {"user_id": user_id})
        return read(row) if row else None

    async def find_by_name(self, name: str) -> User | None:
        row = await self._database.fetch_one("select * from users where name = :name", {"name": name})
        return read(row) if row else None

    async def find_by_identity(self, identity: Identity) -> User | None:
        """Whose identity this is, by the provider's immutable id; email and picture are brought up to date."""

        def find(connection: sqlite3.Connection) -> User | None:
            row = connection.execute(FIND_LINKED, identity.model_dump()).fetchone()
            if row is None:
                return None
            connection.execute(REFRESH_IDENTITY, identity.model_dump())
            return read(row)

        return await self._database.transact(find)

    async def login_is_linked(self, identity: Identity) -> bool:
        """Whether that login was another account's when it was linked (logins can change hands)."""
        row = await self._database.fetch_one(
            "select 1 from identities where provider = :provider and login = :login collate nocase"
            " and provider_id != :provider_id",
            identity.model_dump(),
        )
        return row is not None

    async def pin_login(self, identity: Identity) -> None:
        """From here on that login is this account's, and nobody's who takes it over."""
        values = identity.model_dump()
        await self._database.transact(lambda connection: connection.execute(PIN_LOGIN, values).rowcount)

    async def identities(self, user_id: str) -> list[Identity]:
        rows = await self._database.fetch_all(
            "select provider, provider_id, login, email, picture from identities where user_id = :user_id"
            " order by linked_at",
            {"user_id": user_id},
        )
        return [Identity(**dict(row)) for row in rows]

    async def list_all(self) -> list[Listed]:
        rows = await self._database.fetch_all("select * from users order by created_at, name")
        hashed = {row[0] for row in await self._database.fetch_all("select user_id from passwords")}
        return [
            Listed(read(row), tuple(await self.identities(row["user_id"])), row["user_id"] in hashed) for row in rows
        ]

    async def password_hash(self, user_id: str) -> str | None:
        row = await self._database.fetch_one(
            "select password_hash from passwords where user_id = :user_id", {"user_id": user_id}
        )
        return row[0] if row else None

    async def set_password(self, user_id: str, password_hash: str, now: int) -> None:
        """The new password; every browser session ends with the old one."""

        def set_password(connection: sqlite3.Connection) -> tuple[bool, tuple[str, ...]]:
            values = {"user_id": user_id, "password_hash": password_hash, "now": now}
            connection.execute(SET_PASSWORD, values)
            closed = connection.execute(
                "delete from sessions where user_id = ? and grant_id is null returning session_id", (user_id,)
            )
            return True, tuple(row[0] for row in closed.fetchall())

        await self._change_and_close(set_password)

    async def set_role(self, user_id: str, role: Role, now: int) -> bool:
        """False when this would leave the server without an owner; then nothing changed.

        A user made pending again loses every grant and session at once.
        """

        def set_role(connection: sqlite3.Connection) -> tuple[bool, tuple[str, ...]]:
            if role != "owner" and self._is_last_owner(connection, user_id):
                return False, ()
            connection.execute(
                "update users set role = :role, role_set_at = :now where user_id = :user_id",
                {"role": role, "user_id": user_id, "now": now},
            )
            return True, self._end_all(connection, user_id, now) if role == "pending" else ()

        return await self._change_and_close(set_role)

    async def remove(self, user_id: str, now: int) -> bool:
        """Remove a user with everything. False when this would leave the server without an owner."""

        def remove(connection: sqlite3.Connection) -> tuple[bool, tuple[str, ...]]:
            if self._is_last_owner(connection, user_id):
                return False, ()
            sessions = self._end_all(connection, user_id, now)
            connection.execute("delete from users where user_id = ?", (user_id,))
            return True, sessions

        return await self._change_and_close(remove)

    async def _change_and_close(self, function: Callable[[sqlite3.Connection], tuple[bool, tuple[str, ...]]]) -> bool:
        done, _ = await self._database.transact(function, lambda result: self._sessions.closed(result[1]))
        await self.load()
        return done

    @staticmethod
    def _is_last_owner(connection: sqlite3.Connection, user_id: str) -> bool:
        owners = [row[0] for row in connection.execute("select user_id from users where role = 'owner'")]
        return owners == [user_id]

    @staticmethod
    def _end_all(connection: sqlite3.Connection, user_id: str, now: int) -> tuple[str, ...]:
        ended = grants.end(connection, now, "user_removed", user_id=user_id).sessions
        browsers = connection.execute(
            "delete from sessions where user_id = ? returning session_id", (user_id,)
        ).fetchall()
        return (*ended, *(row[0] for row in browsers))
