"""What the gateway gives the web for one message."""

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, Protocol

import msgspec

from .. import log
from ..errors import (
    BackendUnavailable,
    GatewayError,
    InsufficientScope,
    NotAllowed,
    RequestCancelled,
    SessionLost,
    UnknownSession,
)
from . import frames, tools
from .event_log import EventStream
from .exchange import Exchange, Interrupted
from .frames import Frame
from .links import Link
from .mcp_session import McpSession
from .served import Served

logger = logging.getLogger(__name__)


class Replies:
    """A request on its way: the encoded frames that belong to it, the response last of all.

    To be read to the end, even when the client is gone: a legacy request is not cancelled by that. The ``others`` are
    asked in turn, for as long as the answer is an error.
    """

    def __init__(
        self,
        session: McpSession,
        served: Served,
        frame: Frame,
        change: Callable[[Frame], Frame] | None = None,
        others: Iterable[Served] = (),
    ) -> None:
        self.finished = False  # what was given last is the response
        self.streams = True  # False: the client can take only the response here, the rest goes to its mailbox
        self.code: int | None = None  # in this era HTTP says nothing of errors
        self.error: GatewayError | None = None  # but of a session that is none any more
        self.served = served  # who has the request, or had it last
        self.change = change  # what is made of the response
        self.stream: EventStream | None = None  # where a client that was cut off finds the rest
        self._session, self._frame, self._others = session, frame, list(others)
        self._link: Link
        self._source: AsyncIterator[Frame] | None = None
        self._left = False
        self._again = False  # it was sent in a session that was over, and is sent in another

    def __aiter__(self) -> "Replies":
        return self

    async def __anext__(self) -> bytes:
        if self.finished:
            raise StopAsyncIteration
        while True:
            frame = await self._next()
            if frame is None:
                urgent = self._session.mailbox.take_urgent()
                if urgent is not None:
                    return urgent
                continue
            if "method" not in frame:
                if "error" in frame and self._others:
                    self.served, self._source, self._again = self._others.pop(0), None, False
                    continue
                self.finished = True
                self._session.end(self)
                message = frames.encode(frame if self.change is None else self.change(frame))
                return self._session.unread.fitting(message, self._frame["id"])
            outward = self._session.outward(self._link, frame)
            if outward is not None:
                if self.streams:
                    return frames.encode(outward)
                self._session.tell(outward)

    def begin_stream(self) -> EventStream | None:
        """What comes from now on is sent as events."""
        self.stream = self._session.events.begin(self._session.handshake.version, bytes(self._frame["id"]))
        return self.stream

    def leave(self) -> None:
        """The client is gone, which does not cancel the request. What it can come back for waits for it there."""
        self._left, self.streams = True, self.stream is not None

    def interrupt(self) -> bool:
        return self._is_read and isinstance(self._source, Exchange) and self._source.interrupt()

    @property
    def _is_read(self) -> bool:
        """Whether the client hears here what it is asked."""
        return self.streams and (not self._left or (self.stream is not None and self.stream.resumed))

    @property
    def _is_idle(self) -> bool:
        return isinstance(self._source, Exchange) and self._source.idle

    async def _next(self) -> Frame | None:
        """None when the client has something urgent to hear, and nothing else is there yet."""
        try:
            if self._source is None:
                self._session.begin(self, is_request=True)
                self._link, self._source = await self._session.send(self.served, self._frame)
            if self._session.mailbox.unheard and self._is_read and self._is_idle:
                return None
            frame = await anext(self._source)
            if "method" not in frame:
                # To its end, so that a generator is not left half way.
                await anext(self._source, None)
            return frame
        except Interrupted:
            return None
        except SessionLost as error:
            if self._again:
                return self._failed(error)
            self._again, self._source = True, None
            return await self._next()
        except UnknownSession as error:
            self.error = error
            self._others.clear()
            return frames.failure(self._frame["id"], error)
        except GatewayError as error:
            return self._failed(error)
        except StopAsyncIteration:
            return self._failed(BackendUnavailable(f"the server {self.served.name} gave no answer"))
        except Exception:
            logger.exception("request_failed", extra=log.fields(backend=self.served.name))
            return self._failed(GatewayError("unexpected error, see the server's log"))

    def _failed(self, error: GatewayError) -> Frame:
        to = self._frame["id"]
        if self._source is not None or isinstance(error, RequestCancelled):
            self._others.clear()  # It was cancelled, or the server broke over it: that is no answer.
        elif frames.text(self._frame["method"]) == "tools/call":
            return tools.error(to, error.message)  # Nothing was called: as with a tool that is not there.
        return frames.failure(to, error)


class Messages(Protocol):
    """What comes back for a request: encoded messages, the response last of all; to be read to the end."""

    finished: bool  # what was given last is the response
    streams: bool  # False: the client can take only the response
    code: int | None  # the response's, when it is an error that HTTP repeats
    error: GatewayError | None  # that the response is, where its kind makes the status

    def __aiter__(self) -> "Messages": ...

    async def __anext__(self) -> bytes: ...

    def leave(self) -> None:
        """The client is gone."""
        ...


class Answer:
    """One of: ``reply``, a whole response; ``replies``, to be read; ``pending``, where it is not known yet which of
    them; none, the message was accepted.

    ``error`` says of which kind the refusal in ``reply`` is, ``code`` that of a modern one, ``session_id`` which
    MCP session was begun.
    """

    __slots__ = ("code", "error", "pending", "replies", "reply", "session_id")

    def __init__(
        self,
        *,
        reply: bytes | None = None,
        replies: Messages | None = None,
        pending: "Pending | None" = None,
        error: GatewayError | None = None,
        code: int | None = None,
        session_id: str | None = None,
    ) -> None:
        self.reply, self.replies, self.pending = reply, replies, pending
        self.error, self.code, self.session_id = error, code, session_id


class Pending:
    """The answer to a request that waits for a server to say what it is; to be asked for once, by whoever got this."""

    def __init__(self, request_id: msgspec.Raw | None, answering: Coroutine[Any, Any, Answer]) -> None:
        self._request_id, self._answering = request_id, answering

    async def answer(self) -> Answer:
        """Raises InsufficientScope."""
        return await self._answering

    def refused(self, error: InsufficientScope) -> Answer:
        """Where it is too late for a status."""
        return refused(self._request_id, NotAllowed(error.description))


ACCEPTED = Answer()


def refused(request_id: msgspec.Raw | None, error: GatewayError, *, modern: bool = False) -> Answer:
    code = error.code if modern else None
    return Answer(reply=frames.encode(frames.failure(request_id, error)), error=error, code=code)
