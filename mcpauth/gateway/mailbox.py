"""What a client is told outside of its requests: kept for a while, and read over GET streams."""

import asyncio
import logging
from collections import deque

from .. import log

logger = logging.getLogger(__name__)

MESSAGES = 256
BYTES = 4 * 1024 * 1024


class Mailbox:
    """Each message goes to one listener, the newest: an older stream may be dead without our knowing."""

    def __init__(self, backend: str | None) -> None:
        self._backend = backend
        self._messages: deque[bytes] = deque()
        self._size = 0
        self._closed = False
        self._overflowed = False
        self._listeners: list[Listener] = []

    @property
    def listened_to(self) -> bool:
        return bool(self._listeners)

    def put(self, message: bytes) -> None:
        if self._closed:
            return
        self._messages.append(message)
        self._size += len(message)
        while len(self._messages) > MESSAGES or (self._size > BYTES and len(self._messages) > 1):
            self._size -= len(self._messages.popleft())
            self._note_overflow()
        self._wake()

    def listen(self) -> "Listener":
        listener = Listener(self)
        self._listeners.append(listener)
        return listener

    def close(self) -> None:
        """End every stream; what was not read is gone."""
        self._closed = True
        self._messages.clear()
        for listener in list(self._listeners):
            listener.close()

    def leave(self, listener: "Listener") -> None:
        if listener in self._listeners:
            self._listeners.remove(listener)
            self._wake()

    def take(self, listener: "Listener") -> bytes | None:
        if not self._messages or listener is not self._listeners[-1]:
            return None
        self._overflowed = False
        message = self._messages.popleft()
        self._size -= len(message)
        return message

    def _note_overflow(self) -> None:
        """Once until somebody reads again: a chatty backend must not fill the log either."""
        if not self._overflowed:
            self._overflowed = True
            logger.warning("messages_dropped", extra=log.fields(backend=self._backend, reason="nobody reads them"))

    def _wake(self) -> None:
        if self._messages and self._listeners:
            self._listeners[-1].wake()


class Listener:
    """One GET stream's view of the mailbox: an async iterator until either side closes it."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._closed = False
        self._news = asyncio.Event()

    def wake(self) -> None:
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self._mailbox.leave(self)
        self.wake()

    def __aiter__(self) -> "Listener":
        return self

    async def __anext__(self) -> bytes:
        while not self._closed:
            self._news.clear()
            message = self._mailbox.take(self)
            if message is not None:
                return message
            await self._news.wait()
        raise StopAsyncIteration
