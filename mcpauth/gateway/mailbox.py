"""What a client is told outside of its requests: kept for a while, and read over GET streams."""

import logging
from collections import deque
from typing import NamedTuple, Protocol, runtime_checkable

from .. import log
from .event_log import Event, EventLog, EventStream, Reader

logger = logging.getLogger(__name__)

MESSAGES = 256
BYTES = 4 * 1024 * 1024
# Streams of one session, of which only the newest is told anything: the others are mostly dead.
LISTENERS = 8


class Mail(NamedTuple):
    message: bytes
    urgent: bool


@runtime_checkable
class Stream(Protocol):
    """The answer to a request of the client's, while it is being given."""

    def interrupt(self) -> bool:
        """Whether it waits for something to say, and takes what is urgent now."""
        ...


class Mailbox:
    """Each message goes to one listener, the newest: an older stream may be dead without our knowing.

    Many clients never listen. What is ``urgent``, as somebody waits for what they say to it, can then be taken out for
    the stream of a request.
    """

    def __init__(self, backend: str | None, events: EventLog) -> None:
        self._backend, self._events = backend, events
        self._stream: EventStream | None = None  # of what was read, where it can be asked for again
        self._mail: deque[Mail] = deque()
        self._size = 0
        self._urgent = 0  # how many of them are
        self._closed = False
        self._overflowed = False
        self._listeners: list[Listener] = []

    @property
    def listened_to(self) -> bool:
        return bool(self._listeners)

    @property
    def unheard(self) -> bool:
        """Whether there is something urgent that nobody listens for."""
        return self._urgent > 0 and not self._listeners

    def put(self, message: bytes, *, urgent: bool = False) -> None:
        if self._closed:
            return
        self._mail.append(Mail(message, urgent))
        self._size += len(message)
        self._urgent += urgent
        while len(self._mail) > MESSAGES or (self._size > BYTES and len(self._mail) > 1):
            self._take(self._mail[0])
            self._note_overflow()
        self._wake()

    def listen(self, version: str = "", missed: tuple[EventStream, int] | None = None) -> "Listener":
        """For a client that speaks ``version``, and has ``missed`` what came after an event that was sent before."""
        if self._stream is None:
            self._stream = self._events.begin(version)
        listener = Listener(self, self._stream, missed[1] if missed is not None else None)
        self._listeners.append(listener)
        if len(self._listeners) > LISTENERS:
            self._listeners[0].close()
        return listener

    def sent(self, stream: EventStream) -> bool:
        """Whether the stream is that of the listeners."""
        return stream is self._stream

    def close(self) -> None:
        """End every stream; what was not read is gone."""
        self._closed = True
        self._mail.clear()
        self._urgent = 0
        for listener in list(self._listeners):
            listener.close()

    def leave(self, listener: "Listener") -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._wake()

    def take(self, listener: "Listener") -> bytes | None:
        if not self._mail or listener is not self._listeners[-1]:
            return None
        self._overflowed = False
        return self._take(self._mail[0])

    def take_urgent(self) -> bytes | None:
        """The oldest of what is ``unheard``."""
        return self._take(next(mail for mail in self._mail if mail.urgent)) if self.unheard else None

    def _take(self, mail: Mail) -> bytes:
        self._mail.remove(mail)
        self._size -= len(mail.message)
        self._urgent -= mail.urgent
        return mail.message

    def _note_overflow(self) -> None:
        """Once until somebody reads again: a chatty backend must not fill the log either."""
        if not self._overflowed:
            self._overflowed = True
            logger.warning("messages_dropped", extra=log.bounded(backend=self._backend, reason="nobody reads them"))

    def _wake(self) -> None:
        if self._mail and self._listeners:
            self._listeners[-1].wake()


class Listener(Reader):
    """One GET stream's view of the mailbox, after what its client has missed."""

    def __init__(self, mailbox: Mailbox, stream: EventStream | None, missed: int | None) -> None:
        super().__init__()
        self.primer = stream.at if stream is not None and stream.primed and missed is None else None
        self._mailbox, self._stream, self._missed = mailbox, stream, missed

    def close(self) -> None:
        self._mailbox.leave(self)
        super().close()

    def _next(self) -> Event | None:
        if self._missed is not None and self._stream is not None:
            found = self._stream.after(self._missed)
            self._missed = None if found is None else found[0]
            if found is not None:
                return found[1]
        message = self._mailbox.take(self)
        if message is None:
            return None
        return Event(None if self._stream is None else self._stream.put(message), message)
