"""One legacy MCP session: a client's Mcp-Session-Id, and its own session with each backend it uses."""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import Callable, Mapping

import msgspec

from .. import log
from ..errors import (
    BackendUnavailable,
    GatewayError,
    InvalidMessage,
    UnknownSession,
)
from . import frames, log_message
from .backend import ENDED
from .catalogue import Catalogue
from .event_log import EventLog, Instead, Reader, answered
from .frames import Frame
from .handshake import Handshake
from .links import Link, Links
from .listing import LIST_CHANGED
from .load import Unread
from .mailbox import Mailbox, Stream
from .modern.caller import Caller
from .resource_updates import UPDATED
from .served import Served
from .server_requests import ServerRequests

logger = logging.getLogger(__name__)

# Requests of a client that may be under way: they go on when it leaves, so nothing else bounds them. As many more
# messages may be on their way beside them: it can still cancel, and answer what it is asked.
UNDER_WAY = 256


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
        self.used_at = 0
        self.handshake, self.events = handshake, events
        self.mailbox = Mailbox(endpoint, events)
        self._catalogue, self._keep = catalogue, keep
        self._requests: ServerRequests[Link] = ServerRequests()
        self._links = Links(
            Caller(owner[0], grant_id, unread, frames.raw({})),
            endpoint,
            handshake,
            catalogue,
            self._requests,
            heard=self._heard,
            listens=lambda: self.mailbox.listened_to,
            renewed=self.changed,
            lost=lambda: lost(self),
        )
        self.linked, self.ready, self.send = self._links.has, self._links.ready, self._links.send
        self._under_way: weakref.WeakKeyDictionary[object, None] = weakref.WeakKeyDictionary()  # the newest last

    def unfollowed(self) -> list[str]:
        """The backends that should tell of what the client follows, and have no session to do that in."""
        serving = self._links.serving
        return [name for name in dict.fromkeys(self.subscribed.values()) if name not in serving]

    def is_left(self) -> None:
        """Nobody listens, and nothing has come for long."""
        for link in self._links:
            link.session.client_is_away()

    def begin(self, work: object, *, is_request: bool) -> None:
        """Raises BackendUnavailable when the client has as much under way as it may have."""
        if work not in self._under_way and len(self._under_way) >= (UNDER_WAY if is_request else 2 * UNDER_WAY):
            raise BackendUnavailable("too many messages of this MCP session are under way; wait for their answers")
        self._under_way[work] = None

    def end(self, work: object) -> None:
        self._under_way.pop(work, None)

    async def greet(self, served: Served) -> Frame:
        """What the backend answers to initialize. That the session is initialized, the client tells it."""
        greeting = (await self._links.open(served, first=True)).greeting
        if "error" in greeting:
            self._catalogue.refresh(served.name)
        return greeting

    async def revive(self, served: Served) -> None:
        """What the client follows is followed for it again. That it may have changed meanwhile is told."""
        if served.name not in self.unfollowed():
            return
        try:
            await self._links.renew(served)
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
        await asyncio.gather(*(self._links.tell(link, frame) for link in self._links if link.logs))

    async def notify(self, frame: Frame) -> None:
        """Pass a notification on to whom it concerns: the one backend that asked, else all."""
        if frames.text(frame["method"]) == "notifications/progress":
            if (asked := self._requests.progress(frame)) is not None:
                await asked[0].session.notify(asked[1])
            return
        if frames.text(frame["method"]) == "notifications/cancelled":
            self._links.take_back(frames.members(frame.get("params")).get("requestId"))
            for session in self._links.former:
                await session.notify(frame)
        initialized = frames.text(frame["method"]) == "notifications/initialized"
        for link in self._links:
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
        self.hang_up()
        await self._links.close(error or UnknownSession(ENDED))

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
