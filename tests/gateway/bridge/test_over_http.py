"""The same with servers that are elsewhere: what a stream of their own changes."""

import asyncio
import json

import pytest

from mcpauth.gateway.bridge import to_legacy
from mcpauth.gateway.configuration import RemoteServer
from mcpauth.gateway.http import HttpBackend
from mcpauth.gateway.served import Served
from tests.fakes.mcp_client import Client, ModernClient
from tests.fakes.mcp_http_modern import COMPLETE, ModernHttpServer
from tests.fakes.mcp_http_server import McpHttpServer
from tests.gateway.bridge.test_questions_to_legacy_clients import answered, text
from tests.gateway.bridge.test_questions_to_modern_clients import ANSWERS, ELICIT, asked, retry
from tests.gateway.test_http_backend import AT_ONCE, headers_of, until
from tests.gateway.test_http_backend_2024 import OldServer

EVERYTHING = {"elicitation": {}, "sampling": {}, "roots": {}}
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
CALL = {"name": "echo", "arguments": {}}


@pytest.fixture
def servers(io_loop):
    """Makes a remote server; all are closed at the end."""
    made = []

    def start(kind):
        made.append(kind())
        return made[-1]

    yield start
    for server in made:
        io_loop.run_sync(server.close)


@pytest.fixture
def old(servers, io_loop):
    """A server of the older era."""

    async def start():
        return servers(McpHttpServer)

    return io_loop.run_sync(start)


@pytest.fixture
def new(servers, io_loop):
    """A modern one."""

    async def start():
        return servers(ModernHttpServer)

    return io_loop.run_sync(start)


@pytest.fixture
def connect(serve):
    """The gateway of a server."""

    async def start(server):
        gateway = await serve(Served(HttpBackend("far", RemoteServer(url=server.url), {}, AT_ONCE)))
        await gateway.settled()
        server.seen.clear()
        return gateway

    return start


# Modern clients, and a server of the older era.


async def test_a_server_that_never_begins_is_not_waited_for_without_end(serve, servers, monkeypatch):
    old = servers(OldServer)
    gateway = await serve(Served(HttpBackend("far", RemoteServer(url=old.url, type="sse"), {}, AT_ONCE)))
    await gateway.settled()
    old.acts["GET"] = say_nothing
    monkeypatch.setattr(to_legacy, "OPENING", 0.2)
    answer = await ModernClient(gateway, "far").call("echo")
    assert "did not answer" in answer["result"]["content"][0]["text"]


async def say_nothing(handler):
    handler.set_header("Content-Type", "text/event-stream")
    await handler.flush()
    await handler.gone


async def test_a_modern_client_has_an_mcp_session_there(connect, old):
    client = ModernClient(await connect(old), "far", capabilities=EVERYTHING)
    assert (await client.request("server/discover"))["result"]["_meta"]
    assert old.seen == []
    assert await client.names() == ["echo"]
    assert json.loads(await client.text("echo", a=1)) == {"name": "echo", "arguments": {"a": 1}}
    (initialize,) = old.of("initialize")
    assert initialize.message["params"]["capabilities"] == EVERYTHING
    said = headers_of(old.of("tools/call")[0])
    assert said["Mcp-Session-Id"] == old.sessions[-1]
    assert said["Mcp-Protocol-Version"] == "2025-11-25"
    assert not {"Mcp-Method", "Mcp-Name"} & said.keys()


async def test_a_question_of_an_old_server_is_a_result_and_its_stream_waits(connect, old):
    told = asyncio.get_running_loop().create_future()

    async def act(handler):
        await handler.event({"id": "q", **ELICIT})
        await handler.answer(handler.text(json.dumps(await told)))
        handler.finish()

    async def hear(handler):
        told.set_result(handler.message)
        await old.accept(handler)

    old.acts |= {"tools/call": act, "answer": hear}
    client = ModernClient(await connect(old), "far", capabilities=EVERYTHING)
    result = await asked(client, CALL)
    last = (await client.request("tools/call", retry(CALL, result)))["result"]
    assert json.loads(last["content"][0]["text"])["result"] == ANSWERS["elicitation/create"]
    assert json.loads(last["content"][0]["text"])["id"] == "q"
    assert len(old.of("tools/call")) == 1


async def test_questions_in_streams_of_their_own_belong_to_their_calls(connect, old):
    answers = {}

    async def act(handler):
        name = handler.message["params"]["arguments"]["as"]
        answers[name] = asyncio.get_running_loop().create_future()
        await handler.event({"id": name, "method": "roots/list"})
        await answers[name]
        await handler.answer(handler.text(name))
        handler.finish()

    async def hear(handler):
        answers[handler.message["id"]].set_result(None)
        await old.accept(handler)

    old.acts |= {"tools/call": act, "answer": hear}
    client = ModernClient(await connect(old), "far", capabilities=EVERYTHING)
    calls = [{"name": "echo", "arguments": {"as": name}} for name in ("a", "b", "c")]
    results = await asyncio.gather(*(asked(client, call) for call in calls))
    for call, result in zip(calls, results, strict=True):
        last = (await client.request("tools/call", retry(call, result)))["result"]
        assert last["content"][0]["text"] == call["arguments"]["as"]


async def test_a_session_that_the_old_server_has_lost_is_begun_again(connect, old):
    client = ModernClient(await connect(old), "far")
    await client.text("echo")
    lost = old.sessions[-1]

    async def act(handler):
        if handler.request.headers["Mcp-Session-Id"] == lost:
            handler.set_status(404)
            handler.finish()
        else:
            await old.call(handler)

    old.acts["tools/call"] = act
    assert json.loads(await client.text("echo")) == {"name": "echo", "arguments": {}}
    assert len(old.of("initialize")) == 2


async def test_a_modern_client_that_leaves_is_told_to_the_old_server(connect, old):
    begun = asyncio.get_running_loop().create_future()

    async def act(handler):
        begun.set_result(handler)
        await handler.gone

    old.acts["tools/call"] = act
    client = ModernClient(await connect(old), "far")
    answer = await client.calling("echo")
    reading = asyncio.create_task(anext(answer.replies))
    handler = await begun
    answer.replies.leave()
    assert b"has left" in await reading
    await until(lambda: old.of("notifications/cancelled"))
    assert old.of("notifications/cancelled")[0].message["params"]["requestId"] == handler.message["id"]


async def test_what_an_old_server_says_on_its_stream_is_told_to_who_listens(connect, old):
    async def greet(handler):
        capabilities = {"tools": {"listChanged": True}, "resources": {"subscribe": True}}
        info = {"name": "far", "version": "1"}
        handler.reply({"protocolVersion": "2025-11-25", "capabilities": capabilities, "serverInfo": info})

    go_on = asyncio.Event()

    async def publish(handler):
        await handler.event(retry=0)
        await go_on.wait()
        await handler.event({"method": "notifications/tools/list_changed"})
        await handler.event({"method": "notifications/resources/updated", "params": {"uri": "a:1"}})
        await handler.gone

    async def agree(handler):
        handler.reply({})

    subscriptions = {"resources/subscribe": agree, "resources/unsubscribe": agree, "resources/list": agree}
    old.acts |= {"initialize": greet, "GET": publish, **subscriptions, "resources/templates/list": agree}
    client = ModernClient(await connect(old), "far")
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
    answer = await client.send("subscriptions/listen", {"notifications": wanted}, "s")
    assert json.loads(await anext(answer.replies))["params"]["notifications"] == wanted
    go_on.set()
    told = [json.loads(await anext(answer.replies)) for _ in range(2)]
    assert [one["params"] for one in told] == [
        {"_meta": {SUBSCRIPTION: "s"}},
        {"uri": "a:1", "_meta": {SUBSCRIPTION: "s"}},
    ]
    answer.replies.leave()
    await until(lambda: old.of("resources/unsubscribe"))


# Legacy clients, and a modern server.


@pytest.fixture
def begin(connect):
    async def start(server, **capabilities):
        client = Client(await connect(server), "far")
        info = {"name": "test", "version": "1"}
        about = {"protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": info}
        client.greeting = await client.initialize(about)
        return client

    return start


async def test_a_legacy_client_has_requests_with_everything_in_them_there(begin, new):
    client = await begin(new)
    assert client.greeting["result"]["protocolVersion"] == "2025-06-18"
    assert client.greeting["result"]["serverInfo"] == {"name": "far", "version": "2"}
    assert await client.names() == ["echo"]
    assert await client.text("echo", region="Zürich", count=7) == "called"
    (call,) = new.of("tools/call")
    said = headers_of(call)
    assert said["Mcp-Protocol-Version"] == "2026-07-28"
    assert (said["Mcp-Method"], said["Mcp-Name"]) == ("tools/call", "echo")
    assert (said["Mcp-Param-Region"], said["Mcp-Param-Count"]) == ("=?base64?WsO8cmljaA==?=", "7")
    assert "Mcp-Session-Id" not in said


async def ask(handler):
    params = handler.message["params"]
    if "requestState" not in params:
        handler.reply({"resultType": "input_required", "inputRequests": {"q": ELICIT}, "requestState": "one"})
    else:
        handler.reply({**COMPLETE, **handler.text(json.dumps([params["requestState"], params["inputResponses"]]))})


async def test_a_question_of_a_modern_server_is_a_request_and_then_it_is_called_again(begin, new):
    new.acts["tools/call"] = ask
    client = await begin(new, **EVERYTHING)
    response, (question,) = await answered(client, "tools/call", CALL)
    assert (question["method"], question["params"]) == (ELICIT["method"], ELICIT["params"])
    assert text(response) == ["one", {"q": ANSWERS["elicitation/create"]}]
    one, other = (headers_of(handler) for handler in new.of("tools/call"))
    assert one["Mcp-Name"] == other["Mcp-Name"] == "echo"


async def test_who_has_asked_gets_the_answer_though_its_entry_was_changed(begin, new, servers):
    new.acts["tools/call"] = ask
    client = await begin(new, **EVERYTHING)
    replies = (await client.send("tools/call", CALL)).replies
    question = json.loads(await anext(replies))
    other = servers(ModernHttpServer)
    client.gateway.serve([Served(HttpBackend("far", RemoteServer(url=other.url), {}, AT_ONCE))])
    await client.post({"jsonrpc": "2.0", "id": question["id"], "result": ANSWERS["elicitation/create"]})
    assert text(json.loads(await anext(replies))) == ["one", {"q": ANSWERS["elicitation/create"]}]
    assert other.of("tools/call") == []


async def test_a_cancellation_of_a_legacy_client_closes_the_connection(begin, new):
    begun = asyncio.get_running_loop().create_future()

    async def act(handler):
        begun.set_result(handler)
        await handler.gone

    new.acts["tools/call"] = act
    client = await begin(new)
    answer = await client.send("tools/call", CALL, "mine")
    reading = asyncio.create_task(anext(answer.replies))
    handler = await begun
    await client.notify("notifications/cancelled", {"requestId": "mine"})
    assert b"cancelled" in await reading
    await handler.gone


async def test_a_legacy_client_subscribes_and_is_told(begin, new):
    async def act(handler):
        tag = {SUBSCRIPTION: handler.message["id"]}
        wanted = handler.message["params"]["notifications"]
        acknowledged = {"notifications": wanted, "_meta": tag}
        await handler.event({"method": "notifications/subscriptions/acknowledged", "params": acknowledged})
        for uri in wanted.get("resourceSubscriptions", []):
            await handler.event({"method": "notifications/resources/updated", "params": {"uri": uri, "_meta": tag}})
        await handler.gone

    new.acts["subscriptions/listen"] = act
    client = await begin(new)
    stream = client.listen()
    assert (await client.request("resources/subscribe", {"uri": "a:1"}))["result"] == {}
    told = json.loads(await anext(stream))
    assert (told["method"], told["params"]) == ("notifications/resources/updated", {"uri": "a:1"})
    stream.close()
    client.gateway.end_session(client.who, backend="far", session_id=client.session_id)
    await new.of("subscriptions/listen")[-1].gone


async def test_a_modern_server_that_tells_of_nothing_is_not_asked_again(begin, new):
    client = await begin(new)
    await until(lambda: new.of("subscriptions/listen"))
    for _ in range(2):
        assert "does not tell" in (await client.request("resources/subscribe", {"uri": "a:1"}))["error"]["message"]
    assert len(new.of("subscriptions/listen")) == 3


async def test_a_session_that_ends_while_it_subscribes_leaves_no_subscription(begin, new):
    go_on = asyncio.Event()

    async def act(handler):
        await go_on.wait()
        tag = {SUBSCRIPTION: handler.message["id"]}
        about = {"notifications": handler.message["params"]["notifications"], "_meta": tag}
        await handler.event({"method": "notifications/subscriptions/acknowledged", "params": about})
        await handler.gone

    new.acts["subscriptions/listen"] = act
    client = await begin(new)
    subscribing = asyncio.create_task(client.request("resources/subscribe", {"uri": "a:1"}))
    await until(lambda: len(new.of("subscriptions/listen")) == 2)
    client.gateway.end_session(client.who, backend="far", session_id=client.session_id)
    await asyncio.sleep(0)
    go_on.set()
    assert "has ended" in (await subscribing)["error"]["message"]
    await new.of("subscriptions/listen")[-1].gone
