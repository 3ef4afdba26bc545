"""What strangers can cause is logged, and never in floods."""

import asyncio
import io
import json
import logging
import socket
import sys
from pathlib import Path

import pytest

from mcpauth import log
from tests.live import LiveServer

T0 = 1_800_000_000.0


class Log:
    """A log of its own, on a clock that moves when told to."""

    def __init__(self):
        self.text, self.time = io.StringIO(), T0
        self.handler = log.Handler(self.text)
        self.handler.setFormatter(log.JSONFormatter())

    def say(self, event, name="mcpauth.web.base", *, exc_info=None, extra=None, **about):
        values = {"name": name, "msg": event, "levelname": "WARNING", "levelno": logging.WARNING, "created": self.time}
        self.handler.handle(logging.makeLogRecord({**values, "exc_info": exc_info, **(extra or log.bounded(**about))}))

    @property
    def lines(self):
        return [json.loads(line) for line in self.text.getvalue().splitlines()]

    @property
    def events(self):
        return [line["event"] for line in self.lines]


@pytest.fixture
def written():
    return Log()


def test_the_first_of_a_name_is_written_and_then_one_summary_a_minute(written):
    for second in range(600):
        written.time = T0 + second
        written.say("host_refused", host="evil.example")
    assert written.events == ["host_refused", *["lines_left_out", "host_refused"] * 9]
    summary = written.lines[1]
    assert (summary["of"], summary["lines"], summary["seconds"]) == ("host_refused", 59, 60)
    assert (summary["level"], summary["logger"]) == ("warning", "mcpauth.log")


def test_ever_new_names_are_no_way_around_it(written):
    for number in range(10_000):
        written.say("host_refused", host=f"{number}.example")
    assert len(written.lines) == log.MOST
    written.time += log.WINDOW
    written.say("something_else")
    assert written.events[log.MOST :] == ["lines_left_out", "something_else"]
    assert written.lines[log.MOST]["lines"] == 10_000 - log.MOST


def test_a_flood_hides_neither_other_events_nor_the_owners_own(written):
    for number in range(100):
        written.say("host_refused", host=f"{number}.example")
        written.say("backend_line_skipped", backend="noisy", line=str(number))
    written.say("sign_in_failed", address="198.51.100.1")
    written.say("backend_line_skipped", backend="other", line="x")
    for _ in range(3):
        written.say("user_added", extra=log.fields(name="bob"))
    assert written.events[2 * log.MOST :] == ["sign_in_failed", "backend_line_skipped", *["user_added"] * 3]


def test_another_failure_at_the_same_place_is_another_line(written):
    for error in (ValueError("x"), KeyError("x"), KeyError("y")):
        written.say("request_failed", exc_info=(type(error), error, None), path="/token")
    assert [line["exception"].split(":")[0] for line in written.lines] == ["ValueError", "KeyError"]


def test_what_a_library_says_is_bounded_as_a_whole(written):
    for number in range(100):
        written.say(f"Malformed HTTP message from {number}", "tornado.general", extra=log.fields())
    assert len(written.lines) == log.MOST
    written.handler.close()
    assert written.lines[-1]["of"] == "tornado.general"
    assert written.lines[-1]["lines"] == 100 - log.MOST


def test_a_line_that_cannot_be_made_disturbs_nobody(written, capsys):
    broken = logging.LogRecord("tornado.general", logging.INFO, "", 1, "%d", ("x",), None)
    written.handler.handle(broken)
    written.say("host_refused", host="evil.example")
    assert written.events == ["host_refused"]
    assert "Logging error" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Wetter \u00f6", "\u041f\u043e\u0433\u043e\u0434\u0430"])
def test_a_terminal_shows_letters_as_they_are(name):
    assert f'name="{name}"' in shown("client_registered", name=name)


@pytest.mark.parametrize(
    "character",
    [
        *("\n", "\r", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"),  # a line or a terminal's command
        *("\u202e", "\u2066", "\u200f", "\u061c", "\u05d0", "\U0001e900"),  # the order of what follows
        *("\uff02", "\u02ba", "\u201d", "\u00a0", "\u3164", "\u2800", "\ud800", "\U000e0041"),  # quotes and blanks
    ],
)
def test_on_a_terminal_no_name_forges_a_line_or_a_part_of_one(character):
    name = f'x" {character}12:00:00 info'
    try:
        raise ValueError(name)
    except ValueError:
        lines = shown(f"from a library {character}", name=name, exc_info=sys.exc_info()).split("\n")
    assert all(one.isascii() and one.isprintable() for one in lines)
    assert 'name="x\\" \\' in lines[0]
    assert all(one.startswith("  ") for one in lines[1:])


def shown(event, *, exc_info=None, **about):
    values = {"msg": event, "levelname": "INFO", "exc_info": exc_info, **log.fields(**about)}
    return log.ConsoleFormatter().format(logging.makeLogRecord(values))


async def test_a_stranger_at_the_door_does_not_fill_the_log(tmp_path: Path):
    async with LiveServer(tmp_path) as server:

        async def send(head: bytes) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, family=socket.AF_INET)
            writer.write(head)
            await reader.read()
            writer.close()

        own = f"Host: localhost:{server.port}\r\nConnection: close\r\n".encode()
        for number in range(30):
            other = f"Host: {number}.example\r\nConnection: close\r\n".encode()
            await send(b"GET / HTTP/1.1\r\n" + other + b"\r\n")
            await send(f"GET /{number} HTTP/1.1\r\n".encode() + own + b"\r\n")
            await send(b"POST /token HTTP/1.1\r\n" + own + b"Content-Length: 0\r\n\r\n")
            await send(f"GET /mcp?{number} HTTP/1.1\r\n".encode() + own + b"Authorization: Bearer x\r\n\r\n")
            await send(f"GET /authorize?client_id={number} HTTP/1.1\r\n".encode() + own + b"\r\n")
            await send(f"{number} malformed\r\n\r\n".encode())
        await server.stop()
    lines = [json.loads(line) for line in server.log.splitlines()]
    left_out = [line for line in lines if line["event"] == "lines_left_out"]
    assert len(lines) < 80
    assert {"host_refused", "request_refused", "tornado.general"} <= {line["of"] for line in left_out}
    assert lines[-1]["event"] != "stopped"  # What was left out is told at the very end.
