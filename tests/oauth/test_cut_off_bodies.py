"""A request to /mcp whose connection closes in the middle of its body."""

import asyncio

import pytest

from tests.conftest import PASSWORD

ANNOUNCED, SENT = 1_000_000, 70_000

pytestmark = pytest.mark.usefixtures("http_server")


def handlers():
    """The tasks in which requests are being handled."""
    return {task for task in asyncio.all_tasks() if "_execute" in task.get_coro().__qualname__}


async def begin(port, method, *headers):
    """A request of which a part of the body has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = [f"{method} /mcp HTTP/1.1", "Host: host.example.ts.net", f"Content-Length: {ANNOUNCED}", *headers]
    writer.write("\r\n".join([*head, "", ""]).encode() + b"x" * SENT)
    return reader, writer


async def taken(app):
    """The handler, once it has taken what was sent of the body."""
    while True:
        for handler in app.running:
            if handler._size == SENT:
                return handler
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("method", "headers"),
    [
        ("OPTIONS", ()),
        ("OPTIONS", ("Origin: https://evil.example",)),
        ("POST", ()),
        ("POST", ("Authorization: Bearer wrong", "Content-Type: application/json")),
        ("GET", ()),
        ("DELETE", ()),
    ],
)
async def test_nothing_is_left_of_a_request_that_was_cut_off(app, http_port, method, headers):
    before = handlers()
    _, writer = await begin(http_port, method, *headers)
    handler = await taken(app)
    # Of none of these a body is looked at.
    assert handler._body == []
    (handling,) = handlers() - before
    writer.close()
    await asyncio.wait([handling])
    assert not app.running
    assert handlers() == before


async def test_nothing_is_left_of_a_message_that_was_cut_off(app, http_port, client, browser, owner):
    await client.connect(browser, "ada", PASSWORD)
    bearer = f"Authorization: Bearer {client.tokens['access_token']}"
    before = handlers()
    _, writer = await begin(http_port, "POST", bearer, "Content-Type: application/json")
    await taken(app)
    (handling,) = handlers() - before
    (handler,) = app.running
    assert handler._body
    writer.close()
    await asyncio.wait([handling])
    assert not app.running
    assert not handler._body


@pytest.mark.parametrize("length", ["90000000, 90000000", "90000000\r\nContent-Length: 90000000", "9" * 40])
async def test_a_body_of_an_odd_length_is_not_waited_for(http_port, length):
    """Of nobody who was not let in anything is kept, however its length is said."""
    reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
    head = ["POST /mcp HTTP/1.1", "Host: host.example.ts.net", "Content-Type: application/json"]
    writer.write("\r\n".join([*head, f"Content-Length: {length}", "", ""]).encode() + b"x" * SENT)
    assert b" 400 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("path", ["/mcp", "/token", "/"])
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: \xb2\r\n",
        b"Content-Length: " + b"1" * 5000 + b"\r\n",
        b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
    ],
)
async def test_a_body_without_a_length_that_is_one_has_one_answer(http_port, path, framing, caplog):
    reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
    head = f"POST {path} HTTP/1.1\r\nHost: host.example.ts.net\r\n".encode()
    writer.write(head + framing + b"\r\n2\r\nab\r\n0\r\n\r\n")
    writer.write_eof()
    answer = await reader.read()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer[9:12] in (b"400", b"401", b"413")
    assert not [record for record in caplog.records if record.exc_info]
    writer.close()


async def test_who_waits_to_be_asked_for_a_body_that_is_refused_is_not_asked(http_port):
    reader, writer = await begin(http_port, "POST", "Expect: 100-continue")
    writer.write(b"x" * (ANNOUNCED - SENT))
    writer.write_eof()
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert b"100 (Continue)" not in answer
    writer.close()


async def test_a_preflight_with_a_body_is_answered(http_port):
    reader, writer = await begin(http_port, "OPTIONS")
    writer.write(b"x" * (ANNOUNCED - SENT))
    assert b" 204 " in await reader.readline()
    writer.close()


async def served(port, reader, writer):
    writer.write(b"GET / HTTP/1.1\r\nHost: host.example.ts.net\r\nConnection: close\r\n\r\n")
    return b" 200 " in await reader.readline()


async def test_a_body_that_does_not_come_does_not_hold_its_connection(app, http_server, http_port):
    stalled, writer = await begin(http_port, "POST")
    await taken(app)
    http_server.close_waiting(3600)
    other, other_writer = await asyncio.open_connection("127.0.0.1", http_port)
    assert await served(http_port, other, other_writer)
    assert app.running
    http_server.close_waiting(0)
    await stalled.read()  # to its end
    assert not app.running
    writer.close()
    other_writer.close()


@pytest.mark.parametrize("sent", [b"", b"POST /mcp HTTP/1.1\r\nHost: host.exam"])
async def test_a_head_that_does_not_come_does_not_hold_its_connection(http_server, http_port, sent):
    waiting, writer = await asyncio.open_connection("127.0.0.1", http_port)
    writer.write(sent)
    other, other_writer = await asyncio.open_connection("127.0.0.1", http_port)
    assert await served(http_port, other, other_writer)
    http_server.close_waiting(3600)
    http_server.close_waiting(0)
    assert await waiting.read() == b""
    writer.close()
    other_writer.close()


async def test_who_waits_for_an_answer_is_not_closed(app, http_server, http_port, client, browser, owner):
    """However long it takes: it is not the client that is waited for."""
    await client.connect(browser, "ada", PASSWORD)
    begun = await client.initialize("/mcp")
    session = {
        "Authorization": f"Bearer {client.tokens['access_token']}",
        "Mcp_Session_Id": begun.headers["Mcp-Session-Id"],
    }
    reader, writer = await asyncio.open_connection("127.0.0.1", http_port)
    head = ["GET /mcp HTTP/1.1", "Host: host.example.ts.net", "Accept: text/event-stream"]
    head += [f"{name.replace('_', '-')}: {value}" for name, value in session.items()]
    writer.write("\r\n".join([*head, "", ""]).encode())
    assert b" 200 " in await reader.readline()
    http_server.close_waiting(0)
    await client.fetch("/mcp", "DELETE", **session)
    assert (await reader.readuntil(b"\r\n0\r\n\r\n")).endswith(b"0\r\n\r\n")
    writer.close()
