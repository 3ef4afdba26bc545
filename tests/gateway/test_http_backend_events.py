"""The parser of server-sent events."""

import pytest

from mcpauth.gateway.http_legacy import LegacyHttpSession
from mcpauth.gateway.http_upstream import Upstream
from mcpauth.gateway.sse import Event, EventSource

STREAM = (
    b": a comment\r\nevent: message\r\nid: 7\r\ndata: one\r\ndata:two\r\n\r\nretry: 250\r\ndata\r\n\r\ndata:  x\r\n\r\n"
)


def read(*chunks):
    source = EventSource()
    return [event for chunk in chunks for event in source.feed(chunk)], source


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_however_it_is_cut_and_ended(end, size):
    stream = STREAM.replace(b"\r\n", end)
    events, source = read(*(stream[at : at + size] for at in range(0, len(stream), size)))
    assert events == [Event("message", b"one\ntwo"), Event("message", b" x")]
    assert source.last_event_id == b"7"
    assert source.retry == 0.25


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"\xef\xbb\xbfdata: a\n\n", [Event("message", b"a")]),
        (b"data: a\n\ndata: b", [Event("message", b"a")]),
        (b"event: endpoint\ndata: /m?x=1:2\n\n", [Event("endpoint", b"/m?x=1:2")]),
        (b"event: ping\n\ndata: a\n\n", [Event("message", b"a")]),
        (b"x: 1\ndata: a\n\n", [Event("message", b"a")]),
        (b"\n\n\n", []),
        (b"data: a\r\r\n\n", [Event("message", b"a")]),
    ],
)
def test_what_is_an_event(stream, events):
    assert read(stream)[0] == events


def test_an_id_counts_when_its_event_is_complete_and_outlives_the_stream():
    events, source = read(b"id: 1\ndata: \n\nid: 2\ndata: half")
    assert events == []
    assert source.last_event_id == b"1"
    source.restart()
    assert list(source.feed(b"data: whole\n\n")) == [Event("message", b"whole")]
    assert source.last_event_id == b"1"
    list(source.feed(b"id: a\x00b\ndata: x\n\n"))
    assert source.last_event_id == b"1"
    list(source.feed(b"id\ndata: x\n\n"))
    assert source.last_event_id == b""


def test_the_size_of_an_event_is_known_while_it_comes():
    _, source = read(b"data: a\n\n", b"data: " + b"x" * 100, b"x" * 100, b"\ndata: y")
    assert source.size == 214
    list(source.feed(b"\n\n"))
    assert source.size == 0


def test_a_server_that_wants_us_back_at_once_is_not_asked_without_a_pause():
    source = EventSource()
    assert list(source.feed(b"retry: 0\nid: 1\n\n")) == []
    session = LegacyHttpSession(Upstream("far", "http://localhost", {}), print, print)
    assert session._delay(source, 0) >= 0.1
