"""Log lines: one event with fields, as JSON or for a terminal; secrets scrubbed, floods counted, on the way out."""

import json
import logging
import math
import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any, TextIO

SECRET_PARAMS = re.compile(
    r"\b(code|state|token|access_token|refresh_token|client_secret|secret|verifier|code_verifier|assertion|request|password)"
    r"=[^&\s\"']+"
)
BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


# Of lines that strangers can cause: so many different ones of an event in so many seconds.
MOST, WINDOW = 10, 60.0
OURS = "mcpauth"

Value = str | int | float | None


def fields(**values: Value) -> dict[str, dict[str, Value]]:
    """The ``extra`` of a log call. Ids and hashes only; never a secret."""
    return {"fields": values}


def bounded(of: str = "", /, **values: Value) -> dict[str, Any]:
    """The same of a line that strangers, or what an owner has connected, can cause as often as they like.

    Lines ``of`` one kind do not hide those of another; no stranger chooses it.
    """
    return {"fields": values, "bounded": True, "of": of}


def scrub(text: str) -> str:
    return BEARER.sub(r"\1 [secret]", SECRET_PARAMS.sub(r"\1=[secret]", text))


def printable(text: str, length: int) -> str:
    """So much of what a program or a server says as a person may be shown of it."""
    some = scrub(text[: 2 * length])  # It may be long.
    return "".join(one if one.isprintable() else _escaped(one) for one in some)[:length]


class JSONFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return scrub(json.dumps(line))


class ConsoleFormatter(logging.Formatter):
    """``12:30:01 info  client_registered  client_id=… name="…"``: for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        given = getattr(record, "fields", {})
        written = {name: json.dumps(value, ensure_ascii=False) for name, value in given.items() if value is not None}
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {_visible(record.getMessage())}"
        if written:
            line += "  " + " ".join(f"{name}={_visible(value)}" for name, value in written.items())
        if record.exc_info:
            line += "".join(f"\n  {_visible(one)}" for one in self.formatException(record.exc_info).splitlines())
        return scrub(line)


def _visible(text: str) -> str:
    """A line must not be able to forge another one, or a part of its own, nor to drive the terminal it is shown on.

    So of what is no ASCII only letters pass, and of those only such as are no quote, no blank, and turn no order.
    """
    return "".join(one if " " <= one <= "~" or _is_letter(one) else _escaped(one) for one in text)


def _is_letter(character: str) -> bool:
    return unicodedata.category(character) in ("Lu", "Ll") and unicodedata.bidirectional(character) == "L"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()


class Bounds:
    """Of each event that may come in floods, what is written: each line once in a while, and not too many of them.

    What libraries say is treated like that too. Each backend has bounds of its own, so that none hides another's lines.
    """

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str, Value], _Window] = {}

    def admit(self, record: logging.LogRecord) -> bool:
        own = record.name.split(".")[0] == OURS
        if own and not getattr(record, "bounded", False):
            return True
        given: dict[str, Value] = getattr(record, "fields", {})
        # What a library says may be another text each time.
        key = (str(record.msg) if own else record.name, getattr(record, "of", ""), given.get("backend"))
        window = self._windows.setdefault(key, _Window(key[0], record))
        error = record.exc_info[0] if record.exc_info else None
        return window.admit((record.getMessage(), error, *given.values()))

    def ended(self, now: float) -> Iterator[logging.LogRecord]:
        """How many lines were left out, of each event whose time is over."""
        for key, window in list(self._windows.items()):
            if window.ends_at <= now:
                del self._windows[key]
                if window.left_out:
                    yield window.summary()


class _Window:
    def __init__(self, event: str, first: logging.LogRecord) -> None:
        self._event, self._level, self.ends_at = event, first.levelno, first.created + WINDOW
        self._backend: Value = getattr(first, "fields", {}).get("backend")
        self._seen: set[tuple[object, ...]] = set()
        self.left_out = 0

    def admit(self, line: tuple[object, ...]) -> bool:
        if line in self._seen or len(self._seen) >= MOST:
            self.left_out += 1
            return False
        self._seen.add(line)
        return True

    def summary(self) -> logging.LogRecord:
        about: dict[str, Value] = {"of": self._event, "lines": self.left_out, "seconds": int(WINDOW)}
        if self._backend is not None:
            about["backend"] = self._backend
        values = {"name": __name__, "levelno": self._level, "levelname": logging.getLevelName(self._level)}
        return logging.makeLogRecord({**values, "msg": "lines_left_out", "fields": about})


class Handler(logging.StreamHandler[TextIO]):
    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._bounds = Bounds()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            for summary in self._bounds.ended(record.created):
                super().emit(summary)
            if self._bounds.admit(record):
                super().emit(record)
        except Exception:  # A library's text and its values may not fit.
            self.handleError(record)

    def close(self) -> None:
        for summary in self._bounds.ended(math.inf):
            super().emit(summary)
        super().close()


def configure(form: str, level: str) -> None:
    """Send every log line to stderr. ``form`` is console or json; ``level`` a name of logging's."""
    handler = Handler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The libraries' own debug lines hold SQL parameters and whole requests.
    for library in ("aiosqlite", "asyncio", "aiohttp", "filelock"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))
