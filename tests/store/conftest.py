"""Rows to work with: two people, a client, and as many grants of it as a test wants."""

from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from mcpauth.models.records import AuthorizationCode, Client, ClientMetadata, Grant, Session
from mcpauth.store.clients import ClientStore
from mcpauth.store.codes import CodeStore
from mcpauth.store.database import Database
from mcpauth.store.grants import GrantStore
from mcpauth.store.refresh_tokens import NewToken, RefreshTokenStore, Refused, Rotated, Rotation
from mcpauth.store.sessions import Limits, SessionStore
from mcpauth.store.users import UserStore
from tests.conftest import FixedAmbient

DAY = 86400


class Stores:
    """The stores of one database, and short ways to fill them. What is open in memory is ``live``."""

    def __init__(self, database: Database, ambient: FixedAmbient) -> None:
        self.database, self.ambient = database, ambient
        self.sessions = SessionStore(database, Limits(per_user=5, timeout=DAY))
        self.users = UserStore(database, self.sessions)
        self.clients, self.grants = ClientStore(database), GrantStore(database, self.sessions)
        self.codes = CodeStore(database, self.sessions)
        self.refresh_tokens = RefreshTokenStore(database, self.sessions)
        self.ended: list[str] = []
        self.sessions.on_closed(lambda grant: self.ended.append(grant.grant_id))

    async def fill(self) -> None:
        now = self.ambient.now()
        for name in ("ada", "bob"):
            await self.users.add(name, name, "member", now)
        metadata = ClientMetadata(redirect_uris=("https://client.example/cb",))
        client = Client(
            client_id="c1",
            metadata=metadata,
            secret_hash=None,
            registration_token_hash=None,
            preregistered=True,
            created_at=now,
            used_at=None,
        )
        await self.clients.add(client, 100)

    async def connect(self, name: str, user: str = "ada", expires_in: int = 3600) -> None:
        """A grant ``name``, its code redeemed: session ``s-name``, refresh token ``t-name``."""
        now = self.ambient.now()
        assert await self.grants.approve(self.grant(name, user), self.code(name, user), f"once-{name}", now + 600)
        session = self.session(f"s-{name}", user, name, access_expires_at=now + expires_in)
        token = NewToken(f"t-{name}", name, 0, now, now + 30 * DAY)
        assert await self.codes.redeem(f"code-{name}", token, session)

    def grant(self, name: str, user: str = "ada", client_id: str = "c1") -> Grant:
        return Grant(
            grant_id=name,
            user_id=user,
            client_id=client_id,
            redirect_uri="r",
            scope="mcp",
            resource="r",
            servers=None,
            created_at=self.ambient.now(),
        )

    def code(self, name: str, user: str) -> AuthorizationCode:
        return AuthorizationCode(
            code_hash=f"code-{name}",
            grant_id=name,
            user_id=user,
            client_id="c1",
            redirect_uri="https://client.example/cb",
            code_challenge="x" * 43,
            resource="r",
            expires_at=self.ambient.now() + 300,
            redeemed_at=None,
        )

    def session(
        self, session_id: str, user: str, grant_id: str | None = None, cookie: str | None = None, **changes: int
    ) -> Session:
        now = self.ambient.now()
        given = {"opened_at": now, "last_used_at": now, "access_expires_at": 0, "generation": 0, **changes}
        return Session(session_id=session_id, user_id=user, grant_id=grant_id, cookie_hash=cookie, **given)

    async def rotate(self, token: str, successor: str, session_id: str = "new") -> Rotated | Refused:
        now = self.ambient.now()
        return await self.refresh_tokens.rotate(
            Rotation(token, successor, "c1", now, now + 30 * DAY, now + 3600, 60, session_id)
        )

    @property
    def live(self) -> list[str]:
        return sorted(one.record.session_id for one in self.sessions.list_live(self.ambient.now()))

    async def on_disk(self) -> list[str]:
        rows = await self.database.fetch_all("select session_id from sessions order by session_id")
        return [row["session_id"] for row in rows]

    async def count(self, table: str) -> int:
        row = await self.database.fetch_one(f"select count(*) from {table}")  # noqa: S608
        assert row is not None
        return int(row[0])


@pytest.fixture
def stores(io_loop: IOLoop, database: Database, ambient: FixedAmbient) -> Stores:
    stores = Stores(database, ambient)
    io_loop.run_sync(stores.fill)
    return stores


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.mkdir(mode=0o700)
    return path
