"""Every operation by its name; those on the server as a whole, and on connection attempts, are here."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from .. import log
from ..ambient import Ambient, iso
from ..errors import OperationError
from ..models.findings import Finding
from ..models.records import Story, User
from ..oauth import client_profiles
from ..oauth.access_token import AccessTokens
from ..oauth.endings import judge
from ..oauth.signing_keys import SigningKeys
from ..oauth.trace import Trace
from ..oauth.ways_in import NAMES, WaysIn
from ..presence import Presence
from ..store.clients import ClientStore
from ..store.notices import NoticeStore
from ..store.sessions import SessionStore
from ..store.users import UserStore
from .clients import ClientOperations
from .sessions import SessionOperations
from .users import UserOperations
from .values import Answer, Operation

logger = logging.getLogger(__name__)

NOTICES_FOR = 14 * 86400

NOTICES = {
    "refresh_token_reused": "A refresh token of {about} was used twice: somebody may have copied it. "
    "Its access was ended; connect {about} again.",
}


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
        of_users: UserOperations,
        of_clients: ClientOperations,
        of_sessions: SessionOperations,
        notices: NoticeStore,
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
        self._users, self._clients, self._sessions = users, clients, sessions
        self._of_clients, self._notices, self._ways_in = of_clients, notices, ways_in
        self._trace, self._presence, self._look = trace, presence, look
        self._access_tokens, self._signing_keys = access_tokens, signing_keys
        self.summary, self._situation, self._ambient = summary, situation, ambient
        self._by_name: dict[str, Operation] = {
            "config": self.config,
            "status": self.status,
            "presence": self.presence,
            "rotate-keys": self.rotate_keys,
            **of_users.by_name,
            **of_clients.by_name,
            **of_sessions.by_name,
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
            "waiting": await self._of_clients.waiting(),
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
        waiting = await self._of_clients.banners() if user.role == "owner" else []
        return [*waiting, *await self.notices(user.user_id)]

    async def notices(self, user_id: str | None = None) -> list[str]:
        """What the owner should know, of the last two weeks, in words."""
        since = self._ambient.now() - NOTICES_FOR
        return [
            f"{iso(one.created_at)}  {NOTICES[one.kind].format(about=one.about)}"
            for one in await self._notices.list_since(since, user_id)
        ]

    # Connection attempts

    async def trace_list(self) -> list[Answer]:
        """The newest last."""
        labels, servers = await self._clients.labels(), self._situation()["servers"]
        return [self._told(story, labels, servers) for story in await self._trace.stories()]

    async def trace_show(self, story_id: str) -> Answer:
        """One story, by the beginning of its id."""
        found = [story for story in await self._trace.stories() if story.story_id.startswith(story_id)]
        if len(found) != 1:
            raise OperationError(f"{len(found) or 'no'} connection attempts have an id that begins with {story_id}")
        steps = [{**step.model_dump(exclude_none=True), "at": iso(step.at)} for step in found[0].steps]
        return {**self._told(found[0], await self._clients.labels(), self._situation()["servers"]), "steps": steps}

    def _told(self, story: Story, labels: Mapping[str, str], servers: list[Answer]) -> Answer:
        """``labels``: what the owner calls clients, by their id."""
        # What is not known yet, counts as there.
        tools = any(one["tools"] or one["state"] != "failed" for one in servers)
        verdict = judge(story, self._ambient.now(), tools=tools, ticked=self._is_ticked(story, servers))
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

    def _is_ticked(self, story: Story, servers: list[Answer]) -> bool:
        """Whether something that is there was, for the connection that came of the story, if that is known."""
        live = self._sessions.find(story.sessions[-1], self._ambient.now()) if story.sessions else None
        ticked = None if live is None or live.grant is None else live.grant.servers
        if ticked is None:
            return True
        theirs = [(one, ticked[one["name"]]) for one in servers if one["name"] in ticked]
        return any(
            tools is None or not tools.isdisjoint(one["tools"]) or (tools and one["state"] != "ok")
            for one, tools in theirs
        )


def _name(story: Story) -> str | None:
    """What a client calls itself; else who it is by its id, or, it says, by what anybody can write there."""
    if story.client_name is not None:
        return story.client_name
    if story.client_id is not None:
        profile = client_profiles.of(story.client_id, ())
        return profile.name if profile else story.client_id
    profile = client_profiles.guess(None, story.user_agent)
    return f"{profile.name}, it says" if profile else None
