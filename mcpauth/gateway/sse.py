"""Server-sent events, read as they come (HTML Living Standard 9.2)."""

import re
from collections.abc import Iterator
from typing import NamedTuple

BOM = b"\xef\xbb\xbf"
# What may go back as Last-Event-ID; the control characters cannot be part of a header.
IDENTIFIER = re.compile(rb"[^\x00-\x1f\x7f]*")


class Event(NamedTuple):
    name: str
    data: bytes


class EventSource:
    """Turns chunks into events; what is to be known when a stream is resumed outlives the stream."""

    def __init__(self) -> None:
        self.last_event_id = b""
        self.retry: float | None = None
        self.size = 0  # of the event that is being read
        self._silent = 0
        self._partial: list[bytes] = []
        self._begun = self._after_cr = False
        self._name = ""
        self._data: list[bytes] = []
        self._id: bytes | None = None

    def restart(self) -> None:
        """The next chunk is the first of a new stream. An event that was not complete is gone."""
        self._partial.clear()
        self._begun = self._after_cr = False
        self._clear()

    def take_silent(self) -> int:
        """How many lines there were, since this was asked before, that say nothing: comments mostly."""
        silent, self._silent = self._silent, 0
        return silent

    def feed(self, chunk: bytes) -> Iterator[Event]:
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        for line in chunk.splitlines(keepends=True):
            self.size += len(line)
            self._partial.append(line)
            if line.endswith((b"\n", b"\r")):
                whole = (line if len(self._partial) == 1 else b"".join(self._partial)).rstrip(b"\r\n")
                self._partial.clear()
                if not self._begun:
                    self._begun, whole = True, whole.removeprefix(BOM)
                if whole:
                    self._field(whole)
                else:
                    yield from self._dispatch()

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        elif name == b"id" and IDENTIFIER.fullmatch(value):
            self._id = value
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value) / 1000
        else:
            self._silent += 1

    def _dispatch(self) -> Iterator[Event]:
        if self._id is not None:
            self.last_event_id = self._id
        name, data = self._name or "message", b"\n".join(self._data)
        self._clear()
        if data:
            yield Event(name, data)
        else:
            self._silent += 1

    def _clear(self) -> None:
        self.size = 0
        self._name, self._data, self._id = "", [], None
