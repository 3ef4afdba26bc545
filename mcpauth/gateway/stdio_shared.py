"""A child of the legacy era that several MCP sessions have together: one user's, or everybody's.

Such a child knows of one client alone. What it says belongs to the one session that has a request in flight; where
that is none or one of several, a question is answered with an error and a log message is dropped. A question may come
long after what it is about: once a second user has said anything to a child, it may ask nobody any more.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple

from ..ambient import Ambient
from ..errors import BackendUnavailable, InvalidParameters, UnknownMethod
from . import frames
from .backend import ENDED
from .children import Place
from .exchange import Exchange, Pace, SharedPace
from .frames import Frame
from .log_message import LEVELS
from .modern.caller import Caller, Share, normal
from .ourselves import ABOUT_US
from .resource_updates import UPDATED, concerns
from .stdio_session import OPEN, StdioSession

# For the first of them.
GREETING = 60.0

INITIALIZED = frames.notification("notifications/initialized")
NOBODY = UnknownMethod("it is not known which client this is for")


class Joining(NamedTuple):
    """An initialize, and whose. Sessions have a child together when they are told the same by it."""

    subject: str
    initialize: Frame
    grant_id: str = ""  # Shared children are no single grant's.

    def key(self, share: Share) -> tuple[str | bytes, ...]:
        params = frames.members(self.initialize.get("params"))
        null = frames.raw(None)
        agreed = [normal(params.get(name, null)) for name in ("protocolVersion", "capabilities")]
        return (self.subject if share == "user" else "", *agreed)


class SharedChild(StdioSession):
    """``private`` when it is one user's. Where it is everybody's, a message may be about what somebody else asked."""

    def __init__(
        self, name: str, ambient: Ambient, place: Place, ended: Callable[[StdioSession], None], *, private: bool
    ) -> None:
        super().__init__(name, lambda frame: None, ambient, place, ended)
        self.greeting: Frame = {}
        self.private = private
        self._initialized = False  # it was told that its client is
        self._members: set[Member] = set()
        self._askers: dict[int | str, Member] = {}
        self._users: set[str] = set()  # who has said anything to it

    def _paced(self) -> Pace:
        return SharedPace(self._child.hold, self._child.go_on, self._in_flight.alone, lambda _: None)

    async def greet(self, initialize: Frame) -> None:
        """Raises BackendUnavailable. One that refuses has ended, with what it said as its ``greeting``."""
        if not self.private:
            initialize = _of_nobody(initialize)
        try:
            async with asyncio.timeout(GREETING):
                async for frame in self._send(initialize):
                    self.greeting = frame
        except BaseException as error:
            await self.close(f"the server {self._name} was not initialized")
            if isinstance(error, TimeoutError):
                raise BackendUnavailable(f"the server {self._name} did not answer in {GREETING:.0f} s") from None
            raise
        if "error" in self.greeting:
            await self.close(f"the server {self._name} refused to initialize")

    @property
    def busy(self) -> bool:
        follows = not self._retired and any(member.uris and not member.away for member in self._members)
        return bool(self._in_flight or self._askers) or follows

    @property
    def works(self) -> bool:
        return self.busy

    # What members do.

    def enter(self, member: "Member") -> None:
        self._members.add(member)

    async def leave(self, member: "Member", reason: str) -> None:
        """What it asked for is not wanted any more."""
        self._members.discard(member)
        for exchange in self._in_flight.of(member):
            number = self._in_flight.abandon(exchange)
            exchange.fail(BackendUnavailable(reason))
            self._tell(frames.notification("notifications/cancelled", {"requestId": number}))
        for request_id in [one for one, asker in self._askers.items() if asker is member]:
            del self._askers[request_id]
            self._tell(frames.failure(frames.raw(request_id), NOBODY))
        for uri in member.uris:
            if not (self.follows(uri) or self.over or self._retired):
                self._send(frames.request(0, "resources/unsubscribe", {"uri": uri}))

    def ask(self, member: "Member", frame: Frame) -> Exchange:
        self._refuse_retired()
        if not self._initialized:
            # What it asks for then, it asks of whoever is at work.
            self._initialized = True
            self._tell(INITIALIZED)
        exchange = self._send(frame)
        exchange.owner, exchange.whose = member, member.grant_id if self.private else member.user
        exchange.unread = member.unread
        self._users.add(member.user)
        return exchange

    async def tell(self, member: "Member", frame: Frame) -> None:
        """A notification of the member's, or its answer to a question that it was asked."""
        if "method" not in frame:
            request_id = frames.identifier(frame["id"])
            if self._askers.get(request_id) is not member:
                return
            del self._askers[request_id]
        match frames.text(frame.get("method")):
            case "notifications/cancelled":
                cancelled = self._in_flight.cancel(frame, member)
                if cancelled is None:
                    return
                _, frame = cancelled
            case "notifications/initialized":
                return  # It was told by us.
            case "notifications/roots/list_changed" if len(self._members) > 1:
                return
        self._users.add(member.user)
        self._tell(frame)
        await self._child.accept(frames.weight(frame))

    def follows(self, uri: str) -> bool:
        return any(uri in member.uris for member in self._members)

    def most_verbose(self) -> str:
        return LEVELS[min(LEVELS.index(member.level) for member in self._members if member.level is not None)]

    # What the child says.

    def _deliver(self, frame: Frame) -> bool:
        method = frames.text(frame.get("method"))
        if "method" not in frame or method == "notifications/progress":
            return self._in_flight.heard(frame, None)
        if frames.is_ping(frame):
            self._tell(frames.result(frame["id"], {}))
        elif "id" in frame:
            self._asks(frame)
        elif method == "notifications/cancelled":
            self._asks_no_more(frame)
        elif method == UPDATED:
            uri = frames.text(frames.members(frame.get("params")).get("uri")) or ""
            for member in self._members:
                if member.wants(uri):
                    member.hear(frame)
        elif method is not None and method.endswith("/list_changed"):
            for member in self._members:
                member.hear(frame)
        elif self.private and (only := self._only()) is not None and only.reads(frame):
            return self._pass_on(only, frame)
        return False

    def _only(self) -> "Member | None":
        """Whose it must be: the one with requests in flight."""
        owners = self._in_flight.owners()
        member = owners.pop() if len(owners) == 1 else None
        return member if isinstance(member, Member) and self._users <= {member.user} else None

    def _asks(self, frame: Frame) -> None:
        member = self._only()
        if member is None or len(self._askers) >= OPEN:
            self._tell(frames.failure(frame["id"], NOBODY))
        else:
            self._askers[frames.identifier(frame["id"])] = member
            self._pass_on(member, frame)

    def _asks_no_more(self, frame: Frame) -> None:
        request_id = frames.members(frame.get("params")).get("requestId")
        member = None if request_id is None else self._askers.pop(frames.identifier(request_id), None)
        if member is not None:
            member.hear(frame)

    def _pass_on(self, member: "Member", frame: Frame) -> bool:
        """Whether it is about a request of the member's."""
        exchanges = self._in_flight.of(member)
        # One whose reader is behind takes no more, and a question must not be lost.
        if len(exchanges) == 1 and not exchanges[0].slow:
            exchanges[0].put(frame)
            return True
        member.hear(frame)
        return False


class Member:
    """One MCP session's part of a shared child, from its initialize on."""

    def __init__(
        self, listener: Callable[[Frame], None], caller: Caller, join: Callable[[Joining], Awaitable[SharedChild]]
    ) -> None:
        self.user, self.grant_id, self.unread = caller.subject, caller.grant_id, caller.unread
        self.uris: set[str] = set()
        self.away = False  # it has not been heard of for long
        self.level: str | None = None
        self._listener, self._join = listener, join
        self._child: SharedChild | None = None
        self._closed = False

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        self.away = False
        method = frames.text(frame["method"])
        if method == "initialize":
            return self._initialize(frame)
        if self._child is None:
            raise BackendUnavailable("begin with initialize")
        if not self._child.over:
            params = frames.members(frame.get("params"))
            if method == "logging/setLevel":
                return self._set_level(self._child, frame, params)
            if method in ("resources/subscribe", "resources/unsubscribe"):
                return self._subscribe(self._child, frame, params, method == "resources/subscribe")
        return self._child.ask(self, frame)

    async def notify(self, frame: Frame) -> None:
        self.away = False
        if self._child is not None:
            await self._child.tell(self, frame)

    async def close(self, reason: str = ENDED) -> None:
        self._closed = True
        if self._child is not None:
            await self._child.leave(self, reason)

    @property
    def runs(self) -> bool:
        return self._child is not None and self._child.runs

    @property
    def serves(self) -> bool:
        return self._child is not None and self._child.serves

    def client_is_away(self) -> None:
        self.away = True

    def hear(self, frame: Frame) -> None:
        self._listener(dict(frame))

    def wants(self, uri: str) -> bool:
        """Of a resource that changed, or of a part of one."""
        return concerns(uri, self.uris)

    def reads(self, frame: Frame) -> bool:
        """Whether it is no log message, or one of a level that was asked for."""
        if self.level is None or frames.text(frame["method"]) != "notifications/message":
            return True
        level = frames.text(frames.members(frame.get("params")).get("level"))
        return level not in LEVELS or LEVELS.index(level) >= LEVELS.index(self.level)

    async def _initialize(self, frame: Frame) -> AsyncIterator[Frame]:
        child = await self._join(Joining(self.user, frame))
        if not self._closed:
            self._child = child
            child.enter(self)
        yield {**child.greeting, "id": frame["id"]}

    def _set_level(self, child: SharedChild, frame: Frame, params: Frame) -> AsyncIterator[Frame]:
        level = frames.text(params.get("level"))
        if level not in LEVELS:
            return _reply(frames.failure(frame["id"], InvalidParameters("unknown level")))
        self.level = level
        if not child.private:
            return _reply(frames.result(frame["id"], {}))
        level = child.most_verbose()
        return child.ask(self, {**frame, "params": frames.raw({**params, "level": level})})

    def _subscribe(self, child: SharedChild, frame: Frame, params: Frame, begins: bool) -> AsyncIterator[Frame]:
        uri = frames.text(params.get("uri"))
        if uri is None:
            return child.ask(self, frame)
        self.uris.discard(uri)
        if begins:
            if len(self.uris) >= OPEN:
                return _reply(frames.failure(frame["id"], InvalidParameters(f"{OPEN} resources are followed already")))
            exchange = child.ask(self, frame)
            self.uris.add(uri)
            return exchange
        if child.follows(uri):
            return _reply(frames.result(frame["id"], {}))
        return child.ask(self, frame)


def _of_nobody(initialize: Frame) -> Frame:
    """The same, without the name of whoever came first: what is said to it, others will read."""
    params = frames.members(initialize.get("params"))
    said = {key: params[key] for key in ("protocolVersion", "capabilities") if key in params}
    return {**initialize, "params": frames.raw({**said, "clientInfo": ABOUT_US})}


async def _reply(frame: Frame) -> AsyncIterator[Frame]:
    yield frame
