"""What an operator can do about who is connected and signed in."""

import logging

from .. import log
from ..ambient import Ambient, iso
from ..errors import OperationError, WrongUsage
from ..models.records import Grant
from ..oauth.client_name import display_name
from ..store.clients import ClientStore
from ..store.grants import GrantStore
from ..store.sessions import LiveSession, SessionStore
from ..store.users import UserStore
from .values import Answer, Operation, end_of, find_user, label

logger = logging.getLogger(__name__)


class SessionOperations:
    def __init__(
        self, *, users: UserStore, clients: ClientStore, grants: GrantStore, sessions: SessionStore, ambient: Ambient
    ) -> None:
        self._users, self._clients, self._grants = users, clients, grants
        self._sessions, self._ambient = sessions, ambient
        self.by_name: dict[str, Operation] = {
            "session list": self.session_list,
            "session rename": self.session_rename,
            "session pause": self.session_pause,
            "session resume": self.session_resume,
            "session expire": self.session_expire,
            "session end": self.session_end,
        }

    async def session_list(self, user: str | None = None) -> list[Answer]:
        user_id = (await find_user(self._users, user)).user_id if user else None
        live = self._sessions.list_live(self._ambient.now(), user_id)
        shown = {one.grant.grant_id for one in live if one.grant is not None}
        idle = [one for one in await self._grants.list_paused(user_id) if one.grant_id not in shown]
        return [await self._describe(one) for one in live] + [await self._describe_idle(one) for one in idle]

    async def _describe(self, live: LiveSession) -> Answer:
        user = await self._users.find(live.record.user_id)
        return {
            "session_id": live.record.session_id,
            "user": user.name if user else None,
            **await self._connection(live.grant),
            "opened_at": iso(live.record.opened_at),
            "last_used_at": iso(live.last_used_at),
        }

    async def _describe_idle(self, grant: Grant) -> Answer:
        """A connection that is paused, and was not used for longer than a session lasts: known by its grant."""
        user = await self._users.find(grant.user_id)
        return {
            "session_id": grant.grant_id,
            "user": user.name if user else None,
            **await self._connection(grant),
            "opened_at": iso(grant.created_at),
            "last_used_at": None,
        }

    async def _connection(self, grant: Grant | None) -> Answer:
        client = await self._clients.find(grant.client_id) if grant is not None else None
        name = display_name(client) if client else "a browser"
        return {
            "of": name if grant is None or grant.label is None else f"{name} ({grant.label})",
            "client_id": grant.client_id if grant is not None else None,
            "scope": grant.scope if grant is not None else None,
            "resource": grant.resource if grant is not None else None,
            "state": "paused" if grant is not None and grant.paused_at is not None else "ok",
            "paused_at": iso(grant.paused_at) if grant is not None else None,
            "ends_at": iso(grant.ends_at) if grant is not None else None,
        }

    async def session_rename(self, session_id: str, name: str) -> Answer:
        await self._grants.set_label((await self._grant(session_id)).grant_id, label(name))
        return {"session_id": session_id, "name": name}

    async def session_pause(self, session_id: str) -> Answer:
        grant, now = await self._grant_of_its_own(session_id), self._ambient.now()
        await self._grants.pause(grant.grant_id, now)
        logger.info("session_paused", extra=log.fields(grant_id=grant.grant_id))
        return {"session_id": session_id, "paused_at": iso(now)}

    async def session_resume(self, session_id: str) -> Answer:
        grant = await self._grant_of_its_own(session_id)
        await self._grants.resume(grant.grant_id, self._ambient.now())
        logger.info("session_resumed", extra=log.fields(grant_id=grant.grant_id))
        return {"session_id": session_id, "paused_at": None}

    async def session_expire(self, session_id: str, after: str) -> Answer:
        """A connection ends at that time, used or not; the client has to be approved again then."""
        ends_at = end_of(after, self._ambient.now())
        await self._grants.set_end(ends_at, grant_id=(await self._grant(session_id)).grant_id)
        return {"session_id": session_id, "ends_at": iso(ends_at)}

    async def _grant(self, session_id: str) -> Grant:
        """The grant of a client's session, or of that id. Raises OperationError."""
        live = self._sessions.find(session_id, self._ambient.instant())
        if live is not None and live.grant is None:
            raise OperationError("this is a browser's session: it can only be ended")
        grant = live.grant if live is not None else await self._grants.find(session_id)
        if grant is None or grant.ended_at is not None:
            raise OperationError(f"there is no live session {session_id}; see: session list")
        return grant

    async def _grant_of_its_own(self, session_id: str) -> Grant:
        """The same, while its client is not paused as a whole. Raises OperationError."""
        grant = await self._grant(session_id)
        client = await self._clients.find(grant.client_id)
        if client is not None and client.paused_at is not None:
            raise OperationError(f"its client is paused; first: client resume {grant.client_id}")
        return grant

    async def session_end(
        self,
        session_id: str | None = None,
        user: str | None = None,
        client_id: str | None = None,
        everything: bool = False,
    ) -> Answer:
        """End sessions. A client's access ends with it: it has to be approved again."""
        if [session_id, user, client_id, everything or None].count(None) != 3:
            raise WrongUsage("name one session, or use one of --user, --client and --all")
        now = self._ambient.now()
        user_id = (await find_user(self._users, user)).user_id if user else None
        ending = [
            one
            for one in self._sessions.list_live(now, user_id)
            if (session_id is None or one.record.session_id == session_id)
            and (client_id is None or (one.grant is not None and one.grant.client_id == client_id))
        ]
        if session_id is not None and not ending:
            ended = await self._grants.end(now, "ended_by_owner", grant_id=session_id)
            if not ended:
                raise OperationError(f"there is no live session {session_id}; see: session list")
            return {"ended": ended}
        for one in ending:
            if one.grant is not None:
                await self._grants.end(now, "ended_by_owner", grant_id=one.grant.grant_id)
        await self._sessions.close([one.record.session_id for one in ending if one.grant is None])
        # Those without a live session could come back with their refresh token.
        users = [one.user.user_id for one in await self._users.list_all()] if everything else [user_id]
        for one_user in users:
            if one_user is not None or client_id is not None:
                await self._grants.end(now, "ended_by_owner", user_id=one_user, client_id=client_id)
        logger.info("sessions_ended", extra=log.fields(count=len(ending)))
        return {"ended": len(ending)}
