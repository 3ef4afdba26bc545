"""Several messages in one: of the revisions up to 2025-03-26."""

import asyncio
from collections import deque
from collections.abc import Sequence

import msgspec

from ..errors import GatewayError, InvalidMessage, ParseError, TooMuchUnderWay
from . import frames
from .answer import ACCEPTED, Answer, Messages, Replies
from .event_log import EventStream
from .load import GATHERED
from .mcp_session import McpSession

VERSIONS = frozenset({"2024-11-05", "2025-03-26"})

# Messages that wait for the client before the backends have to; fewer, where they weigh more than that.
ROOM, HEAVY = 16, 4 * 1024 * 1024

_parts = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes, version: str) -> list[bytes]:
    """The messages of a batch. Raises InvalidMessage, also of a client whose ``version`` has none."""
    if version not in VERSIONS:
        raise InvalidMessage("this revision of MCP has no batches: send one message at a time")
    try:
        body.decode()
        parts = _parts.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ParseError("the body is not JSON") from None
    if not parts:
        raise InvalidMessage("the batch is empty")
    if len(parts) > frames.BATCH:
        raise InvalidMessage(f"a batch may have {frames.BATCH} messages at most")
    return [bytes(part) for part in parts]


def together(session: McpSession, answers: Sequence[Answer]) -> Answer:
    """One answer to all of them."""
    whole = [answer.reply for answer in answers if answer.reply is not None]
    going_on = [answer.replies for answer in answers if answer.replies is not None]
    if not whole and not going_on:
        return ACCEPTED
    return Answer(replies=BatchReplies(session, whole, going_on))


class BatchReplies:
    """The answers to all requests of a batch: one array, or single messages once they are a stream."""

    def __init__(self, session: McpSession, whole: list[bytes], going_on: list[Messages]) -> None:
        self.finished = False
        self.code: int | None = None
        self.error: GatewayError | None = None  # of the session, so of all of them
        self.stream: EventStream | None = None
        self._session, self._replies, self._unread = session, going_on, session.unread
        self._responses = deque(whole)
        self._unread.gathered += sum(map(len, whole))
        self._others: deque[bytes] = deque()  # what comes before the responses, and makes it a stream
        self._streaming = self._left = False
        self._open = len(going_on)
        self._tasks: list[asyncio.Task[None]] = []
        self._news, self._room = asyncio.Event(), asyncio.Event()

    @property
    def streams(self) -> bool:
        return all(replies.streams for replies in self._replies)

    @streams.setter
    def streams(self, streams: bool) -> None:
        for replies in self._replies:
            replies.streams = streams

    def begin_stream(self) -> EventStream | None:
        """What comes from now on is sent as events."""
        self._streaming = True
        self._news.set()
        self.stream = self._session.events.begin(self._session.handshake.version)
        return self.stream

    def leave(self) -> None:
        self._left = True
        self._room.set()
        if self.stream is None:
            for replies in self._replies:
                replies.leave()

    def __aiter__(self) -> "BatchReplies":
        return self

    async def __anext__(self) -> bytes:
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._read(replies)) for replies in self._replies]
        while not self.finished:
            self._news.clear()
            if self._others or (self._streaming and self._responses):
                self._room.set()
                return self._next()
            if not self._open:
                self.finished = True
                if self._responses:
                    self._unread.gathered -= sum(map(len, self._responses))
                    return b"[" + b",".join(self._responses) + b"]"
                break
            await self._news.wait()
        raise StopAsyncIteration

    async def _read(self, replies: Messages) -> None:
        try:
            async for message in replies:
                if replies.finished:
                    self._respond(message)
                else:
                    await self._tell(message)
                self._news.set()
        finally:
            self.error = self.error or replies.error
            self._open -= 1
            self._news.set()

    def _next(self) -> bytes:
        if self._others:
            message = self._others.popleft()
            self._unread.less(len(message))
        else:
            message = self._responses.popleft()
            self._unread.gathered -= len(message)
        return message

    async def _tell(self, message: bytes) -> None:
        self._unread.add(len(message))
        while not self._left and (len(self._others) >= ROOM or sum(map(len, self._others)) > HEAVY):
            self._room.clear()
            await self._room.wait()
        self._others.append(message)

    def _respond(self, response: bytes) -> None:
        if self._unread.gathered + len(response) > GATHERED:
            too_large = TooMuchUnderWay("the answers to this batch are too large together: ask one by one")
            response = frames.encode(frames.failure(frames.decode(response)["id"], too_large))
        self._unread.gathered += len(response)
        self._responses.append(response)


Resumable = Replies | BatchReplies
