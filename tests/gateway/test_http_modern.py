"""Remote backends of the modern era, and what a remote server may do to us there."""

import asyncio
import base64
import json
import re

import pytest
from tornado.testing import bind_unused_port

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient, forward, modern_headers, principal
from tests.fakes.mcp_http_modern import COMPLETE, KEPT, TOOL, ModernHttpServer
from tests.fakes.mcp_http_server import flood
from tests.gateway.test_http import Server
from tests.gateway.test_http_backend import headers_of, next_of, until

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"


@pytest.fixture
def far(io_loop):
    """The remote server."""

    async def start():
        return ModernHttpServer()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.fixture
def connect(serve, far):
    """A client at /mcp/remote, whose gateway has found out what the remote server offers."""

    async def start(environ=None, **given):
        server = RemoteServer(url=far.url, **given)
        gateway = await serve(Served(HttpBackend("remote", server, environ or {})))
        await gateway.settled()
        far.seen.clear()
        return ModernClient(gateway, "remote")

    return start


@pytest.fixture
def front(connect, io_loop):
    """The HTTP side of such a gateway."""
    started = []

    async def start(**given):
        started.append(Server((await connect(**given)).gateway))
        return started[-1]

    yield start
    for server in started:
        io_loop.run_sync(server.close)


def ask(server, method, params=None, headers=None):
    message = ModernClient(None, "remote").message(method, params)
    return server.fetch("/mcp/remote", "POST", message, modern_headers(message) | (headers or {}))


async def begin_call(server):
    """A call over a connection of its own."""
    message = ModernClient(None, "remote").message("tools/call", {"name": "echo"}, progressToken="t")
    server.session = modern_headers(message)
    return await server.stream("POST /mcp/remote HTTP/1.1", message)


async def test_a_request_passes_as_it_came_and_so_does_its_answer(connect, far):
    client = await connect()
    result = (await client.request("server/discover", {"x-also": [1.0]}, request_id="a"))["result"]
    assert result["x-unknown"] == [1.0, None]
    (handler,) = far.seen
    assert handler.message == client.message("server/discover", {"x-also": [1.0]}, request_id="a")
    sent = headers_of(handler)
    assert sent["Content-Type"] == "application/json"
    assert sent["Accept"] == "application/json, text/event-stream"
    assert sent["Mcp-Protocol-Version"] == "2026-07-28"
    assert sent["Mcp-Method"] == "server/discover"
    assert "Mcp-Name" not in sent


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("echo", "echo"),
        ("two words", "two words"),
        (" edges ", None),
        ("Zürich", None),
        ("", None),
        ("=?base64?ZWNobw==?=", None),
        ("line\r\nX-Other: 1", None),
    ],
)
async def test_a_name_goes_into_a_header_that_can_carry_it(connect, far, name, header):
    client = await connect()
    given = f"=?base64?{base64.b64encode(name.encode()).decode()}?="
    await client.frames(await client.post(client.message("tools/call", {"name": name}), {"Mcp-Name": given}))
    sent = headers_of(far.seen[-1])
    assert sent["Mcp-Name"] == (header or given)
    assert "X-Other" not in sent


async def test_arguments_are_repeated_in_headers_as_the_tool_wants_it(connect, far):
    client = await connect()
    message = client.message(
        "tools/call", {"name": "echo", "arguments": {"region": "Zürich", "count": 7, "sure": True}}
    )
    encoded = f"=?base64?{base64.b64encode('Zürich'.encode()).decode()}?="
    said = {"Mcp-Param-Region": encoded, "mcp-param-count": "7.0", "MCP-PARAM-SURE": "true"}
    await client.frames(await client.post(message, said))
    sent = headers_of(far.seen[-1])
    assert {name: sent[name] for name in sent if name.startswith("Mcp-Param-")} == {
        "Mcp-Param-Region": encoded,
        "Mcp-Param-Count": "7",
        "Mcp-Param-Sure": "true",
    }


async def test_they_are_repeated_for_a_client_that_knows_nothing_of_it(connect, far):
    client = Client((await connect()).gateway, "remote")
    await client.initialize()
    assert await client.text("echo", region="Zürich", count=-3, sure=False) == "called"
    sent = headers_of(far.of("tools/call")[0])
    assert base64.b64decode(sent["Mcp-Param-Region"][9:-2]).decode() == "Zürich"
    assert (sent["Mcp-Param-Count"], sent["Mcp-Param-Sure"]) == ("-3", "false")
    assert sent["Mcp-Name"] == "echo"
    assert "Mcp-Session-Id" not in sent


async def test_only_headers_of_mcp_go_on_and_never_in_place_of_the_owner_s(front, far):
    server = await front(headers={"Authorization": "Bearer theirs", "Mcp-Tenant": "home"})
    client_s = {
        "Cookie": "a=b",
        "Origin": "https://claude.ai",
        "X-Forwarded-For": "10.0.0.1",
        "X-Any": "x",
        "Mcp-Session-Id": "a-session",
        "Last-Event-ID": "7",
        "User-Agent": "client",
    }
    said = {"Mcp-Tenant": "another", "Mcp-Param-New": "=?base64?eA==?=", "Mcp-Later": "a b", "Mcp-Odd": "\xfc"}
    reply = await ask(server, "tools/call", {"name": "echo"}, client_s | said)
    assert reply.code == 200
    sent = headers_of(far.seen[-1])
    assert sent["Authorization"] == "Bearer theirs"
    assert sent["Host"] == f"127.0.0.1:{far.port}"
    assert sent["User-Agent"].startswith("mcpauth/")
    assert not sent.keys() & (client_s.keys() - {"User-Agent"})
    assert {name: sent[name] for name in sent if name not in modern_headers({"method": ""}) and "Mcp-" in name} == {
        "Mcp-Tenant": "home",
        "Mcp-Param-New": "=?base64?eA==?=",
        "Mcp-Later": "a b",
        "Mcp-Protocol-Version": "2026-07-28",
        "Mcp-Name": "echo",
    }


async def test_what_no_request_may_say_twice(front, far):
    server = await front()
    message = ModernClient(None, "remote").message("tools/list")
    server.session = modern_headers(message) | {"Mcp-Later": "a", "mcp-later": "b"}
    reader, writer = await server.stream("POST /mcp/remote HTTP/1.1", message)
    assert b" 400 " in await reader.readline()
    assert not far.seen
    writer.close()


@pytest.mark.parametrize("given", ["7", '"7"', '"a\\u0062"', "12345678901234567890123", "-3"])
async def test_an_id_comes_back_as_it_was_written(connect, given):
    client = await connect()
    message = client.message("tools/list")
    del message["id"]
    body = b'{"id":%s,%s' % (given.encode(), json.dumps(message).encode()[1:])
    answer = await forward(
        client.gateway,
        principal(),
        body,
        backend="remote",
        session_id=None,
        protocol_version="2026-07-28",
        headers=modern_headers(message).items(),
    )
    assert b'"id":%s,' % given.encode() in await anext(answer.replies)


async def test_what_it_offers_is_asked_for_again_when_it_is_used(serve, far):
    gateway = await serve(Served(HttpBackend("remote", RemoteServer(url=far.url), {}, fresh=0.0)))
    await gateway.settled()
    far.acts["tools/list"] = lambda handler: asyncio.sleep(
        0, handler.reply({**KEPT, "tools": [{**TOOL, "name": "new"}]})
    )
    await ModernClient(gateway, "remote").call("echo")
    await until(lambda: [tool.name for tool in gateway.backends()[0].tools] == ["new"])


@pytest.mark.parametrize("kind", ["json", "stream"])
async def test_connections_are_kept(connect, far, kind):
    if kind == "stream":
        far.acts["tools/call"] = lambda handler: handler.answer(COMPLETE)
    client = await connect()
    for _ in range(5):
        await client.call("echo")
    assert len({handler.peer for handler in far.seen}) == 1


async def test_a_connection_is_kept_when_its_stream_ends_after_the_client_has_its_answer(front, far):
    answered = asyncio.Event()

    async def act(handler):
        await handler.answer(COMPLETE)
        await answered.wait()

    far.acts["tools/call"] = act
    server = await front()
    for _ in range(2):
        answered.clear()
        assert (await ask(server, "tools/call", {"name": "echo"})).code == 200
        answered.set()
        # Until the gateway has read the rest.
        await until(lambda: not server.gateway._backends["remote"].busy)
    assert len({handler.peer for handler in far.seen}) == 1


async def test_frames_come_one_by_one_with_the_client_s_own_token(connect, far):
    go_on = asyncio.Semaphore(0)

    async def act(handler):
        token = handler.message["params"]["_meta"]["progressToken"]
        for number in range(3):
            await handler.event({"method": "notifications/progress", "params": {"progressToken": token, "x": number}})
            await go_on.acquire()
        await handler.answer(COMPLETE)

    far.acts["tools/call"] = act
    client = await connect()
    answer = await client.send("tools/call", {"name": "echo"}, progressToken="mine")
    for number in range(3):
        assert (await next_of(answer.replies))["params"] == {"progressToken": "mine", "x": number}
        go_on.release()
    assert (await next_of(answer.replies))["result"] == COMPLETE


async def test_two_users_hear_their_own(connect, far):
    """With the same ids and the same tokens: each has a connection of its own."""
    both = asyncio.Barrier(2)

    async def act(handler):
        meta = handler.message["params"]["_meta"]
        await both.wait()
        progress = {"progressToken": meta["progressToken"], "of": meta["x/who"]}
        await handler.event({"method": "notifications/progress", "params": progress})
        await handler.answer({**COMPLETE, "of": meta["x/who"]})

    far.acts["tools/call"] = act
    ann = await connect()

    async def told(who):
        client = ModernClient(ann.gateway, "remote", principal(subject=who, grant_id=who))
        answer = await client.send("tools/call", {"name": "echo"}, 1, progressToken=1, **{"x/who": who})
        progress, response = await client.frames(answer)
        return progress["params"]["of"], response["result"]["of"]

    assert await asyncio.gather(told("ann"), told("bob")) == [("ann", "ann"), ("bob", "bob")]


@pytest.mark.parametrize("begun", [False, True])
async def test_a_client_that_leaves_closes_the_connection(front, far, begun):
    async def act(handler):
        if begun:
            await handler.event({"method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}})
        await handler.gone

    far.acts["tools/call"] = act
    server = await front()
    reader, writer = await begin_call(server)
    if begun:
        await reader.readuntil(b"data: ")
    await until(lambda: far.seen)
    writer.close()
    await far.seen[-1].gone
    await until(lambda: not server.gateway._backends["remote"].busy)


async def test_a_grant_that_ends_closes_its_connections_alone(connect, far):
    async def act(handler):
        await handler.event({"method": "notifications/progress", "params": {"progressToken": "t"}})
        await handler.gone

    far.acts["tools/call"] = act
    ann = await connect()
    bob = ModernClient(ann.gateway, "remote", principal(subject="bob", grant_id="g2"))
    ann_s, _ = await ann.begun("echo")
    bob_s, _ = await bob.begun("echo")
    await ann.gateway.end_grant("g1")
    assert "has ended" in (await next_of(ann_s))["error"]["message"]
    await far.seen[0].gone
    assert not far.seen[1].gone.done()
    bob_s.leave()


async def test_a_flood_waits_for_its_reader_and_stalls_nobody_else(connect, far):
    told = []

    async def act(handler):
        if "progressToken" in handler.message["params"]["_meta"]:
            await flood(handler, 100_000, told)
        else:
            handler.reply(COMPLETE)

    far.acts["tools/call"] = act
    client = await connect()
    slow, _ = await client.begun("echo")
    other = ModernClient(client.gateway, "remote", principal(subject="bob", grant_id="g2"))
    before = -1
    while len(told) != before:
        before = len(told)
        for _ in range(50):
            await other.call("echo")
    for number in range(1, before + 50):
        assert (await next_of(slow))["params"]["progress"] == number
    slow.leave()


async def test_a_subscription_lasts_until_it_is_ended(connect, far):
    changed = asyncio.Event()

    async def act(handler):
        meta = {"_meta": {SUBSCRIPTION: handler.message["id"]}}
        await handler.event({"method": "notifications/subscriptions/acknowledged", "params": meta})
        await changed.wait()
        await handler.event({"method": "notifications/tools/list_changed", "params": meta})
        await handler.gone

    far.acts["subscriptions/listen"] = act
    client = await connect()
    answer = await client.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}}, "mine")
    assert (await next_of(answer.replies))["method"].endswith("acknowledged")
    changed.set()
    told = await next_of(answer.replies)
    assert told["method"] == "notifications/tools/list_changed"
    assert told["params"]["_meta"][SUBSCRIPTION] == "mine"
    # The gateway looks for itself what has changed.
    await until(lambda: far.of("tools/list"))
    client.gateway.hang_up()
    assert (await next_of(answer.replies))["result"] == {**COMPLETE, "_meta": {SUBSCRIPTION: "mine"}}
    await far.of("subscriptions/listen")[0].gone


@pytest.mark.parametrize("kind", ["json", "stream"])
async def test_a_message_of_sixteen_mebibytes_passes_both_ways(connect, far, kind):
    async def act(handler):
        result = {**COMPLETE, "echoed": handler.message["params"]["arguments"]["text"]}
        await handler.answer(result) if kind == "stream" else handler.reply(result)

    far.acts["tools/call"] = act
    client = await connect()
    text = "x" * (16 * 2**20 - 1000)
    assert (await client.call("echo", text=text))["result"]["echoed"] == text
    assert (await client.call("echo", text=text + "x" * 2**20))["error"]["message"] == (
        "the server remote sent a message of more than 16 MiB"
    )


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (
            401,
            {"WWW-Authenticate": "Bearer s3cret"},
            '{"jsonrpc":"2.0","error":{}}',
            "refuses our credentials (HTTP 401)",
        ),
        (403, {}, "no", "refuses our credentials (HTTP 403)"),
        (307, {"Location": "https://elsewhere.example/s3cret"}, "", "is at another address (HTTP 307)"),
        (404, {}, "<h1>s3cret</h1>", "is not at this address (HTTP 404)"),
        (400, {"Content-Type": "application/json"}, '{"detail":"s3cret"}', "answered with HTTP 400"),
        (500, {"Content-Type": "application/json"}, '{"jsonrpc":"2.0","error":{}}', "answered with HTTP 500"),
        (202, {}, "", "answered with nothing"),
        (200, {"Content-Type": "text/html"}, "s3cret", "answered with text/html, which is not MCP"),
        (200, {"Content-Type": "application/json"}, "s3cret", "answered with application/json, which is not MCP"),
        (200, {"Content-Type": "application/json"}, "[]", "answered with application/json, which is not MCP"),
        (200, {"Content-Type": "application/json"}, '{"jsonrpc":"2.0","id":1}', "which is not MCP"),
        (200, {"Content-Type": "text/event-stream"}, "data: {}\n\n", "ended its answer before it was complete"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_says_why(connect, far, status, headers, body, said):
    async def act(handler):
        handler.set_status(status)
        for name, value in headers.items():
            handler.set_header(name, value)
        handler.finish(body or None)

    client = await connect(headers={"X-Key": "s3cret"})
    far.acts["tools/call"] = act
    error = (await client.call("echo"))["error"]
    assert error["code"] == -32000
    assert f"the server remote {said}" in error["message"] or said in error["message"]
    assert "s3cret" not in error["message"]
    assert str(far.port) not in error["message"]
    assert len(far.of("tools/call")) == 1


async def test_a_server_that_goes_in_the_middle_is_a_failure_and_not_asked_twice(connect, far):
    async def act(handler):
        await handler.event({"method": "notifications/progress", "params": {"progressToken": "t"}})
        await handler.cut()

    far.acts["tools/call"] = act
    client = await connect()
    replies, _ = await client.begun("echo")
    assert (await next_of(replies))["error"]["message"] == "the server remote ended its answer before it was complete"
    assert len(far.seen) == 1


async def test_a_server_that_is_gone_is_named(connect, far):
    client = await connect(headers={"X-Key": "hush"})
    await far.close()
    error = (await client.call("echo"))["error"]
    assert error["message"] == "the server remote did not answer (connection refused; see its url in mcp.json)"


@pytest.mark.parametrize(
    ("status", "code"), [(400, -32602), (400, -32020), (400, -32021), (404, -32601), (200, -32603)]
)
@pytest.mark.parametrize("own_id", [True, False])
async def test_an_error_of_the_server_s_is_passed_on(front, far, status, code, own_id):
    async def act(handler):
        about = {"error": {"code": code, "message": "no", "data": {"x": [1.0]}}}
        handler.reply(status=status, **(about if own_id else {**about, "id": None}))

    far.acts["tools/call"] = act
    reply = await ask(await front(), "tools/call", {"name": "echo"})
    assert reply.code == status
    assert json.loads(reply.body) == {
        "jsonrpc": "2.0",
        "id": 1,
        "error": {"code": code, "message": "no", "data": {"x": [1.0]}},
    }


async def test_what_a_server_says_that_broke_is_passed_on(connect, far):
    async def act(handler):
        handler.reply(status=503, error={"code": -32603, "message": "the disk is full"})

    client = await connect()
    far.acts["tools/call"] = act
    error = (await client.call("echo"))["error"]
    assert error == {"code": -32000, "message": "the server remote answered with HTTP 503: the disk is full"}


async def test_what_is_no_message_of_this_era_is_skipped(connect, far, caplog):
    async def act(handler):
        handler.set_header("Content-Type", "text/event-stream")
        handler.write("event: other\ndata: {}\n\ndata: no json\n\n: comment\n\n")
        await handler.event({"id": 1, "method": "sampling/createMessage", "params": {}})
        await handler.answer(COMPLETE)
        await handler.event({"method": "notifications/message", "params": {"data": "late"}})

    far.acts["tools/call"] = act
    client = await connect()
    (response,) = await client.frames(await client.calling("echo"))
    assert response["result"] == COMPLETE
    assert caplog.text.count("backend_message_skipped") == 2


async def test_a_stream_that_does_not_end_after_its_answer_is_left(connect, far):
    async def act(handler):
        await handler.answer(COMPLETE)
        await handler.gone

    far.acts["tools/call"] = act
    client = await connect()
    assert (await client.call("echo"))["result"] == COMPLETE
    await far.seen[0].gone


async def test_nothing_is_left_of_a_gateway_that_was_closed(connect, far):
    async def act(handler):
        await handler.event({"method": "notifications/progress", "params": {"progressToken": "t"}})
        await handler.gone

    far.acts["tools/call"] = act
    client = await connect()
    replies, _ = await client.begun("echo")
    await client.gateway.close()
    assert "the server remote" in (await next_of(replies))["error"]["message"]
    await far.seen[0].gone
    ours = re.compile(r"mcpauth/gateway|aiohttp")
    await until(lambda: not [task for task in asyncio.all_tasks() if ours.search(str(task.get_coro()))])


async def test_one_whose_place_another_takes_takes_no_new_request(far):
    backend = HttpBackend("remote", RemoteServer(url=far.url), {})
    await backend.start()
    backend.retire()
    with pytest.raises(BackendUnavailable, match="has changed"):
        await backend.join(None)
    await backend.close()


async def test_it_is_not_reached_through_proxies_of_the_environment(connect, far, monkeypatch):
    listening, port = bind_unused_port()
    listening.close()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    assert (await (await connect()).call("echo"))["result"]["resultType"] == "complete"
