"""What an operator can do: the commands call it, and later the admin pages, so that the two cannot drift."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from . import log
from .ambient import Ambient, iso
from .client_operations import ClientOperations, find_user
from .errors import OperationError, WrongUsage
from .identity import password as password_rules
from .identity.password import Passwords
from .models.findings import Finding
from .models.records import Role, Story, User
from .oauth import client_profiles
from .oauth.access_token import AccessTokens
from .oauth.admission import Admission
from .oauth.endings import judge
from .oauth.setup import name_problem
from .oauth.signing_keys import SigningKeys
from .oauth.trace import Trace
from .oauth.ways_in import NAMES, WaysIn
from .presence import Presence
from .store.clients import ClientStore
from .store.notices import NoticeStore
from .store.sessions import SessionStore
from .store.users import UserStore

logger = logging.getLogger(__name__)

NOTICES_FOR = 14 * 86400

NOTICES = {
    "refresh_token_reused": "A refresh token of {about} was used twice: somebody may have copied it. "
    "Its access was ended; connect {about} again.",
}

Answer = dict[str, Any]


class Operations:
    """Each takes and gives plain values, so that it can be asked for over the control socket.

    Every one may raise OperationError, whose text says what to change.
    """

    def __init__(
        self,
        *,
        users: UserStore,
        clients: ClientStore,
        sessions: SessionStore,
        connections: ClientOperations,
        notices: NoticeStore,
        passwords: Passwords,
        admission: Admission,
        ways_in: WaysIn,
        trace: Trace,
        presence: Presence,
        access_tokens: AccessTokens,
        signing_keys: SigningKeys,
        look: Callable[[], Awaitable[list[Finding]]],
        summary: Callable[[], Answer],
        situation: Callable[[], Answer],
        ambient: Ambient,
    ) -> None:
        self._users, self._clients, self._sessions, self._connections = users, clients, sessions, connections
        self._notices, self._passwords, self._ways_in = notices, passwords, ways_in
        self._admission, self._trace, self._presence, self._look = admission, trace, presence, look
        self._access_tokens, self._signing_keys = access_tokens, signing_keys
        self.summary, self._situation, self._ambient = summary, situation, ambient
        self._by_name: dict[str, Callable[..., Awaitable[Any]]] = {
            "config": self.config,
            "status": self.status,
            "presence": self.presence,
            "rotate-keys": self.rotate_keys,
            "user list": self.user_list,
            "user add": self.user_add,
            "user approve": self.user_approve,
            "user remove": self.user_remove,
            "user role": self.user_role,
            "user password": self.user_password,
            **connections.by_name,
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
            "waiting": await self._connections.waiting(),
            "problems": [one.model_dump(exclude={"verdict"}) for one in await self.problems()],
            "notices": await self.notices(),
        }

    async def problems(self) -> list[Finding]:
        """What stands in the way of clients, of what can be seen at no cost; empty when that cannot be looked at."""
        try:
            return await self._look()
        except Exception:
            logger.exception("self_check_failed")
            return []

    async def presence(self) -> Answer:
        """A word by which whoever asks here can tell that it is this process that answers somewhere."""
        return {"word": self._presence.word()}

    async def rotate_keys(self) -> Answer:
        """Access tokens are signed with a new key from now on, and nobody notices."""
        until = self._access_tokens.rotate_keys()
        key = self._signing_keys.current
        logger.info("signing_key_replaced", extra=log.fields(kid=key.kid, algorithm=key.algorithm))
        return {"algorithm": key.algorithm, "kid": key.kid, "previous_until": iso(until)}

    async def banners(self, user: User) -> list[str]:
        """What ``user`` should know, on every page; an owner also hears of clients that wait."""
        waiting = await self._connections.banners() if user.role == "owner" else []
        return [*waiting, *await self.notices(user.user_id)]

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
            raise WrongUsage(problem)
        if role not in ("owner", "member"):
            raise WrongUsage("the role must be owner or member")
        password_hash = await self._passwords.hash(password)
        user_id, now = self._ambient.identifier(), self._ambient.now()
        user = await self._users.add(user_id, name, role, now, password_hash=password_hash)
        if user is None:
            raise OperationError(f"there is a user {name} already; give them another password with: user password")
        logger.info("user_added", extra=log.fields(user_id=user_id, name=name, role=role))
        return {"name": user.name, "role": user.role, "user_id": user.user_id}

    async def user_approve(self, name: str) -> Answer:
        user = await find_user(self._users, name)
        if user.role != "pending":
            raise OperationError(f"{user.name} is not waiting for approval: the role is {user.role}")
        return await self.user_role(name, "member")

    async def user_role(self, name: str, role: Role) -> Answer:
        user = await find_user(self._users, name)
        if role not in ("owner", "member", "pending"):
            raise WrongUsage("the role must be owner, member or pending")
        if not await self._users.set_role(user.user_id, role, self._ambient.now()):
            raise OperationError(f"{user.name} is the last owner; make somebody else an owner first")
        logger.info("user_role_set", extra=log.fields(user_id=user.user_id, role=role))
        return {"name": user.name, "role": role, "user_id": user.user_id}

    async def user_remove(self, name: str) -> Answer:
        user = await find_user(self._users, name)
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
        user = await find_user(self._users, name)
        if problem := password_rules.problem(password):
            raise WrongUsage(problem)
        await self._users.set_password(user.user_id, await self._passwords.hash(password), self._ambient.now())
        logger.info("password_set", extra=log.fields(user_id=user.user_id))
        return {"name": user.name, "user_id": user.user_id}

    # Connection attempts

    async def trace_list(self) -> list[Answer]:
        """The newest last."""
        labels, tools = await self._clients.labels(), self._has_tools()
        return [self._told(story, labels, tools) for story in await self._trace.stories()]

    async def trace_show(self, story_id: str) -> Answer:
        """One story, by the beginning of its id."""
        found = [story for story in await self._trace.stories() if story.story_id.startswith(story_id)]
        if len(found) != 1:
            raise OperationError(f"{len(found) or 'no'} connection attempts have an id that begins with {story_id}")
        steps = [{**step.model_dump(exclude_none=True), "at": iso(step.at)} for step in found[0].steps]
        return {**self._told(found[0], await self._clients.labels(), self._has_tools()), "steps": steps}

    def _has_tools(self) -> bool:
        """What is not known yet, counts as there."""
        return any(one["tools"] or one["state"] != "failed" for one in self._situation()["servers"])

    def _told(self, story: Story, labels: Mapping[str, str], tools: bool) -> Answer:
        """``labels``: what the owner calls clients, by their id."""
        verdict = judge(story, self._ambient.now(), tools=tools)
        return {
            "id": story.story_id,
            "began_at": iso(story.began_at),
            "last_at": iso(story.last_at),
            "client": labels.get(story.client_id or "") or _name(story),
            "client_id": story.client_id,
            "addresses": list(story.addresses),
            "user_agent": story.user_agent,
            "state": verdict.state,
            "verdict": verdict.text,
            "cause": verdict.cause,
            "fix": verdict.fix,
        }


def _name(story: Story) -> str | None:
    """What a client calls itself; else who it is by its id, or, it says, by what anybody can write there."""
    if story.client_name is not None:
        return story.client_name
    if story.client_id is not None:
        profile = client_profiles.of(story.client_id, ())
        return profile.name if profile else story.client_id
    profile = client_profiles.guess(None, story.user_agent)
    return f"{profile.name}, it says" if profile else None
