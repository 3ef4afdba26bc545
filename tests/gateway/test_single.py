"""`/mcp/{backend}`."""

import json

import pytest

from mcpauth.errors import InsufficientScope
from tests.fakes.mcp_client import INITIALIZE, Client, ModernClient, modern_headers, principal

TOOLS = ("look:read", "peek:read", "poke", "push")


@pytest.fixture
def reach(serve, child):
    """A client at /mcp/fake with this principal, not initialized."""

    async def start(who, **tools):
        return Client(await serve(child("fake", *TOOLS, tools=tools)), "fake", who)

    return start


async def test_the_child_answers_initialize_itself(reach):
    client = await reach(principal())
    answer = await client.initialize({**INITIALIZE, "protocolVersion": "2024-11-05"})
    result = answer["result"]
    assert result["protocolVersion"] == "2024-11-05"
    assert result["serverInfo"]["name"] == "child"
    assert result["capabilities"]["experimental"] == INITIALIZE["capabilities"]
    assert result["x-unknown"] == [1.0, None]


async def test_definitions_pass_as_they_are(reach):
    client = await reach(principal(servers={"fake": frozenset({"poke"})}))
    await client.initialize()
    answer = await client.send("tools/list", {"cursor": "2"})
    reply = await anext(answer.replies)
    assert b'"x-unknown": 1.5}' in reply
    (tool,) = json.loads(reply)["result"]["tools"]
    assert tool == {"name": "poke", "inputSchema": {"type": "object", "$comment": "kept"}, "x-unknown": 1.5}


@pytest.mark.parametrize(
    ("who", "tools", "listed"),
    [
        (principal(), {}, ["look", "peek", "poke", "push"]),
        (principal("mcp:fake"), {}, ["look", "peek", "poke", "push"]),
        (principal("mcp:read"), {}, ["look", "peek"]),
        (principal("mcp:read mcp:other"), {}, ["look", "peek"]),
        (principal(servers={"fake": None}), {}, ["look", "peek", "poke", "push"]),
        (principal(servers={"fake": frozenset({"look", "push"})}), {}, ["look", "push"]),
        (principal("mcp:read", servers={"fake": frozenset({"look", "push"})}), {}, ["look"]),
        (principal(), {"allow": ("p*",), "deny": ("push",)}, ["peek", "poke"]),
    ],
)
async def test_only_what_may_be_used_is_listed_and_called(reach, who, tools, listed):
    client = await reach(who, **tools)
    await client.initialize()
    assert await client.names() == listed
    for name in ("look", "peek", "poke", "push"):
        try:
            allowed = "isError" not in (await client.call(name))["result"]
        except InsufficientScope:
            allowed = False
        assert allowed == (name in listed)


async def test_a_tool_that_was_not_ticked_says_what_to_do(reach):
    client = await reach(principal(servers={"fake": frozenset({"look"})}))
    await client.initialize()
    result = (await client.call("poke"))["result"]
    assert result["isError"] is True
    assert "connect the client again" in result["content"][0]["text"]


async def test_of_a_name_given_twice_the_child_gets_the_one_that_was_judged(reach):
    client = await reach(principal(servers={"fake": frozenset({"look"})}))
    await client.initialize()
    params = b'{"name":"push","name":"look","arguments":{"do":"raw"}}'
    (reply,) = await client.frames(
        await client.post(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":%s}' % params)
    )
    given = reply["result"]["content"][0]["text"]
    assert "look" in given
    assert "push" not in given


@pytest.mark.parametrize("backend", ["fake", None])
@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","Name":"push"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"},"Params":{"name":"push"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"ping","params":{"name":"push"},"METHOD":"tools/call"}',
        b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look"},"param\xc5\xbf":{"name":"push"}}',
    ],
)
async def test_what_servers_without_regard_to_case_would_read_is_no_way_around(serve, child, backend, body):
    client = Client(await serve(child("fake", *TOOLS)), backend, principal(servers={"fake": frozenset({"look"})}))
    await client.initialize()
    (reply,) = await client.frames(await client.post(body))
    assert reply["error"]["code"] in (-32600, -32602)


@pytest.mark.parametrize("backend", ["fake", None])
@pytest.mark.parametrize("batch", [False, True])
async def test_a_call_without_an_id_is_no_way_around(serve, child, backend, batch):
    gateway = await serve(child("fake", "heard", "poke"))
    client = Client(gateway, backend, principal(servers={"fake": frozenset({"heard"})}))
    await client.initialize({**INITIALIZE, "protocolVersion": "2025-03-26"})
    await client.text("heard")
    message = {"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "poke"}}
    (reply,) = await client.frames(await client.post([message] if batch else message))
    assert "must have an id" in (reply[0] if batch else reply)["error"]["message"]
    assert json.loads(await client.text("heard")).count("tools/call") == 2


@pytest.mark.parametrize("method", ["initialize", "tools/list", "ping"])
async def test_a_server_that_was_not_ticked_refuses_without_a_403(reach, method):
    client = await reach(principal(servers={"other": None}))
    reply = await client.request(method, INITIALIZE)
    assert "was not allowed" in reply["error"]["message"]


async def test_without_any_scope_for_the_server_a_new_consent_is_asked_for(reach):
    client = await reach(principal("mcp:other"))
    with pytest.raises(InsufficientScope) as refused:
        await client.initialize()
    assert refused.value.scope == "mcp"


async def test_with_the_scope_to_read_there_are_tools_that_read_and_nothing_else(reach):
    client = await reach(principal("mcp:read"))
    await client.initialize()
    assert (await client.request("ping"))["result"]["method"] == "ping"
    assert (await client.request("logging/setLevel", {"level": "info"}))["result"]
    assert (await client.request("resources/list"))["result"] == {"resources": []}
    assert (await client.request("prompts/list"))["result"] == {"prompts": []}
    for method in ("resources/read", "prompts/get", "completion/complete", "resources/subscribe", "x/new"):
        with pytest.raises(InsufficientScope):
            await client.request(method, {"uri": "a"})


@pytest.mark.parametrize("backend", ["fake", None])
@pytest.mark.parametrize("kind", [Client, ModernClient])
async def test_a_message_is_nested_too_deeply_as_a_whole_or_not_at_all(serve, child, backend, kind):
    gateway = await serve(child("fake", "echo"))
    await gateway.settled()
    client = kind(gateway, backend)
    params = {"name": "echo", "arguments": {"x": "NESTED"}}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    headers = []
    if kind is Client:
        await client.initialize()
    else:
        message = client.message("tools/call", params, progressToken=1)
        headers = list(modern_headers(message).items())
    refused = []
    for depth in range(750, 1000, 2):
        nested = json.dumps(message).replace('"NESTED"', "[" * depth + "]" * depth)
        answer = await gateway.forward(
            client.who,
            nested.encode(),
            backend=backend,
            session_id=getattr(client, "session_id", None),
            protocol_version="2026-07-28" if headers else None,
            headers=headers,
        )
        refused.append(answer.reply is not None and json.loads(answer.reply)["error"]["code"] == -32700)
        if not refused[-1]:
            assert b'"result"' in [message async for message in answer.replies][-1]
    # From one depth on, all are.
    assert refused == sorted(refused)
    assert set(refused) == {False, True}
