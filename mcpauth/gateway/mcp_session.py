"""One legacy MCP session: a client's Mcp-Session-Id, and its own session with each backend it uses."""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from .. import log
from ..errors import (
    BackendUnavailable,
    GatewayError,
    InitializeRefused,
    InvalidMessage,
    RequestCancelled,
    UnknownSession,
)
from . import frames, log_message
from .backend import ENDED, BackendSession
from .catalogue import Catalogue
from .event_log import EventLog, Instead, Reader, answered
from .frames import Frame
from .handshake import SET_LEVEL, SUBSCRIBE, Handshake
from .listing import LIST_CHANGED
from .load import Unread
from .mailbox import Mailbox, Stream
from .modern.caller import Caller
from .resource_updates import UPDATED
from .served import Served
from .server_requests import ServerRequests

logger = logging.getLogger(__name__)

# For a backend that was heard of to start and answer initialize.
OPENING = 60.0
# For a backend to take what it is told beside the client's requests.
TELLING = 5.0
# For a backend to ask what it needs from the beginning, for the client to answer, and to act by that.
ASKING, ANSWERING, ACTING = 1.0, 2.0, 0.2
# Requests of a client that may be under way: they go on when it leaves, so nothing else bounds them. As many more
# messages may be on their way beside them: it can still cancel, and answer what it is asked.
UNDER_WAY = 256


class Link:
    """A backend's side of the session."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session: BackendSession
        self.greeting: Frame = {}  # what it answered to initialize
        self.initialized = False  # it was told that the client is
        self.asked = False  # it has asked the client for something

    @property
    def logs(self) -> bool:
        """Whether it takes a log level."""
        result = frames.members(self.greeting.get("result"))
        return "logging" in frames.members(result.get("capabilities"))


class McpSession:
    """``keep`` is called when there is more to remember, ``lost`` when the client must begin anew."""

    def __init__(
        self,
        session_hash: str,
        owner: tuple[str, str],
        grant_id: str,
        endpoint: str | None,
        handshake: Handshake,
        events: EventLog,
        catalogue: Catalogue,
        unread: Unread,
        *,
        keep: Callable[["McpSession"], object],
        lost: Callable[["McpSession"], None],
    ) -> None:
        self.session_hash, self.owner, self.grant_id, self.endpoint = session_hash, owner, grant_id, endpoint
        self.session_id: str | None = None  # of one from before a restart, once its client has come back
        self.unread = unread
        self._caller = Caller(owner[0], grant_id, unread, frames.raw({}))
        self.used_at = 0
        self.handshake, self.events = handshake, events
        self.mailbox = Mailbox(endpoint, events)
        self._catalogue, self._keep, self._lost = catalogue, keep, lost
        self._requests: ServerRequests[Link] = ServerRequests()
        self._links: dict[str, Link] = {}
        self._former: weakref.WeakSet[BackendSession] = weakref.WeakSet()  # they may still end what they began
        self._opening: dict[str, asyncio.Task[Link]] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._opened: set[str] = set()  # the backends that it had a session with
        self._under_way: weakref.WeakKeyDictionary[object, None] = weakref.WeakKeyDictionary()  # the newest last
        self._unsent: list[Frame] = []  # requests that wait until there is a session with the backend
        self._ended: GatewayError | None = None

    def linked(self, backend: str) -> bool:
        """Whether there is a session with the backend, or soon will be; one that would start a process is none."""
        link = self._links.get(backend)
        return backend in self._opening or (link is not None and link.session.runs)

    def unfollowed(self) -> list[str]:
        """The backends that should tell of what the client follows, and have no session to do that in."""
        serving = {name for name, link in self._links.items() if link.session.serves} | self._opening.keys()
        return [name for name in dict.fromkeys(self.subscribed.values()) if name not in serving]

    def is_left(self) -> None:
        """Nobody listens, and nothing has come for long."""
        for link in self._links.values():
            link.session.client_is_away()

    def begin(self, work: object, *, is_request: bool) -> None:
        """Raises BackendUnavailable when the client has as much under way as it may have."""
        if work not in self._under_way and len(self._under_way) >= (UNDER_WAY if is_request else 2 * UNDER_WAY):
            raise BackendUnavailable("too many messages of this MCP session are under way; wait for their answers")
        self._under_way[work] = None

    def end(self, work: object) -> None:
        self._under_way.pop(work, None)

    async def ready(self, served: Served) -> None:
        """Until it is known what the backend speaks. Raises what stands against it, or has ended the session."""
        waiting = asyncio.create_task(self._catalogue.ready(served.name))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        try:
            await waiting
        except asyncio.CancelledError:
            if self._ended is not None:
                raise self._ended from None
            raise

    async def greet(self, served: Served) -> Frame:
        """What the backend answers to initialize. That the session is initialized, the client tells it."""
        greeting = (await self._shared(served, first=True)).greeting
        if "error" in greeting:
            self._catalogue.refresh(served.name)
        return greeting

    async def send(self, served: Served, frame: Frame) -> tuple[Link, AsyncIterator[Frame]]:
        """Who has the request now, and what comes back. A backend session that was over is opened again."""
        link = self._links.get(served.name) or await self._link_for(served, frame)
        try:
            return link, link.session.request(frame)
        except BackendUnavailable:
            if self._links.get(served.name) is link:
                self._part(served.name)
        link = self._links.get(served.name) or await self._link_for(served, frame)
        return link, link.session.request(frame)

    async def revive(self, served: Served) -> None:
        """What the client follows is followed for it again. That it may have changed meanwhile is told."""
        if served.name not in self.unfollowed():
            return
        self._part(served.name)
        try:
            await self._link(served)
        except GatewayError as error:
            logger.info("not_revived", extra=log.bounded(backend=served.name, reason=error.message))
            return
        for uri, backend in self.subscribed.items():
            if backend == served.name:
                self.mailbox.put(frames.encode(frames.notification(UPDATED, {"uri": uri})))

    def listen(self, last_event_id: str | None) -> Reader:
        """What the client is told outside of its requests, or the rest of the stream that it has lost."""
        found = None if last_event_id is None else self.events.find(last_event_id)
        if found is None and last_event_id is not None and (answers := answered(last_event_id)) is not None:
            return Instead(frames.encode(_lost(msgspec.Raw(answers))))
        if found is None or self.mailbox.sent(found[0]):
            return self.mailbox.listen(self.handshake.version, found)
        stream, number = found
        return stream.resume(number)

    # What a new session with a backend must hear too.

    @property
    def subscribed(self) -> Mapping[str, str]:
        """The backend of each resource that the client follows."""
        return self.handshake.subscribed

    def follow(self, uri: str, backend: str) -> None:
        self.handshake.subscribed[uri] = backend
        self._keep(self)

    def leave(self, uri: str) -> str | None:
        """Who had it."""
        backend = self.handshake.subscribed.pop(uri, None)
        if backend is not None:
            self._keep(self)
        return backend

    def wants_logs(self, level: str) -> None:
        if self.handshake.log_level != level:
            self.handshake.log_level = level
            self._keep(self)

    def changed(self) -> None:
        """What the client knows of the lists may not be so any more."""
        for frame in self.handshake.changes():
            self.mailbox.put(frames.encode(frame))

    def tell(self, frame: Frame) -> None:
        """What belongs to no request, or cannot be told on its stream.

        Where nobody listens, questions go onto the newest stream that waits, or the next one that there is.
        """
        urgent = "id" in frame or frames.text(frame["method"]) == "notifications/cancelled"
        self.mailbox.put(frames.encode(frame), urgent=urgent)
        if urgent and self.mailbox.unheard:
            for work in reversed(list(self._under_way)):
                if isinstance(work, Stream) and work.interrupt():
                    return

    def outward(self, link: Link, frame: Frame) -> Frame | None:
        """What the client gets of a request or notification of the backend's."""
        if "id" in frame:
            link.asked = True
            return self._requests.ask(link, frame)
        method = frames.text(frame["method"])
        if method == "notifications/cancelled":
            return self._requests.take_back(link, frame)
        if method in LIST_CHANGED:
            self._catalogue.refresh(link.name)
            if self.endpoint is None:
                return None  # The client is told when the merged list has changed.
        if self.endpoint is not None:
            return frame
        if method == UPDATED and not self._may_update(link, frame):
            return None
        return log_message.named(link.name, frame)

    async def set_level(self, level: str, frame: Frame) -> None:
        """At /mcp: of what every backend logs to the client, also of those that are opened later."""
        self.wants_logs(level)
        await asyncio.gather(*(self._tell(link, frame) for link in self._links.values() if link.logs))

    async def notify(self, frame: Frame) -> None:
        """Pass a notification on to whom it concerns: the one backend that asked, else all."""
        if frames.text(frame["method"]) == "notifications/progress":
            if (asked := self._requests.progress(frame)) is not None:
                await asked[0].session.notify(asked[1])
            return
        if frames.text(frame["method"]) == "notifications/cancelled":
            wanted = frames.members(frame.get("params")).get("requestId")
            self._unsent = [one for one in self._unsent if wanted is None or not _same_id(one["id"], wanted)]
            for session in list(self._former):
                await session.notify(frame)
        initialized = frames.text(frame["method"]) == "notifications/initialized"
        for link in list(self._links.values()):
            if not (initialized and link.initialized):
                link.initialized = True
                await link.session.notify(frame)

    async def answer(self, frame: Frame) -> None:
        """Pass the client's answer on to the backend that asked."""
        if (asked := self._requests.answer(frame)) is not None:
            await asked[0].session.notify(asked[1])

    def hang_up(self) -> None:
        """End every stream that is none of a request."""
        self.mailbox.close()
        self.events.close()

    async def close(self, error: GatewayError | None = None) -> None:
        """Nothing is delivered from here on, and the backends' sessions end, all at once; who waits gets ``error``."""
        self._ended = error or UnknownSession(ENDED)
        self.hang_up()
        for opening in (*self._opening.values(), *self._waiting):
            opening.cancel()
        await asyncio.gather(
            *(link.session.close(self._ended.message) for link in self._links.values()),
            *(session.close(self._ended.message) for session in self._former),
            *self._opening.values(),
            return_exceptions=True,
        )

    def _part(self, backend: str) -> None:
        """From a session that takes no more requests."""
        link = self._links.pop(backend, None)
        if link is not None:
            self._former.add(link.session)

    async def _link(self, served: Served) -> Link:
        try:
            return await self._shared(served, first=False)
        except UnknownSession:
            if self._ended is None:
                self._lost(self)
            raise

    async def _link_for(self, served: Served, frame: Frame) -> Link:
        """Raises RequestCancelled when the client has cancelled the request by then."""
        self._unsent.append(frame)
        try:
            link = await self._link(served)
            if not any(one is frame for one in self._unsent):
                raise RequestCancelled("the request was cancelled")
            return link
        finally:
            self._unsent = [one for one in self._unsent if one is not frame]

    async def _shared(self, served: Served, *, first: bool) -> Link:
        """A new session with the backend; whoever comes while it is being opened waits for the same."""
        opening = self._opening.get(served.name)
        if opening is None:
            if self._ended is not None:
                raise self._ended
            opening = asyncio.create_task(self._open(served, first))
            self._opening[served.name] = opening
            opening.add_done_callback(lambda task: self._has_opened(served.name, task))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled() and self._ended is not None:
                raise self._ended from None
            raise

    def _has_opened(self, backend: str, opening: asyncio.Task[Link]) -> None:
        del self._opening[backend]
        if not opening.cancelled():
            opening.exception()  # Whoever waited for it may have left.

    async def _open(self, served: Served, first: bool) -> Link:
        link = Link(served.name)
        try:
            await self._catalogue.ready(served.name)
            async with asyncio.timeout(OPENING):
                link.session = await served.open(lambda frame: self._heard(link, frame), self._caller)
                try:
                    link.greeting = await last(
                        link.session.request(self.handshake.initialize), lambda frame: self._heard(link, frame)
                    )
                    if not first:
                        await self._go_on(link)
                except BaseException:
                    await link.session.close()
                    raise
        except TimeoutError:
            raise BackendUnavailable(f"the server {served.name} did not answer in {OPENING:.0f} seconds") from None
        except BackendUnavailable as error:
            logger.warning("backend_unavailable", extra=log.bounded(backend=served.name, reason=error.message))
            if isinstance(error, InitializeRefused):
                await self._catalogue.doubt(served.name)
            raise
        self._links[served.name] = link
        if served.name in self._opened:
            self.changed()
        self._opened.add(served.name)
        return link

    async def _go_on(self, link: Link) -> None:
        """Bring the new session to where the client believes it is. Raises UnknownSession where that cannot be."""
        if "error" in link.greeting:
            raise InitializeRefused(link.name)
        if self.endpoint is not None and not self.handshake.agrees(frames.members(link.greeting.get("result"))):
            self._catalogue.differs(link.name)
            raise UnknownSession(f"the server {link.name} is not what it was: initialize again")
        link.initialized = True
        await link.session.notify(frames.notification("notifications/initialized"))
        if self.mailbox.listened_to and "roots" in frames.members(self.handshake.declared):
            await self._let_it_ask(link)
        if self.handshake.log_level is not None and link.logs:
            await self._tell(link, frames.request(0, SET_LEVEL, {"level": self.handshake.log_level}))
        for number, (uri, backend) in enumerate(self.subscribed.items(), 1):
            if backend == link.name:
                await self._tell(link, frames.request(number, SUBSCRIBE, {"uri": uri}))

    async def _let_it_ask(self, link: Link) -> None:
        """Some ask for the roots when they are initialized, and can do nothing before they have them.

        What a backend asks at once, it has asked when it answers a ping.
        """
        await self._tell(link, frames.request(0, "ping", {}), ASKING)
        if link.asked:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWERING):
                    await self._requests.answered(link)
            await asyncio.sleep(ACTING)

    async def _tell(self, link: Link, frame: Frame, patience: float = TELLING) -> None:
        """A request whose answer makes no difference to the client."""
        try:
            async with asyncio.timeout(patience):
                await last(link.session.request(frame), lambda aside: self._heard(link, aside))
        except BackendUnavailable:
            pass
        except TimeoutError:
            # What waits for an answer for ever would be taken for what the backend's questions are about.
            await link.session.notify(frames.notification("notifications/cancelled", {"requestId": frame["id"]}))

    def _may_update(self, link: Link, frame: Frame) -> bool:
        """No backend speaks of what the client has subscribed to with another."""
        uri = frames.text(frames.members(frame.get("params")).get("uri"))
        return uri is not None and self.subscribed.get(uri, link.name) == link.name

    def _heard(self, link: Link, frame: Frame) -> None:
        """Of a backend, outside of any request."""
        mapped = self.outward(link, frame)
        if mapped is not None:
            self.tell(mapped)


def _lost(request_id: msgspec.Raw) -> Frame:
    """To who comes back for an answer that nobody has. Whether the request was run, nobody can say."""
    with contextlib.suppress(InvalidMessage):
        frames.identifier(request_id)
        error = BackendUnavailable("the answer is lost: it was not come back for in time, or mcpauth was restarted")
        return frames.failure(request_id, error)
    return frames.failure(None, InvalidMessage("Last-Event-ID is none of ours"))


def _same_id(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return frames.identifier(one) == frames.identifier(other)


async def last(answers: AsyncIterator[Frame], aside: Callable[[Frame], None]) -> Frame:
    """The response; what comes before it goes aside."""
    response: Frame | None = None
    async for frame in answers:
        if "method" in frame:
            aside(frame)
        else:
            response = frame
    if response is None:
        raise BackendUnavailable("the request ended without an answer")
    return response
