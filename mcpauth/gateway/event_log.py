"""What was sent on the streams of a legacy MCP session, for a client that has lost its end (Last-Event-ID)."""

import asyncio
import base64
import re
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

# What is remembered of all streams of one session together; of what is larger, the last event alone.
EVENTS, BYTES = 256, 1024 * 1024
# Milliseconds until a client that was cut off comes back.
RETRY = 1000

# The revisions that have event ids, and those whose clients take an event without a message.
WITH_IDS, WITH_PRIMER = "2025-03-26", "2025-11-25"

EVENT_ID = re.compile(
    r"(?P<log>[\w-]{1,32})\.(?P<stream>[0-9]{1,15})\.(?P<number>[0-9]{1,15})(?:\.(?P<answers>[\w-]{1,128}))?", re.ASCII
)
# The id of a request, where it is part of the ids of its events.
LONGEST = 64


class Event(NamedTuple):
    event_id: str | None
    message: bytes


class EventLog:
    """``name`` makes the ids of this log its own: those of another session, or of one before a restart, are unknown."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._streams: dict[int, EventStream] = {}
        self._order: deque[EventStream] = deque()  # whose each event is, the oldest first
        self._size = 0
        self._aging = 0  # how many of them are not new
        self._last = 0

    def begin(self, version: str, answers: bytes = b"") -> "EventStream | None":
        """A new stream of a client that speaks ``version``; None when that has no event ids.

        One that ``answers`` a request has that one's id in its events': whoever comes back when all is forgotten, as
        by a restart, can be told that there is no answer.
        """
        if version < WITH_IDS:
            return None
        self._last += 1
        stream = EventStream(self, self._last, answers, primed=version >= WITH_PRIMER)
        self._streams[self._last] = stream
        return stream

    def find(self, event_id: str) -> "tuple[EventStream, int] | None":
        """The stream, and the number of its last event that arrived. None when what came after is not there."""
        found = EVENT_ID.fullmatch(event_id)
        if found is None or found["log"] != self.name:
            return None
        stream, number = self._streams.get(int(found["stream"])), int(found["number"])
        return None if stream is None or not stream.goes_on_after(number) else (stream, number)

    def age(self) -> None:
        """Forget what was there already when this was called before, of streams that have ended."""
        while self._aging and self._order[0].ended:
            self._forget_oldest()
        self._aging = len(self._order)

    def close(self) -> None:
        """Nobody comes back."""
        for stream in list(self._streams.values()):
            stream.end()
        self._streams.clear()

    def added(self, stream: "EventStream", message: bytes) -> None:
        self._order.append(stream)
        self._size += len(message)
        while len(self._order) > EVENTS or (self._size > BYTES and len(self._order) > 1):
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self._order.popleft()
        self._size -= len(oldest.forget())
        self._aging = max(0, self._aging - 1)
        self.settle(oldest)

    def settle(self, stream: "EventStream") -> None:
        if stream.over:
            self._streams.pop(stream.number, None)


class EventStream:
    """The events of one answer, or of the session's own stream. ``holder`` ends the connection it is written to."""

    def __init__(self, log: EventLog, number: int, answers: bytes = b"", *, primed: bool) -> None:
        self.number, self.primed = number, primed
        known = base64.urlsafe_b64encode(answers).decode().rstrip("=") if len(answers) <= LONGEST else ""
        self._suffix = f".{known}" if known else ""
        self.holder: Callable[[], None] | None = None
        self._log = log
        self._messages: deque[bytes] = deque()
        self._last = 0
        self._ended = False
        self._reader: Resumed | None = None

    @property
    def at(self) -> str:
        """The id of the last event."""
        return self._id(self._last)

    @property
    def over(self) -> bool:
        """Whether there is nothing, and will be nothing, that could be sent again."""
        return self._ended and not self._messages

    def put(self, message: bytes) -> str:
        self._last += 1
        self._messages.append(message)
        self._log.added(self, message)
        self._wake()
        return self.at

    def end(self) -> None:
        """Nothing comes any more."""
        self._ended = True
        self.holder = None
        self._log.settle(self)
        self._wake()

    def forget(self) -> bytes:
        """The oldest event."""
        return self._messages.popleft()

    def goes_on_after(self, number: int) -> bool:
        """Whether all that came later is there; of an answer, whatever is left of it: what counts comes last."""
        forgotten = self._last - len(self._messages)
        return number <= self._last and (forgotten <= number or self._suffix != "")

    def after(self, number: int) -> tuple[int, Event] | None:
        """The first event that is there of those after ``number``, and its number."""
        first = self._last - len(self._messages)
        if number >= self._last:
            return None
        at = max(first, number)
        return at + 1, Event(self._id(at + 1), self._messages[at - first])

    def resume(self, number: int) -> "Resumed":
        """What came after ``number`` and comes from now on, for whoever asked last: other connections end."""
        holder, self.holder = self.holder, None
        if holder is not None:
            holder()
        if self._reader is not None:
            self._reader.close()
        self._reader = Resumed(self, number)
        return self._reader

    @property
    def ended(self) -> bool:
        return self._ended

    @property
    def resumed(self) -> bool:
        """Whether its client came back for it, and reads on."""
        return self._reader is not None and not self._reader.closed

    def _id(self, number: int) -> str:
        return f"{self._log.name}.{self.number}.{number}{self._suffix}"

    def _wake(self) -> None:
        if self._reader is not None:
            self._reader.wake()


class Reader:
    """One connection's view of a stream: an async iterator until either side closes it."""

    primer: str | None = None  # the id that lets its client come back from the beginning on

    def __init__(self) -> None:
        self._closed = False
        self._news = asyncio.Event()

    def wake(self) -> None:
        """There is something to read, or nothing any more."""
        self._news.set()

    def close(self) -> None:
        self._closed = True
        self.wake()

    @property
    def closed(self) -> bool:
        return self._closed

    def __aiter__(self) -> "Reader":
        return self

    async def __anext__(self) -> Event:
        while not self._closed:
            self._news.clear()
            event = self._next()
            if event is not None:
                return event
            if self._is_at_end():
                break
            await self._news.wait()
        raise StopAsyncIteration

    def _next(self) -> Event | None:
        raise NotImplementedError

    def _is_at_end(self) -> bool:
        return False


class Resumed(Reader):
    """The rest of one stream, to its end. What came last says where it is."""

    def __init__(self, stream: EventStream, number: int) -> None:
        super().__init__()
        self._stream, self._number = stream, number

    def _next(self) -> Event | None:
        found = self._stream.after(self._number)
        if found is None:
            return None
        self._number, event = found
        return event

    def _is_at_end(self) -> bool:
        return self._stream.ended


class Instead(Reader):
    """One message, in place of a stream that is not known any more."""

    def __init__(self, message: bytes) -> None:
        super().__init__()
        self._message: bytes | None = message

    def _next(self) -> Event | None:
        message, self._message = self._message, None
        return None if message is None else Event(None, message)

    def _is_at_end(self) -> bool:
        return True


def answered(event_id: str) -> bytes | None:
    """The id, as it was sent, of the request that the event's stream answers."""
    found = EVENT_ID.fullmatch(event_id)
    if found is None or found["answers"] is None:
        return None
    try:
        return base64.urlsafe_b64decode(found["answers"] + "=" * (-len(found["answers"]) % 4))
    except ValueError:
        return None
