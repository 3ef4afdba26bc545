"""What an operator can do: the commands call it, and later the admin pages, so that the two cannot drift."""

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from . import log
from .ambient import Ambient
from .errors import OAuthError, OperationError
from .identity import password as password_rules
from .identity.password import Passwords
from .models.records import Role, Story, User
from .oauth.admission import Admission
from .oauth.authorization import display_name
from .oauth.client_id_url import is_url
from .oauth.client_metadata import read_metadata
from .oauth.client_registration import ClientRegistration
from .oauth.endings import judge
from .oauth.setup import name_problem
from .oauth.trace import Trace
from .oauth.ways_in import NAMES, WaysIn
from .store.clients import ClientStore
from .store.grants import GrantStore
from .store.notices import NoticeStore
from .store.sessions import LiveSession, SessionStore
from .store.users import UserStore

logger = logging.getLogger(__name__)

NOTICES_FOR = 14 * 86400

NOTICES = {
    "refresh_token_reused": "A refresh token of {about} was used twice: somebody may have copied it. "
    "Its access was ended; connect {about} again.",
}

Answer = dict[str, Any]


def iso(instant: float | None) -> str | None:
    return None if instant is None else datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Operations:
    """Each takes and gives plain values, so that it can be asked for over the control socket.

    Every one may raise OperationError, whose text says what to change.
    """

    def __init__(
        self,
        *,
        users: UserStore,
        clients: ClientStore,
        grants: GrantStore,
        sessions: SessionStore,
        notices: NoticeStore,
        registration: ClientRegistration,
        passwords: Passwords,
        admission: Admission,
        ways_in: WaysIn,
        trace: Trace,
        summary: Callable[[], Answer],
        situation: Callable[[], Answer],
        ambient: Ambient,
    ) -> None:
        self._users, self._clients, self._grants, self._sessions = users, clients, grants, sessions
        self._notices, self._registration, self._passwords, self._ways_in = notices, registration, passwords, ways_in
        self._admission, self._trace = admission, trace
        self.summary, self._situation, self._ambient = summary, situation, ambient
        self._by_name: dict[str, Callable[..., Awaitable[Any]]] = {
            "config": self.config,
            "status": self.status,
            "user list": self.user_list,
            "user add": self.user_add,
            "user approve": self.user_approve,
            "user remove": self.user_remove,
            "user role": self.user_role,
            "user password": self.user_password,
            "client list": self.client_list,
            "client add": self.client_add,
            "client remove": self.client_remove,
            "session list": self.session_list,
            "session end": self.session_end,
            "trace list": self.trace_list,
            "trace show": self.trace_show,
        }

    async def run(self, name: str, arguments: Answer) -> Any:
        operation = self._by_name.get(name)
        if operation is None:
            raise OperationError(f"there is no operation {name}")
        try:
            return await operation(**arguments)
        except TypeError as error:
            logger.warning("operation_refused", exc_info=error, extra=log.fields(operation=name))
            raise OperationError(f"{name}: the arguments do not fit; is the server of another version?") from None

    async def config(self) -> Answer:
        return self.summary()

    async def status(self) -> Answer:
        now = self._ambient.now()
        users = await self._users.list_all()
        live = self._sessions.list_live(now)
        return {
            **self._situation(),
            "signIn": [NAMES[one] for one in self._ways_in.usable()],
            "users": {role: sum(one.user.role == role for one in users) for role in ("owner", "member", "pending")},
            "clients": len(await self._clients.list_all()),
            "sessions": {
                "browsers": sum(one.grant is None for one in live),
                "clients": sum(one.grant is not None for one in live),
            },
            "notices": await self.notices(),
        }

    async def notices(self, user_id: str | None = None) -> list[str]:
        """What the owner should know, of the last two weeks, in words."""
        since = self._ambient.now() - NOTICES_FOR
        return [
            f"{iso(one.created_at)}  {NOTICES[one.kind].format(about=one.about)}"
            for one in await self._notices.list_since(since, user_id)
        ]

    # Users

    async def user_list(self) -> list[Answer]:
        now = self._ambient.now()
        return [
            {
                "name": one.user.name,
                "role": one.user.role,
                "signs_in_with": [
                    *(["password"] if one.has_password else []),
                    *(f"{identity.provider}:{identity.login}" for identity in one.identities),
                ],
                "sessions": len(self._sessions.list_live(now, one.user.user_id)),
                "created_at": iso(one.user.created_at),
                "user_id": one.user.user_id,
            }
            for one in await self._users.list_all()
        ]

    async def user_add(self, name: str, role: Role, password: str) -> Answer:
        if problem := name_problem(name) or password_rules.problem(password):
            raise OperationError(problem)
        if role not in ("owner", "member"):
            raise OperationError("the role must be owner or member")
        password_hash = await self._passwords.hash(password)
        user_id, now = self._ambient.identifier(), self._ambient.now()
        user = await self._users.add(user_id, name, role, now, password_hash=password_hash)
        if user is None:
            raise OperationError(f"there is a user {name} already; give them another password with: user password")
        logger.info("user_added", extra=log.fields(user_id=user_id, name=name, role=role))
        return {"name": user.name, "role": user.role, "user_id": user.user_id}

    async def user_approve(self, name: str) -> Answer:
        user = await self._user(name)
        if user.role != "pending":
            raise OperationError(f"{user.name} is not waiting for approval: the role is {user.role}")
        return await self.user_role(name, "member")

    async def user_role(self, name: str, role: Role) -> Answer:
        user = await self._user(name)
        if role not in ("owner", "member", "pending"):
            raise OperationError("the role must be owner, member or pending")
        if not await self._users.set_role(user.user_id, role, self._ambient.now()):
            raise OperationError(f"{user.name} is the last owner; make somebody else an owner first")
        logger.info("user_role_set", extra=log.fields(user_id=user.user_id, role=role))
        return {"name": user.name, "role": role, "user_id": user.user_id}

    async def user_remove(self, name: str) -> Answer:
        user = await self._user(name)
        listed = [one for one in await self._users.identities(user.user_id) if self._admission.lists(one)]
        if not await self._users.remove(user.user_id, self._ambient.now()):
            raise OperationError(f"{user.name} is the last owner; make somebody else an owner first")
        logger.info("user_removed", extra=log.fields(user_id=user.user_id))
        return {
            "name": user.name,
            "user_id": user.user_id,
            "still_allowed": [f"{one.provider}:{one.login}" for one in listed],
        }

    async def user_password(self, name: str, password: str) -> Answer:
        """A new password; every browser session ends, because whoever had the old one may be in there."""
        user = await self._user(name)
        if problem := password_rules.problem(password):
            raise OperationError(problem)
        await self._users.set_password(user.user_id, await self._passwords.hash(password), self._ambient.now())
        logger.info("password_set", extra=log.fields(user_id=user.user_id))
        return {"name": user.name, "user_id": user.user_id}

    async def _user(self, name: str) -> User:
        """By name, by id, or by an identity such as github:octocat."""
        user = await self._users.find_by_name(name) or await self._users.find(name)
        if user is None:
            for one in await self._users.list_all():
                if name.lower() in (f"{it.provider}:{it.login}".lower() for it in one.identities):
                    return one.user
            names = ", ".join(one.user.name for one in await self._users.list_all()) or "there are none"
            raise OperationError(f"there is no user {name} (users: {names})")
        return user

    # Clients

    async def client_list(self) -> list[Answer]:
        now = self._ambient.now()
        live = [one.grant.client_id for one in self._sessions.list_live(now) if one.grant is not None]
        return [
            {
                "client_id": one.client_id,
                "name": display_name(one),
                "kind": "public" if "none" in one.metadata.auth_methods else "confidential",
                "registered": "by the owner"
                if one.preregistered
                else "by its document"
                if is_url(one.client_id)
                else "by itself",
                "redirect_uris": list(one.metadata.redirect_uris),
                "sessions": live.count(one.client_id),
                "created_at": iso(one.created_at),
                "used_at": iso(one.used_at),
            }
            for one in await self._clients.list_all()
        ]

    async def client_add(self, name: str, redirect_uris: list[str], public: bool) -> Answer:
        given = {
            "client_name": name,
            "redirect_uris": redirect_uris,
            "token_endpoint_auth_method": "none" if public else "client_secret_basic",
        }
        try:
            metadata = read_metadata(given)
        except OAuthError as error:
            raise OperationError(error.description) from None
        client, secret, _ = await self._registration.add(metadata, preregistered=True)
        logger.info("client_added", extra=log.fields(client_id=client.client_id, name=name))
        return {"client_id": client.client_id, **({"client_secret": secret} if secret else {})}

    async def client_remove(self, client_id: str) -> Answer:
        ended = await self._grants.end(self._ambient.now(), "client_removed", client_id=client_id)
        if not await self._clients.remove(client_id):
            raise OperationError(f"there is no client {client_id}; see: client list")
        logger.info("client_removed", extra=log.fields(client_id=client_id))
        return {"client_id": client_id, "grants_ended": ended}

    # Sessions

    async def session_list(self, user: str | None = None) -> list[Answer]:
        user_id = (await self._user(user)).user_id if user else None
        return [await self._describe(one) for one in self._sessions.list_live(self._ambient.now(), user_id)]

    async def _describe(self, live: LiveSession) -> Answer:
        user = await self._users.find(live.record.user_id)
        client = await self._clients.find(live.grant.client_id) if live.grant is not None else None
        return {
            "session_id": live.record.session_id,
            "user": user.name if user else None,
            "of": display_name(client) if client else "a browser",
            "client_id": live.grant.client_id if live.grant is not None else None,
            "scope": live.grant.scope if live.grant is not None else None,
            "resource": live.grant.resource if live.grant is not None else None,
            "opened_at": iso(live.record.opened_at),
            "last_used_at": iso(live.last_used_at),
        }

    async def session_end(
        self,
        session_id: str | None = None,
        user: str | None = None,
        client_id: str | None = None,
        everything: bool = False,
    ) -> Answer:
        """End sessions. A client's access ends with it: it has to be approved again."""
        if [session_id, user, client_id, everything or None].count(None) != 3:
            raise OperationError("name one session, or use one of --user, --client and --all")
        now = self._ambient.now()
        user_id = (await self._user(user)).user_id if user else None
        ending = [
            one
            for one in self._sessions.list_live(now, user_id)
            if (session_id is None or one.record.session_id == session_id)
            and (client_id is None or (one.grant is not None and one.grant.client_id == client_id))
        ]
        if session_id is not None and not ending:
            raise OperationError(f"there is no live session {session_id}; see: session list")
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

    # Connection attempts

    async def trace_list(self) -> list[Answer]:
        """The newest last."""
        return [self._told(story) for story in self._trace.stories()]

    async def trace_show(self, story_id: str) -> Answer:
        """One story, by the beginning of its id."""
        found = [story for story in self._trace.stories() if story.story_id.startswith(story_id)]
        if len(found) != 1:
            raise OperationError(f"{len(found) or 'no'} connection attempts have an id that begins with {story_id}")
        steps = [{**step.model_dump(exclude_none=True), "at": iso(step.at)} for step in found[0].steps]
        return {**self._told(found[0]), "steps": steps}

    def _told(self, story: Story) -> Answer:
        verdict = judge(story, self._ambient.now())
        return {
            "id": story.story_id,
            "began_at": iso(story.began_at),
            "last_at": iso(story.last_at),
            "client": story.client_name or story.client_id,
            "client_id": story.client_id,
            "addresses": list(story.addresses),
            "user_agent": story.user_agent,
            "state": verdict.state,
            "verdict": verdict.text,
            "cause": verdict.cause,
            "fix": verdict.fix,
        }
