"""Log lines: one event with fields, as JSON or for a terminal; secrets scrubbed on the way out."""

import json
import logging
import re
import sys

SECRET_PARAMS = re.compile(
    r"\b(code|state|token|access_token|refresh_token|client_secret|secret|verifier|code_verifier|assertion|request|password)"
    r"=[^&\s\"']+"
)
BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{8,}")


def fields(**values: str | int | float | None) -> dict[str, dict[str, str | int | float | None]]:
    """The ``extra`` of a log call. Ids and hashes only; never a secret."""
    return {"fields": values}


def scrub(text: str) -> str:
    return BEARER.sub(r"\1 [secret]", SECRET_PARAMS.sub(r"\1=[secret]", text))


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
        about = " ".join(f"{name}={json.dumps(value)}" for name, value in given.items() if value is not None)
        event = record.getMessage().translate(CONTROLS)
        line = f"{self.formatTime(record, '%H:%M:%S')} {record.levelname.lower():7} {event}"
        if about:
            line += f"  {about}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return scrub(line)


# A log line must not be able to forge another one, nor to drive the terminal it is shown on.
CONTROLS = {code: f"\\x{code:02x}" for code in [*range(32), 127]}


def configure(form: str, level: str) -> None:
    """Send every log line to stderr. ``form`` is console or json; ``level`` a name of logging's."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JSONFormatter() if form == "json" else ConsoleFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # The libraries' own debug lines hold SQL parameters and whole requests.
    for library in ("aiosqlite", "asyncio", "aiohttp", "filelock"):
        logging.getLogger(library).setLevel(max(logging.INFO, root.level))
