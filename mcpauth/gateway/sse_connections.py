"""HTTP+SSE, the transport of 2024-11-05: one stream for all that a client is told, another address for what it says."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from ..ambient import Ambient
from ..errors import BackendUnavailable, InsufficientScope, ParseError, UnknownSession
from ..models.principal import Principal
from .answer import Answer, Messages, Pending
from .gateway import Gateway
from .mcp_sessions import PER_GRANT

VERSION = "2024-11-05"

# Messages that wait for the client before the backends have to; fewer, where they weigh more than that.
ROOM, HEAVY = 16, 4 * 1024 * 1024
# Requests that it may have under way.
REQUESTS = 100


class SseConnections:
    """The ids are secrets, and work for the user and client that opened the stream."""

    def __init__(self, gateway: Gateway, ambient: Ambient) -> None:
        self._gateway, self._ambient = gateway, ambient
        self._connections: dict[str, SseConnection] = {}

    def open(self, principal: Principal) -> "SseConnection":
        """A new stream; of a grant that has five, the oldest ends."""
        connection_id = self._ambient.secret()
        of_grant = [one for one in self._connections.values() if one.principal.grant_id == principal.grant_id]
        for other in of_grant[: max(0, len(of_grant) - PER_GRANT + 1)]:
            other.close()
        connection = SseConnection(connection_id, principal, self._gateway, self._closed)
        self._connections[connection_id] = connection
        return connection

    async def take(self, principal: Principal, connection_id: str, body: bytes) -> None:
        """A message of the client's. Raises UnknownSession and ParseError; all else is told on the stream."""
        connection = self._connections.get(connection_id)
        if connection is None or not connection.belongs_to(principal):
            raise UnknownSession("unknown session_id: GET /sse again")
        await connection.take(principal, body)

    def hang_up(self) -> None:
        for connection in list(self._connections.values()):
            connection.close()

    def _closed(self, connection: "SseConnection") -> None:
        self._connections.pop(connection.connection_id, None)


class SseConnection:
    """An async iterator of what the client is told, until either side closes it. With it ends its MCP session."""

    def __init__(
        self, connection_id: str, principal: Principal, gateway: Gateway, closed: Callable[["SseConnection"], None]
    ) -> None:
        self.connection_id, self.principal = connection_id, principal
        self._gateway, self._forget = gateway, closed
        self._unread = gateway.load.unread(principal.grant_id)
        self._session_id: str | None = None
        self._messages: deque[bytes] = deque()
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._closed = False
        self._reading: dict[asyncio.Task[None], Messages | None] = {}
        self._taking = 0

    def belongs_to(self, principal: Principal) -> bool:
        return (self.principal.subject, self.principal.client_id) == (principal.subject, principal.client_id)

    async def take(self, principal: Principal, body: bytes) -> None:
        if len(self._reading) + self._taking > REQUESTS:
            raise BackendUnavailable("too many requests are under way; wait for their answers")
        self._taking += 1
        try:
            await self._take(principal, body)
        finally:
            self._taking -= 1

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._forget(self)
            self._end_session()
            for replies in self._reading.values():
                if replies is not None:
                    replies.leave()
            self._news.set()
            self._room.set()

    def __aiter__(self) -> "SseConnection":
        return self

    async def __anext__(self) -> bytes:
        while not self._closed:
            self._news.clear()
            if self._messages:
                self._room.set()
                return self._taken()
            await self._news.wait()
        while self._messages:
            self._taken()
        raise StopAsyncIteration

    def _taken(self) -> bytes:
        message = self._messages.popleft()
        self._unread.less(len(message))
        return message

    async def _take(self, principal: Principal, body: bytes) -> None:
        answer = await self._gateway.forward(
            principal, body, backend=None, session_id=self._session_id, protocol_version=VERSION
        )
        if isinstance(answer.error, ParseError):
            raise answer.error
        if answer.session_id is not None:
            self._end_session()
            self._session_id = answer.session_id
            if self._closed:
                self._end_session()
            else:
                self._read(self._listen(answer.session_id))
        if answer.pending is not None:
            self._read(self._wait(answer.pending))
        else:
            await self._give(answer)

    async def _wait(self, pending: Pending) -> None:
        try:
            answer = await pending.answer()
        except InsufficientScope as error:
            answer = pending.refused(error)
        await self._give(answer)

    async def _give(self, answer: Answer) -> None:
        if answer.reply is not None:
            await self._put(answer.reply)
        elif answer.replies is not None:
            self._read(self._relay(answer.replies), answer.replies)
            if self._closed:
                answer.replies.leave()

    async def _put(self, message: bytes) -> None:
        self._unread.add(len(message))
        while not self._closed and (len(self._messages) >= ROOM or sum(map(len, self._messages)) > HEAVY):
            self._room.clear()
            await self._room.wait()
        if self._closed:
            self._unread.less(len(message))
        else:
            self._messages.append(message)
            self._news.set()

    def _read(self, source: Coroutine[Any, Any, None], replies: Messages | None = None) -> None:
        task = asyncio.create_task(source)
        self._reading[task] = replies
        task.add_done_callback(self._reading.pop)

    async def _relay(self, replies: Messages) -> None:
        async for message in replies:
            await self._put(message)

    async def _listen(self, session_id: str) -> None:
        listener = self._gateway.listen(self.principal, backend=None, session_id=session_id)
        async for event in listener:
            await self._put(event.message)
        if self._session_id == session_id:
            self.close()  # The session has ended, and with it all that could be said.

    def _end_session(self) -> None:
        session_id, self._session_id = self._session_id, None
        if session_id is not None:
            with contextlib.suppress(UnknownSession):
                self._gateway.end_session(self.principal, backend=None, session_id=session_id)
