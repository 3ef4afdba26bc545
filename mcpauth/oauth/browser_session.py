"""Browser sessions: a cookie's secret names one, and only its hash is kept."""

from ..ambient import Ambient, fingerprint
from ..models.records import Session, User
from ..store.sessions import LiveSession, SessionStore
from ..store.users import UserStore


class BrowserSessions:
    def __init__(self, sessions: SessionStore, users: UserStore, ambient: Ambient) -> None:
        self._sessions, self._users, self._ambient = sessions, users, ambient

    async def open(self, user: User, replaces: str | None, password_hash: str | None) -> str | None:
        """A new session's cookie; the one it replaces ends, so that a cookie planted before is worth nothing.

        None when ``user`` may not come in any more, or ``password_hash`` is not theirs any more.
        """
        cookie = self._ambient.secret()
        if replaces:
            await self.close(replaces)
        now = self._ambient.instant()
        opened = await self._sessions.open_browser(
            Session(
                session_id=self._ambient.identifier(),
                user_id=user.user_id,
                grant_id=None,
                cookie_hash=fingerprint(cookie),
                opened_at=int(now),
                last_used_at=now,
                access_expires_at=0,
                generation=0,
            ),
            password_hash,
        )
        return cookie if opened else None

    async def find(self, cookie: str) -> User | None:
        """Who is signed in with this cookie; counts as a use."""
        live = self._live(cookie)
        if live is None:
            return None
        self._sessions.touch(live, self._ambient.instant())
        return await self._users.find(live.record.user_id)

    async def close(self, cookie: str) -> None:
        live = self._live(cookie)
        if live is not None:
            await self._sessions.close([live.record.session_id])

    def _live(self, cookie: str) -> LiveSession | None:
        return self._sessions.find_by_cookie(fingerprint(cookie), self._ambient.instant())
