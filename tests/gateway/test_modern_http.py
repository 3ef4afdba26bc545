"""The modern era over HTTP: statuses, streams, and what a client's leaving means."""

import asyncio
import json

import pytest

from mcpauth.web import event_stream
from tests.fakes.mcp_client import INITIALIZE, ModernClient, modern_headers
from tests.gateway.test_http import Server, call, events

PATH = "/mcp/fake"


class ModernServer(Server):
    """As a modern client sees it: every request is whole, and says in headers what it is."""

    def ask(self, method, params=None, headers=None, **meta):
        message = ModernClient(None, "fake").message(method, params, **meta)
        return self.fetch(PATH, "POST", message, modern_headers(message) | (headers or {}))

    def call(self, **arguments):
        return self.ask("tools/call", {"name": "x", "arguments": arguments})

    async def begin_reading(self, method, params, **meta):
        """The stream that answers, after its headers."""
        message = ModernClient(None, "fake").message(method, params, **meta)
        self.session = modern_headers(message)
        reader, writer = await self.stream(f"POST {PATH} HTTP/1.1", message)
        self.session = {}
        return reader, writer


@pytest.fixture
def server(io_loop, serve, child):
    gateway = io_loop.run_sync(lambda: serve(child("fake", "--dual", "echo", grace=0.2), child("old", "echo")))

    async def start():
        return ModernServer(gateway)

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


async def test_one_request_is_enough(server):
    reply = await server.call(a=1)
    assert reply.code == 200
    assert reply.headers["Content-Type"] == "application/json"
    assert "Mcp-Session-Id" not in reply.headers
    assert json.loads(reply.body)["result"]["resultType"] == "complete"


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("server/discover", {}, 200, None),
        ("server/discover", {"Mcp-Session-Id": "whatever"}, 200, None),
        ("x/unknown", {}, 404, -32601),
        ("initialize", {}, 404, -32601),
        ("tools/list", {"Mcp-Method": "tools/call"}, 400, -32020),
        ("tools/list", {"Mcp-Method": None}, 400, -32020),
        ("tools/list", {"MCP-Protocol-Version": None}, 400, -32020),
        ("tools/list", {"MCP-Protocol-Version": "2027-01-01"}, 400, -32020),
        # A header of the older era makes it a request of the older era, which has a session.
        ("tools/list", {"MCP-Protocol-Version": "2025-11-25"}, 400, -32600),
    ],
)
async def test_an_error_has_a_status(server, method, headers, status, code):
    reply = await server.ask(method, {}, headers)
    assert reply.code == status
    assert json.loads(reply.body).get("error", {}).get("code") == code
    assert json.loads(reply.body)["id"] == 1


async def test_a_header_that_is_there_twice_is_refused(server):
    message = ModernClient(None, "fake").message("tools/list")
    body = json.dumps(message)
    for name, value in modern_headers(message).items():
        twice = (
            "".join(f"{key}: {given}\r\n" for key, given in modern_headers(message).items()) + f"{name}: {value}\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            f"POST {PATH} HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer good\r\n{twice}"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = await reader.read()
        assert b" 400 " in answer.split(b"\r\n")[0]
        assert b"more than once" in answer
        writer.close()


@pytest.mark.parametrize("path", ["/mcp/old", "/mcp"])
async def test_servers_of_the_older_era_are_served_too(server, path):
    message = ModernClient(None, "old").message("server/discover")
    reply = await server.fetch(path, "POST", message, modern_headers(message))
    assert reply.code == 200
    assert json.loads(reply.body)["result"]["supportedVersions"] == ["2026-07-28"]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
async def test_there_is_nothing_but_post(server, method):
    await server.begin(PATH)
    reply = await server.fetch(PATH, method, None, {"MCP-Protocol-Version": "2026-07-28"})
    assert reply.code == 405
    assert reply.headers["Allow"] == "POST"
    # The session, which is of the older era, does not notice.
    assert (await server.post(PATH, call("echo"))).code == 200


async def test_both_eras_are_at_one_address(server):
    assert (await server.post(PATH, {"id": 0, "method": "initialize", "params": INITIALIZE})).code == 200
    assert (await server.ask("server/discover")).code == 200


async def test_a_notification_is_accepted(server):
    reply = await server.fetch(
        PATH, "POST", {"method": "notifications/x"}, {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "x"}
    )
    assert (reply.code, reply.body) == (202, b"")


async def test_frames_before_the_answer_make_it_a_stream(server):
    params = {"name": "x", "arguments": {"do": "progress", "steps": 2}}
    reply = await server.ask("tools/call", params, progressToken="t")
    assert reply.headers["Content-Type"] == "text/event-stream"
    assert reply.headers["X-Accel-Buffering"] == "no"
    assert [message.get("method") for message in events(reply)] == ["notifications/progress"] * 2 + [None]


async def test_a_subscription_without_a_stream_is_refused_at_once(server):
    accept = {"Accept": "application/json"}
    reply = await server.ask("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, accept)
    assert reply.code == 406
    answer = json.loads(reply.body)
    assert answer["id"] == 1
    assert "text/event-stream" in answer["error"]["message"]


async def test_a_subscription_is_a_stream_that_is_kept_alive(serve, child, monkeypatch, tmp_path):
    monkeypatch.setattr(event_stream, "KEEP_ALIVE", 0.05)
    server = ModernServer(await serve(child("fake", "--dual", "echo")), json_within=0.05)
    reader, writer = await server.begin_reading("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"text/event-stream" in head
    assert b"X-Accel-Buffering: no" in head
    assert b"subscriptions/acknowledged" in await reader.readuntil(b"event: message\ndata: ") + await reader.readline()
    await reader.readuntil(b": keep-alive\n\n")
    await server.call(do="change", path=str(tmp_path / "x"))
    assert b"list_changed" in await reader.readuntil(b"list_changed")
    server.gateway.hang_up()
    assert b'"resultType":"complete"' in await reader.readuntil(b"0\r\n\r\n")
    writer.close()
    await server.close()


@pytest.mark.parametrize("method", ["tools/call", "subscriptions/listen"])
async def test_a_client_that_leaves_cancels(server, method):
    params = {"name": "x", "arguments": {"do": "begin"}, "notifications": {}}
    reader, writer = await server.begin_reading(method, params, progressToken="t")
    await reader.readuntil(b"event: message\ndata: ")
    writer.close()
    await writer.wait_closed()
    # The child is told as soon as the gateway has noticed.
    while True:
        reply = await server.call(do="cancelled")
        if told := json.loads(json.loads(reply.body)["result"]["content"][0]["text"]):
            break
    assert [one["reason"] for one in told] == ["the client has left"]
