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
    writer.close()
    await asyncio.wait([handling])
    assert not app.running


async def test_a_preflight_with_a_body_is_answered(http_port):
    reader, writer = await begin(http_port, "OPTIONS")
    writer.write(b"x" * (ANNOUNCED - SENT))
    assert b" 204 " in await reader.readline()
    writer.close()


async def test_a_body_that_does_not_come_does_not_hold_its_connection(app, http_port):
    stalled, writer = await begin(http_port, "POST")
    other, other_writer = await asyncio.open_connection("127.0.0.1", http_port)
    await taken(app)
    app.close_stalled(3600)
    other_writer.write(b"GET / HTTP/1.1\r\nHost: host.example.ts.net\r\n\r\n")
    assert b" 200 " in await other.readline()
    assert len(app.receiving) == 1
    app.close_stalled(0)
    await stalled.read()  # to its end
    assert not app.receiving
    writer.close()
    other_writer.close()
