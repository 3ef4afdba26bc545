"""Remote backends, and what a remote server may do to us. The real ones are in test_http_backend_sdk.py."""

import asyncio
import json
import logging
import re

import pytest
from tornado.testing import bind_unused_port

from mcpauth.errors import BackendUnavailable, SessionLost
from mcpauth.gateway import frames, http_session
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient
from tests.fakes.mcp_http_server import McpHttpServer, flood
from tests.gateway.test_http import Server, call

AT_ONCE = (0.0, 0.0, 0.0)


@pytest.fixture
def far(io_loop):
    """The remote server."""

    async def start():
        return McpHttpServer()

    server = io_loop.run_sync(start)
    yield server
    io_loop.run_sync(server.close)


@pytest.fixture
def begin(serve, far):
    """A gateway that has found out what the remote server offers."""

    async def start(url=None, environ=None, **given):
        server = RemoteServer(url=url or far.url, **given)
        gateway = await serve(Served(HttpBackend("remote", server, environ or {}, AT_ONCE)))
        await gateway.settled()
        far.seen.clear()
        return gateway

    return start


@pytest.fixture
def connect(begin):
    """An initialized client at /mcp/remote."""

    async def start(**given):
        client = Client(await begin(**given), "remote")
        await client.initialize()
        return client

    return start


async def next_of(stream):
    return json.loads(await anext(stream))


async def until(happened):
    """Returns once it has; the test's own time limit ends the wait."""
    while not happened():  # noqa: ASYNC110 - the other side of a connection sets no Event
        await asyncio.sleep(0.01)


def headers_of(handler):
    return dict(handler.request.headers.get_all())


async def test_a_session_from_beginning_to_end(connect, far):
    client = await connect()
    assert (await client.request("ping", {"a": 1}))["result"]["content"][0]["text"] == '{"a": 1}'
    await until(lambda: far.of("GET"))
    await client.gateway.close()
    initialize, initialized, ping, stream, delete = (
        far.of(method)[0] for method in ("initialize", "notifications/initialized", "ping", "GET", "DELETE")
    )
    for handler in (initialize, initialized, ping):
        sent = headers_of(handler)
        assert sent["Content-Type"] == "application/json"
        assert sent["Accept"] == "application/json, text/event-stream"
    assert "Mcp-Session-Id" not in headers_of(initialize)
    assert "Mcp-Protocol-Version" not in headers_of(initialize)
    assert headers_of(stream)["Accept"] == "text/event-stream"
    for handler in (initialized, ping, stream, delete):
        assert headers_of(handler)["Mcp-Session-Id"] == far.sessions[-1]
        assert headers_of(handler)["Mcp-Protocol-Version"] == "2025-06-18"


async def test_what_the_server_says_of_itself_passes_untouched(begin):
    client = Client(await begin(), "remote")
    result = (await client.initialize())["result"]
    assert result["x-unknown"] == [1.0, None]
    assert result["serverInfo"]["name"] == "far"


@pytest.mark.parametrize("given", ["7", '"7"', '"a\\u0062"', "12345678901234567890123", "-3"])
async def test_an_id_comes_back_as_it_was_written(connect, far, given):
    client = await connect()
    answer = await client.post(b'{"jsonrpc":"2.0","id":%s,"method":"ping"}' % given.encode())
    assert b'"id":%s,' % given.encode() in await anext(answer.replies)
    assert isinstance(far.of("ping")[-1].message["id"], int)


async def test_nothing_of_the_client_is_forwarded(begin, far):
    server = Server(await begin(headers={"Authorization": "Bearer theirs"}))
    ours = {"Cookie": "a=b", "Origin": "https://claude.ai", "X-Forwarded-For": "10.0.0.1", "X-Any": "x"}
    server.session = ours
    await server.begin("/mcp/remote")
    server.session |= ours
    assert (await server.post("/mcp/remote", call("echo"))).code == 200
    assert (await server.fetch("/mcp/remote", "DELETE")).code == 204
    await until(lambda: far.of("DELETE"))
    await server.close()
    for handler in far.seen:
        sent = headers_of(handler)
        assert sent["Authorization"] == "Bearer theirs"
        assert sent["Host"] == f"127.0.0.1:{far.port}"
        assert sent["User-Agent"].startswith("mcpauth/")
        assert not sent.keys() & ours.keys()
        assert sent.get("Mcp-Session-Id") in (None, far.sessions[-1])


async def test_headers_are_taken_from_the_environment(connect, far):
    await connect(
        headers={"Authorization": "Bearer ${TOKEN}", "X-Both": "${env:A}-${A}", "Accept": "text/html", "X-Plain": "$A"},
        environ={"TOKEN": "s3cret", "A": "a"},
    )
    sent = headers_of(far.of("initialize")[0])
    assert sent["Authorization"] == "Bearer s3cret"
    assert sent["X-Both"] == "a-a"
    assert sent["X-Plain"] == "$A"
    assert sent["Accept"] == "application/json, text/event-stream"


async def test_cookies_of_the_server_are_not_kept(connect, far):
    client = await connect()
    await client.text("echo")
    assert all("Cookie" not in headers_of(handler) for handler in far.seen)


async def test_proxies_of_the_environment_are_not_used(connect, far, monkeypatch):
    listening, port = bind_unused_port()
    listening.close()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert await (await connect()).names() == ["echo"]


@pytest.mark.parametrize("kind", ["json", "stream"])
async def test_connections_are_kept(connect, far, kind):
    async def act(handler):
        if kind == "json":
            await far.call(handler)
        else:
            await handler.answer(handler.text("x"))
            handler.finish()

    far.acts["tools/call"] = act
    client = await connect()
    for _ in range(10):
        await client.text("echo")
    # One answered initialize; another one may have been made for the stream, or while a stream came to its end.
    assert len({handler.peer for handler in far.of("tools/call")}) <= 2


async def test_frames_before_the_answer_come_one_by_one(connect, far):
    heard = asyncio.Event()

    async def act(handler):
        token = handler.message["params"]["_meta"]["progressToken"]
        await handler.event({"method": "notifications/message", "params": {"data": "first"}})
        await heard.wait()
        await handler.event({"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        await handler.event({"method": "notifications/progress", "params": {"progressToken": "?", "progress": 2}})
        await handler.answer(handler.text("done"))
        handler.finish()

    far.acts["tools/call"] = act
    client = await connect()
    answer = await client.send("tools/call", {"name": "echo", "_meta": {"progressToken": "t"}})
    assert (await next_of(answer.replies))["params"]["data"] == "first"
    heard.set()
    assert (await next_of(answer.replies))["params"] == {"progressToken": "t", "progress": 1}
    assert (await next_of(answer.replies))["result"]["content"][0]["text"] == "done"


async def test_a_question_of_the_server_is_answered_by_the_client(connect, far):
    answered = asyncio.get_running_loop().create_future()

    async def act(handler):
        await handler.event({"id": "q-1", "method": "elicitation/create", "params": {}})
        await handler.answer(handler.text(json.dumps(await answered)))
        handler.finish()

    async def hear(handler):
        answered.set_result(handler.message)
        await far.accept(handler)

    far.acts |= {"tools/call": act, "answer": hear}
    client = await connect()
    answer = await client.calling("echo")
    asked = await next_of(answer.replies)
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"n": 3}})
    text = (await next_of(answer.replies))["result"]["content"][0]["text"]
    assert json.loads(text) == {"jsonrpc": "2.0", "id": "q-1", "result": {"n": 3}}


async def test_a_cancellation_is_passed_on_and_closes_the_connection(connect, far):
    begun = asyncio.get_running_loop().create_future()

    async def act(handler):
        begun.set_result(handler)
        await handler.gone

    far.acts["tools/call"] = act
    client = await connect()
    waiting = asyncio.create_task(client.request("tools/call", {"name": "echo"}, request_id="mine"))
    handler = await begun
    await client.notify("notifications/cancelled", {"requestId": "mine", "reason": "no more"})
    assert (await waiting)["error"]["message"] == "the request was cancelled"
    (told,) = far.of("notifications/cancelled")
    assert told.message["params"] == {"requestId": handler.message["id"], "reason": "no more"}
    await handler.gone
    await client.notify("notifications/cancelled", {"requestId": "mine"})
    assert len(far.of("notifications/cancelled")) == 1


async def test_a_flood_waits_for_its_reader(connect, far):
    told = []
    far.acts["tools/call"] = lambda handler: flood(handler, 100_000, told)
    client = await connect()
    answer = await client.send("tools/call", {"name": "echo", "_meta": {"progressToken": 1}})
    await anext(answer.replies)
    # Nobody reads on. Buffers fill, then the server is stuck, and others are served none the less.
    other = Client(client.gateway, "remote")
    await other.initialize()
    before = -1
    while len(told) != before:
        before = len(told)
        for _ in range(50):
            await other.request("ping")
    for number in range(1, before + 50):
        assert (await next_of(answer.replies))["params"]["progress"] == number


async def test_what_belongs_to_no_request_comes_over_the_stream_that_is_opened_again(begin, far):
    streams = asyncio.Queue()

    async def listen(handler):
        streams.put_nowait(handler)
        await handler.event(id="1", retry=0)
        await handler.gone

    client = Client(await begin(), "remote")
    far.acts["GET"] = listen
    await client.initialize()
    heard = client.listen()
    first = await streams.get()
    assert "Last-Event-Id" not in headers_of(first)
    await first.event({"method": "notifications/message", "params": {"data": "one"}}, id="2")
    assert (await next_of(heard))["params"]["data"] == "one"
    await first.event({"id": 5, "method": "roots/list"}, id="3")
    asked = await next_of(heard)
    assert asked["method"] == "roots/list"
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": {"roots": []}})
    assert far.of("POST")[-1].message == {"jsonrpc": "2.0", "id": 5, "result": {"roots": []}}
    await first.cut()
    second = await streams.get()
    assert headers_of(second)["Last-Event-Id"] == "3"
    await second.event({"method": "notifications/message", "params": {"data": "two"}})
    assert (await next_of(heard))["params"]["data"] == "two"
    second.finish()
    await client.gateway.close()
    await (await streams.get()).gone


async def test_what_it_asks_on_its_stream_reaches_a_client_that_does_not_listen(begin, far):
    stream = asyncio.get_running_loop().create_future()

    async def listen(handler):
        stream.set_result(handler)
        await handler.event()
        await handler.gone

    client = Client(await begin(), "remote")
    far.acts["GET"] = listen
    await client.initialize()
    (session,) = client.gateway._sessions.of_endpoint("remote")
    for number in (5, 6):
        await (await stream).event({"id": number, "method": "roots/list"})
    await (await stream).event({"method": "notifications/cancelled", "params": {"requestId": 5}})
    await until(lambda: session.mailbox._urgent == 3)
    *asked, answer = await client.frames(await client.calling("echo"))
    assert [one["method"] for one in asked] == ["roots/list", "roots/list", "notifications/cancelled"]
    assert asked[2]["params"]["requestId"] == asked[0]["id"]
    assert "result" in answer
    await client.post({"jsonrpc": "2.0", "id": asked[1]["id"], "result": {"roots": []}})
    assert far.of("POST")[-1].message == {"jsonrpc": "2.0", "id": 6, "result": {"roots": []}}
    await client.gateway.close()


async def test_a_ping_is_answered_here_on_whatever_stream_it_comes(begin, far):
    """The client neither listens nor is told."""
    streams, answers = asyncio.Queue(), asyncio.Queue()

    async def listen(handler):
        streams.put_nowait(handler)
        await handler.event()
        await handler.gone

    async def act(handler):
        await handler.event({"id": "in a call", "method": "ping"})
        await handler.answer(handler.text("done"))

    async def take(handler):
        answers.put_nowait(handler.message)
        await far.accept(handler)

    client = Client(await begin(), "remote")
    far.acts |= {"GET": listen, "tools/call": act, "answer": take}
    await client.initialize()
    assert [message["result"] for message in await client.frames(await client.calling("echo"))] == [
        {"content": [{"type": "text", "text": "done"}]}
    ]
    assert await answers.get() == {"jsonrpc": "2.0", "id": "in a call", "result": {}}
    stream = await streams.get()
    await stream.event({"id": 7, "method": "ping"})
    assert await answers.get() == {"jsonrpc": "2.0", "id": 7, "result": {}}
    await client.gateway.close()


async def test_a_server_that_pings_and_takes_no_answer_keeps_few_of_them_waiting(begin, far):
    stream, waiting = asyncio.get_running_loop().create_future(), []

    async def listen(handler):
        stream.set_result(handler)
        await handler.event()
        await handler.gone

    async def keep_quiet(handler):
        waiting.append(handler)
        await handler.gone

    client = Client(await begin(), "remote")
    far.acts |= {"GET": listen, "answer": keep_quiet}
    await client.initialize()
    heard = client.listen()
    for number in range(3 * http_session.PINGS):
        await (await stream).event({"id": number, "method": "ping"})
    await (await stream).event({"method": "notifications/message", "params": {"data": "that is all"}})
    assert (await next_of(heard))["params"]["data"] == "that is all"
    await until(lambda: len(waiting) == http_session.PINGS)
    await client.gateway.close()
    await asyncio.gather(*(handler.gone for handler in waiting))
    assert len(waiting) == http_session.PINGS


async def test_a_stream_that_is_refused_for_now_is_asked_for_again(connect, far):
    opened = asyncio.Event()

    async def listen(handler):
        if len(far.of("GET")) < 3:
            handler.set_status(503)
            handler.finish()
        else:
            opened.set()
            await handler.gone

    far.acts["GET"] = listen
    await connect()
    await opened.wait()


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 405])
async def test_a_server_without_a_stream_is_asked_once(connect, far, status):
    async def listen(handler):
        handler.set_status(status)
        handler.finish()

    # Without a session: with one, a 404 means that it is over.
    async def initialize(handler):
        handler.reply({"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {}})

    far.acts |= {"GET": listen, "initialize": initialize}
    client = await connect()
    await until(lambda: far.of("GET"))
    for _ in range(20):
        await client.request("ping")
    assert len(far.of("GET")) == 1
    await client.gateway.close()
    assert far.of("DELETE") == []


async def test_before_anything_is_asked_there_is_a_stream_for_what_the_server_asks(connect, far):
    opened = []

    async def listen(handler):
        await asyncio.sleep(0.05)
        opened.append(headers_of(handler)["Mcp-Session-Id"])
        await handler.event(retry=0)
        await handler.gone

    async def call(handler):
        handler.reply(handler.text(str(headers_of(handler)["Mcp-Session-Id"] in opened)))

    far.acts |= {"GET": listen, "tools/call": call}
    assert await (await connect()).text("echo") == "True"


async def test_an_answer_that_was_cut_is_resumed(connect, far):
    async def act(handler):
        await handler.event(id="a-1", retry=0)
        await handler.event({"method": "notifications/message", "params": {"data": "begun"}}, id="a-2")
        await handler.cut()

    async def resume(handler):
        match headers_of(handler).get("Last-Event-Id"):
            case None:
                await far.refuse_stream(handler)
            case "a-2":
                await handler.event(id="a-3")
                handler.finish()
            case "a-3":
                result = handler.text("resumed")
                await handler.event({"id": far.of("tools/call")[-1].message["id"], "result": result}, id="a-4")
                handler.finish()

    far.acts |= {"tools/call": act, "GET": resume}
    client = await connect()
    message, response = await client.frames(await client.calling("echo"))
    assert message["params"]["data"] == "begun"
    assert response["result"]["content"][0]["text"] == "resumed"


async def test_an_answer_that_cannot_be_resumed_is_a_failure_and_not_asked_for_twice(connect, far):
    async def act(handler):
        await handler.event({"method": "notifications/message", "params": {"data": "begun"}})
        await handler.cut()

    far.acts["tools/call"] = act
    client = await connect()
    *_, response = await client.frames(await client.calling("echo"))
    assert response["error"]["message"] == "the server remote ended its answer before it was complete"
    assert len(far.of("tools/call")) == 1


@pytest.mark.parametrize("status", [405, 503])
async def test_resuming_ends_when_it_does_not_help(connect, far, status):
    async def act(handler):
        await handler.event(id="a-1")
        handler.finish()

    async def resume(handler):
        handler.set_status(status)
        handler.finish()

    far.acts["tools/call"] = act
    client = await connect()
    far.acts["GET"] = resume
    assert (await client.call("echo"))["error"]["code"] == -32000
    resumed = [handler for handler in far.of("GET") if "Last-Event-Id" in headers_of(handler)]
    assert len(resumed) == (1 if status == 405 else len(AT_ONCE))


async def forget(handler):
    handler.set_status(404)
    handler.finish()


async def forget_with_400(handler):
    handler.reply(status=400, id=None, error={"code": -32000, "message": "Bad Request: No valid session ID provided"})


@pytest.mark.parametrize("forgets", [forget, forget_with_400])
async def test_a_session_the_server_has_forgotten_is_begun_again_unnoticed(connect, far, forgets):
    client = await connect()
    await client.text("echo")

    async def forget_once(handler):
        far.acts["tools/call"] = far.call
        await forgets(handler)

    far.acts["tools/call"] = forget_once
    assert json.loads(await client.text("echo", a=1))["arguments"] == {"a": 1}
    assert headers_of(far.of("tools/call")[-1])["Mcp-Session-Id"] == far.sessions[-1]
    assert len(far.of("initialize")) == 2


@pytest.mark.parametrize(
    ("about", "error"),
    [
        ({}, {"code": -32000, "message": "could not save your shopping session"}),
        ({"id": None}, {"code": -32000, "message": "no such shop", "data": {"session": "mine"}}),
    ],
)
async def test_the_error_of_a_request_that_was_run_is_the_clients_and_it_is_not_run_again(connect, far, about, error):
    async def fail(handler):
        handler.reply(status=400, **about, error=error)

    far.acts["tools/call"] = fail
    client = await connect()
    assert (await client.call("buy"))["error"] == error
    assert len(far.of("tools/call")) == len(far.of("initialize")) == 1


async def test_a_server_that_forgets_every_session_is_not_asked_for_ever(connect, far):
    client = await connect()
    far.acts["tools/call"] = forget
    error = (await client.call("echo"))["error"]
    assert error["message"] == "the server remote has ended the MCP session"
    assert len(far.of("tools/call")) == 2


async def test_only_the_request_that_was_not_run_may_be_sent_again(far):
    begun = asyncio.Event()

    async def act(handler):
        begun.set()
        await handler.gone

    far.acts |= {"tools/call": act, "ping": forget}
    backend = HttpBackend("remote", RemoteServer(url=far.url), {}, AT_ONCE)
    await backend.start()
    session = await backend.open(lambda _: None)
    await anext(session.request(frames.request(1, "initialize", {"protocolVersion": "2025-06-18"})))
    running = session.request(frames.request(2, "tools/call", {}))
    await begun.wait()
    with pytest.raises(SessionLost):
        await anext(session.request(frames.request(3, "ping", {})))
    with pytest.raises(BackendUnavailable) as refused:
        await anext(running)
    assert not isinstance(refused.value, SessionLost)
    with pytest.raises(BackendUnavailable):
        session.request(frames.request(4, "ping", {}))
    await backend.close()


async def test_a_session_that_ended_on_the_stream_is_begun_again_unnoticed(connect, far):
    far.acts["GET"] = forget
    client = await connect()
    await until(lambda: far.of("GET"))
    far.acts["GET"] = far.refuse_stream
    assert "result" in await client.request("ping")
    assert far.of("DELETE") == []


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (401, {"WWW-Authenticate": "Bearer"}, "", "refuses our credentials (HTTP 401)"),
        (403, {"Content-Type": "application/json"}, '{"jsonrpc":"2.0"}', "refuses our credentials (HTTP 403)"),
        (307, {"Location": "http://127.0.0.1:1/stolen"}, "", "redirects are not followed"),
        (405, {}, "", "is not at this address (HTTP 405)"),
        (413, {"Content-Type": "application/json"}, "{}", "answered with HTTP 413"),
        (429, {"Content-Type": "text/html"}, "<html>", "answered with HTTP 429"),
        (500, {"Content-Type": "application/json"}, '{"jsonrpc":"2.0"}', "answered with HTTP 500"),
        (502, {}, "hush", "answered with HTTP 502"),
        (200, {"Content-Type": "text/html"}, "hush", "answered with text/html, which is not MCP"),
        (200, {"Content-Type": "application/json"}, "hush", "which is not MCP"),
        (200, {"Content-Type": "application/json"}, "[]", "which is not MCP"),
        (200, {"Content-Type": "application/json"}, '{"jsonrpc":"2.0","id":99,"result":{}}', "which is not MCP"),
        (202, {}, "", "answered with nothing"),
        (200, {"Content-Type": "text/event-stream"}, "data: hush\n\n", "ended its answer"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_says_why(connect, far, status, headers, body, said):
    async def act(handler):
        handler.set_status(status)
        for name, value in headers.items():
            handler.set_header(name, value)
        handler.finish(body)

    client = await connect()
    far.acts["tools/call"] = act
    error = (await client.call("echo"))["error"]
    assert error["code"] == -32000
    assert error["message"].startswith("the server remote ")
    assert said in error["message"]
    assert "hush" not in error["message"]
    # One that only begins is no different, and the owner sees why the server is not there.
    far.acts["initialize"] = act
    error = (await Client(client.gateway, "remote").initialize())["error"]
    assert said in error["message"]
    assert len(far.of("tools/call")) == 1


async def test_a_refusal_that_names_headers_never_shows_them(begin, far, caplog):
    caplog.set_level(logging.DEBUG)

    async def act(handler):
        handler.set_status(401)
        handler.finish()

    far.acts["initialize"] = act
    gateway = await begin(headers={"Authorization": "Bearer s3cret"})
    (state,) = gateway.backends()
    assert state.state == "failed"
    assert "refuses our credentials (HTTP 401); its owner should look at its headers in mcp.json" in state.reason
    server = Server(gateway)
    reply = await server.post("/mcp/remote", {"id": 1, "method": "initialize", "params": {}})
    await server.close()
    assert reply.code == 200
    assert b"refuses our credentials" in reply.body
    assert "WWW-Authenticate" not in reply.headers
    assert "s3cret" not in caplog.text + repr([vars(record) for record in caplog.records])


@pytest.mark.parametrize("status", [200, 400, 404, 422])
@pytest.mark.parametrize("given", [None, "server-error"])
async def test_an_error_of_the_server_s_passes_with_the_client_s_id(connect, far, status, given):
    error = {"code": -32602, "message": "no such thing", "data": {"x": 1.5}}

    async def initialize(handler):
        handler.reply({"protocolVersion": "2025-03-26", "capabilities": {}, "serverInfo": {}})

    async def act(handler):
        handler.reply(status=status, id=given, error=error)

    far.acts |= {"tools/call": act, "initialize": initialize}
    client = await connect()
    reply = await client.request("tools/call", {"name": "echo"}, request_id="mine")
    assert reply == {"jsonrpc": "2.0", "id": "mine", "error": error}


@pytest.mark.parametrize("make", [Client, ModernClient])
@pytest.mark.parametrize("own_id", [True, False])
async def test_what_a_server_says_that_broke_is_passed_on_in_part(connect, far, make, own_id):
    async def act(handler):
        error = {"code": -32603, "message": "disk\n\x1b[1m full" + "x" * 1000, "data": {"trace": "hush"}}
        handler.reply(status=500, error=error, **({} if own_id else {"id": None}))

    client = make((await connect()).gateway, "remote")
    if make is Client:
        await client.initialize()
    far.acts["tools/call"] = act
    error = (await client.call("echo"))["error"]
    said = (r"disk\n\x1b[1m full" + "x" * 1000)[:500]
    assert error == {"code": -32000, "message": f"the server remote answered with HTTP 500: {said}"}


async def test_a_server_of_2025_03_26_may_answer_with_a_batch(connect, far):
    async def act(handler):
        told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}}
        response = {"jsonrpc": "2.0", "id": handler.message["id"], "result": handler.text("batched")}
        handler.set_header("Content-Type", "application/json; charset=utf-8")
        handler.finish(json.dumps([told, response]))

    far.acts["tools/call"] = act
    client = await connect()
    told, response = await client.frames(await client.calling("echo"))
    assert told["params"]["data"] == "x"
    assert response["result"]["content"][0]["text"] == "batched"


@pytest.mark.parametrize("kind", ["json", "stream"])
async def test_a_message_of_sixteen_mebibytes_passes_and_a_larger_one_does_not(connect, far, kind):
    async def act(handler):
        text = handler.text("x" * handler.message["params"]["arguments"]["size"])
        if kind == "json":
            handler.reply(text)
        else:
            await handler.answer(text)
            handler.finish()

    far.acts["tools/call"] = act
    client = await connect()
    assert len(await client.text("echo", size=16 * 2**20 - 1000)) == 16 * 2**20 - 1000
    error = (await client.call("echo", size=17 * 2**20))["error"]
    assert error["message"] == "the server remote sent a message of more than 16 MiB"
    far.acts["tools/call"] = far.call
    text = "x" * (16 * 2**20 - 1000)
    assert json.loads(await client.text("echo", text=text))["arguments"]["text"] == text


async def test_what_is_no_message_is_skipped(connect, far, caplog):
    async def act(handler):
        handler.set_header("Content-Type", "text/event-stream")
        handler.write("event: ping\ndata: 1\n\ndata: hush\n\n: a comment\n\ndata: {}\n\n")
        await handler.event({"id": 99, "result": {}})
        await handler.answer(handler.text("fine"))
        handler.finish()

    far.acts["tools/call"] = act
    client = await connect()
    assert len(await client.frames(await client.calling("echo"))) == 1
    assert caplog.text.count("backend_message_skipped") == 2


async def test_a_stream_that_does_not_end_after_its_answer_is_left(connect, far):
    left = asyncio.get_running_loop().create_future()

    async def act(handler):
        await handler.answer(handler.text("done"))
        await handler.event({"method": "notifications/message", "params": {"data": "late"}})
        await handler.gone
        left.set_result(None)

    far.acts["tools/call"] = act
    client = await connect()
    heard = client.listen()
    assert await client.text("echo") == "done"
    # What comes after the answer belongs to no request any more.
    assert (await next_of(heard))["params"]["data"] == "late"
    await left


async def test_a_server_that_is_not_there_is_named(serve):
    listening, port = bind_unused_port()
    listening.close()
    server = RemoteServer(url=f"http://127.0.0.1:{port}/mcp", headers={"X-Key": "hush"})
    gateway = await serve(Served(HttpBackend("remote", server, {}, AT_ONCE)))
    error = (await Client(gateway, "remote").initialize())["error"]
    assert error["message"] == "the server remote did not answer (connection refused; see its url in mcp.json)"
    (state,) = await gateway.settled()
    assert state.reason == error["message"]


async def test_a_notification_that_is_refused_is_no_error_of_the_client_s(connect, far, caplog):
    client = await connect()
    for status in (400, 500):

        async def act(handler, status=status):
            handler.set_status(status)
            handler.finish()

        far.acts["notifications/roots/list_changed"] = act
        await client.notify("notifications/roots/list_changed")
        assert f"HTTP {status}" in caplog.records[-1].fields["reason"]
    assert await client.text("echo")


async def test_nothing_is_left_of_a_gateway_that_was_closed(connect, far):
    async def listen(handler):
        await handler.event(retry=0)
        await handler.gone

    async def act(handler):
        await handler.event({"method": "notifications/message", "params": {"data": "begun"}})
        await handler.gone

    far.acts |= {"GET": listen, "tools/call": act}
    client = await connect()
    answer = await client.calling("echo")
    await anext(answer.replies)
    await client.gateway.close()
    assert "mcpauth is stopping" in (await next_of(answer.replies))["error"]["message"]
    for handler in (*far.of("GET"), *far.of("tools/call")):
        await handler.gone
    ours = re.compile(r"mcpauth/gateway|aiohttp")
    await until(lambda: not [task for task in asyncio.all_tasks() if ours.search(str(task.get_coro()))])


async def test_a_server_that_does_not_take_our_leave_does_not_delay_it(connect, far, monkeypatch):
    monkeypatch.setattr(http_session, "LEAVING", 0.1)

    async def stay(handler):
        await handler.gone

    client = await connect()
    far.acts["DELETE"] = stay
    await client.gateway.close()
    (left,) = far.of("DELETE")
    await left.gone


async def test_killed_it_lets_go_at_once(far):
    async def keep_quiet(handler):
        asked.set()
        await handler.gone

    asked = asyncio.Event()
    far.acts["ping"] = keep_quiet
    backend = HttpBackend("remote", RemoteServer(url=far.url), {}, AT_ONCE)
    await backend.start()
    session = await backend.open(lambda _: None)
    waiting = asyncio.ensure_future(anext(session.request(frames.request(1, "ping", {}))))
    await asked.wait()
    backend.kill()
    with pytest.raises(BackendUnavailable, match="the connection was closed"):
        await waiting
    await backend.close()


async def test_a_backend_that_was_never_used_is_closed():
    backend = HttpBackend("remote", RemoteServer(url="http://127.0.0.1:1/mcp"), {}, AT_ONCE)
    backend.kill()
    await backend.close()


async def test_one_that_cannot_be_reached_is_one_line_and_another_when_it_is_back(begin, ambient, caplog):
    listening, port = bind_unused_port()
    listening.close()

    def lines(level):
        about = [one for one in caplog.records if "remote" in str(getattr(one, "fields", "")) and one.levelno >= level]
        return [one.getMessage() for one in about]

    with caplog.at_level("DEBUG"):
        gateway = await begin(url=f"http://127.0.0.1:{port}/mcp")
        for times in (2, 3):
            ambient.time += 1000
            await gateway.settled()
            await until(lambda: lines(logging.DEBUG).count("backend_unavailable") == times)  # noqa: B023
        assert lines(logging.INFO) == ["backend_unavailable"]
        back = McpHttpServer(port)
        ambient.time += 1000
        await gateway.settled()
        await until(lambda: "backend_returned" in lines(logging.INFO))
        assert lines(logging.INFO) == ["backend_unavailable", "backend_returned"]
        await back.close()


async def test_who_only_listens_goes_on_hearing_when_the_server_has_ended_the_session(begin, far):
    subscribed, over = asyncio.Queue(), asyncio.Event()

    async def initialize(handler):
        handler.set_header("Mcp-Session-Id", "s")
        about = {"capabilities": {"resources": {"subscribe": True}}, "serverInfo": {"name": "far", "version": "1"}}
        handler.reply({"protocolVersion": handler.message["params"]["protocolVersion"], **about})

    async def lists(handler):
        handler.reply({"resources": [], "resourceTemplates": []})

    async def subscribe(handler):
        handler.reply({})
        subscribed.put_nowait(handler.message["params"]["uri"])

    async def end(handler):
        if over.is_set():
            await far.refuse_stream(handler)
            return
        await over.wait()
        handler.reply(status=404, error={"code": -32001, "message": "Session not found"})

    far.acts |= {"initialize": initialize, "resources/subscribe": subscribe, "GET": end}
    far.acts |= {"resources/list": lists, "resources/templates/list": lists}
    client = Client(await begin(), "remote")
    await client.initialize()
    heard = client.listen()
    assert "result" in await client.request("resources/subscribe", {"uri": "x:1"})
    assert await subscribed.get() == "x:1"
    over.set()
    (session,) = client.gateway._sessions.of_endpoint("remote")
    while not session.unfollowed():  # noqa: ASYNC110 - what the server says over GET comes when it comes
        await asyncio.sleep(0.01)
    client.gateway.look_around()
    assert await subscribed.get() == "x:1"
    heard.close()
