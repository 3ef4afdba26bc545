"""`/mcp/{backend}` in the modern era: what a request must say of itself, and what a principal may have."""

import base64
import json

import pytest

from mcpauth.errors import InsufficientScope
from mcpauth.gateway import eras, probe
from tests.fakes.mcp_client import Client, ModernClient, forward, modern_headers, principal

META = "io.modelcontextprotocol/"


@pytest.fixture
def modern(serve, child):
    """A client at a child of the modern era."""

    async def start(*arguments, who=None, **options):
        gateway = await serve(child("fake", "--modern", *(arguments or ("echo",)), **options))
        return ModernClient(gateway, "fake", who)

    return start


def error(answer):
    return json.loads(answer.reply)["error"]


async def test_discovery_is_the_childs_own(modern):
    client = await modern()
    result = (await client.request("server/discover"))["result"]
    assert result["supportedVersions"] == ["2026-07-28"]
    assert result["x-unknown"] == [1.0, None]
    # The child says that anybody may keep it, but what is told here depends on who asks.
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    await client.text("echo")
    result = (await client.request("server/discover"))["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (5, "private")


async def test_a_call_needs_no_beginning(modern):
    client = await modern()
    given = json.loads(await client.text("echo", a=1))
    assert given["arguments"] == {"a": 1}
    assert given["_meta"][META + "clientCapabilities"] == {}


def test_the_versions_are_the_published_ones():
    from mcp_types import version

    assert version.MODERN_PROTOCOL_VERSIONS == eras.MODERN
    assert version.HANDSHAKE_PROTOCOL_VERSIONS == eras.LEGACY


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"params": {}}, -32602),
        ({"params": {"_meta": None}}, -32602),
        ({"params": {"_meta": {META + "protocolVersion": "2026-07-28"}}}, -32602),
        ({"params": {"_meta": {META + "clientCapabilities": {}}}}, -32602),
        ({"params": {"_meta": {META + "protocolVersion": 1, META + "clientCapabilities": {}}}}, -32602),
        ({"params": {"_meta": {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": 1}}}, -32602),
        ({"params": {"_meta": {META + "protocolVersion": "2027-01-01", META + "clientCapabilities": {}}}}, -32020),
        ({"method": "tools/call"}, -32020),
    ],
)
async def test_the_envelope_must_be_whole_and_agree_with_the_headers(modern, change, code):
    client = await modern()
    message = client.message("tools/list")
    answer = await client.post({**message, **change}, {"Mcp-Method": "tools/list", "Mcp-Name": None})
    assert (answer.code, error(answer)["code"]) == (code, code)


async def test_an_unknown_version_is_told_which_there_are(modern):
    client = await modern()
    message = client.message("tools/list")
    message["params"]["_meta"][META + "protocolVersion"] = "2027-01-01"
    answer = await client.post(message, {"MCP-Protocol-Version": "2027-01-01"})
    assert answer.code == -32022
    assert error(answer)["data"] == {"supported": ["2026-07-28"], "requested": "2027-01-01"}


@pytest.mark.parametrize(
    "method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"]
)
async def test_what_this_revision_has_no_more_never_reaches_the_child(modern, method):
    client = await modern()
    answer = await client.send(method)
    assert answer.code == -32601
    assert "not of this revision" in error(answer)["message"]


async def test_an_error_of_the_childs_keeps_its_code(modern):
    client = await modern()
    answer = await client.send("x/unknown")
    assert (await client.frames(answer))[-1]["error"]["code"] == -32601
    assert answer.replies.code == -32601


async def test_an_error_whose_code_nobody_can_read_is_passed_on(modern):
    client = await modern()
    answer = await client.calling("a", do="odd_error")
    assert b'"odd"' in await anext(answer.replies)
    assert answer.replies.code is None


async def test_a_notification_is_taken_and_goes_no_further(modern):
    client = await modern()
    answer = await client.post({"jsonrpc": "2.0", "method": "notifications/x"})
    assert (answer.reply, answer.replies) == (None, None)


def base64ed(text):
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


@pytest.mark.parametrize(
    ("name", "header", "fits"),
    [
        ("echo", "echo", True),
        ("echo", " echo\t", True),
        ("echo", base64ed("echo"), True),
        ("écho", base64ed("écho"), True),
        ("echo", "Echo", False),
        ("echo", None, False),
        ("echo", "", False),
        ("echo", "=?base64?ZWNobw?=", False),  # no padding
        ("echo", "=?base64?ZWNobx==?=", False),  # other padding bits
        ("echo", "=?base64?ZWN obw==?=", False),
        ("echo", "=?base64?/w==?=", False),  # no UTF-8
        ("=?base64?x", "=?base64?x", True),
    ],
)
async def test_the_name_is_compared_as_it_was_meant(modern, name, header, fits):
    client = await modern()
    answer = await client.post(client.message("tools/call", {"name": name}), {"Mcp-Name": header})
    assert answer.code == (None if fits else -32020)
    if fits:
        await client.frames(answer)


@pytest.mark.parametrize(
    ("arguments", "headers", "fits"),
    [
        ({}, {}, True),
        ({"region": None}, {}, True),
        ({"region": "eu"}, {"mcp-param-REGION": "eu"}, True),
        ({"region": "eu"}, {"Mcp-Param-Region": base64ed("eu")}, True),
        ({"region": "eu"}, {}, False),
        ({"region": "eu"}, {"Mcp-Param-Region": "us"}, False),
        ({"region": "eu"}, {"Mcp-Param-Region": "=?base64?ZXU?="}, False),
        ({"region": "eu"}, {"Mcp-Param-Region": "eu", "mcp-param-region": "eu"}, False),
        ({}, {"Mcp-Param-Region": "eu"}, False),
        ({"count": 7}, {"Mcp-Param-Count": "7"}, True),
        ({"count": 7}, {"Mcp-Param-Count": "7.0"}, True),
        ({"count": 7.0}, {"Mcp-Param-Count": "007"}, True),
        ({"count": 2**60 + 1}, {"Mcp-Param-Count": str(2**60 + 1)}, True),
        ({"count": 2**60 + 1}, {"Mcp-Param-Count": str(2**60)}, False),
        ({"count": 7}, {"Mcp-Param-Count": "7.5"}, False),
        ({"count": 7}, {"Mcp-Param-Count": "7e0"}, False),
        ({"count": 7}, {"Mcp-Param-Count": "9" * 5000}, False),
        ({"count": 10**999 + 1}, {"Mcp-Param-Count": str(10**999 + 1)}, True),
        ({"count": 10**999 + 1}, {"Mcp-Param-Count": f"{10**999 + 1}.0"}, True),
        ({"count": 10**999 + 1}, {"Mcp-Param-Count": str(10**999 + 2)}, False),
        ({"count": 10**999 + 1}, {}, False),
        ({"count": 10**1000}, {"Mcp-Param-Count": str(10**1000)}, False),
        ({"count": 7}, {"Mcp-Param-Count": "0" * 1000 + "7"}, False),
        ({"count": 12345678901234567890123.0}, {"Mcp-Param-Count": "1.2345678901234568e+22"}, False),
        ({"other": 1}, {"Mcp-Param-Other": "2"}, True),
    ],
)
async def test_arguments_that_a_schema_wants_in_headers_are_compared(modern, arguments, headers, fits):
    client = await modern("located:header")
    message = client.message("tools/call", {"name": "located", "arguments": arguments})
    answer = await client.post(message, headers)
    assert answer.code == (None if fits else -32020)
    if fits:
        await client.frames(answer)


@pytest.mark.parametrize("number", ["9" * 5000, "1e400"])
@pytest.mark.parametrize("headers", [{}, {"Mcp-Param-Region": "eu"}, {"Mcp-Param-Count": "9" * 5000}])
async def test_what_cannot_be_read_hides_no_argument_from_its_header(modern, number, headers):
    client = await modern("located:header")
    message = client.message("tools/call", {"name": "located", "arguments": {"region": "eu", "count": 0}})
    body = json.dumps(message).replace('"count": 0', f'"count": {number}').encode()
    given = {**modern_headers(message), **headers}
    answer = await forward(
        client.gateway,
        client.who,
        body,
        backend="fake",
        session_id=None,
        protocol_version="2026-07-28",
        headers=given.items(),
    )
    assert answer.code == -32020


@pytest.mark.parametrize(
    ("who", "tools", "listed"),
    [
        (principal(), {}, ["look", "poke", "push"]),
        (principal("mcp:read"), {}, ["look"]),
        (principal(servers={"fake": frozenset({"look", "push"})}), {}, ["look", "push"]),
        (principal(), {"allow": ("p*",), "deny": ("push",)}, ["poke"]),
    ],
)
async def test_only_what_may_be_used_is_listed_and_called(modern, who, tools, listed):
    client = await modern("look:read", "poke", "push", who=who, tools=tools)
    result = (await client.request("tools/list"))["result"]
    assert [tool["name"] for tool in result["tools"]] == listed
    assert result["resultType"] == "complete"
    assert result["ttlMs"] == 0
    assert result["cacheScope"] == "private"
    for name in ("look", "poke", "push"):
        try:
            result = (await client.call(name))["result"]
            assert result["resultType"] == "complete"
            allowed = "isError" not in result
        except InsufficientScope:
            allowed = False
        assert allowed == (name in listed)


async def test_with_the_scope_to_read_there_are_tools_that_read_and_nothing_else(modern):
    client = await modern(who=principal("mcp:read"))
    assert (await client.request("server/discover"))["result"]["capabilities"]
    result = (await client.request("resources/list"))["result"]
    assert result == {"resultType": "complete", "resources": [], "ttlMs": 0, "cacheScope": "private"}
    answer = await client.send("subscriptions/listen", {"notifications": {"toolsListChanged": True}})
    assert "acknowledged" in json.loads(await anext(answer.replies))["method"]
    answer.replies.leave()
    for method, params in (
        ("resources/read", {"uri": "a"}),
        ("prompts/get", {"name": "a"}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["a"]}}),
        ("subscriptions/listen", {"notifications": {}, "Notifications": {"resourceSubscriptions": ["a"]}}),
        ("x/new", {}),
    ):
        with pytest.raises(InsufficientScope):
            await client.request(method, params)


async def test_a_server_that_was_not_ticked_refuses(modern):
    client = await modern(who=principal(servers={"other": None}))
    assert "was not allowed" in error(await client.send("tools/list"))["message"]


@pytest.mark.parametrize("option", ["--strict", "--reserved"])
@pytest.mark.parametrize("silence", [0.0, 0.5])
async def test_a_server_of_the_older_era_is_found_out_whatever_it_does(serve, child, monkeypatch, option, silence):
    monkeypatch.setattr(probe, "SILENCE", silence)
    gateway = await serve(child("fake", option, "echo"))
    modern = ModernClient(gateway, "fake")
    assert (await modern.request("server/discover"))["result"]["supportedVersions"] == ["2026-07-28"]
    assert await modern.names() == ["echo"]
    client = Client(gateway, "fake")
    await client.initialize()
    assert await client.names() == ["echo"]


@pytest.mark.parametrize("option", ["--modern", "--dual"])
async def test_a_modern_server_that_is_slow_to_start_is_not_taken_for_an_old_one(serve, child, monkeypatch, option):
    monkeypatch.setattr(probe, "SILENCE", 0.0)
    client = ModernClient(await serve(child("fake", option, "echo")), "fake")
    assert await client.names() == ["echo"]


async def test_each_caller_of_a_server_of_both_eras_gets_its_own(serve, child):
    gateway = await serve(child("fake", "--dual", "echo"))
    modern, legacy = ModernClient(gateway, "fake"), Client(gateway, "fake")
    await legacy.initialize()
    assert "resultType" not in (await legacy.call("echo"))["result"]
    assert (await modern.call("echo"))["result"]["resultType"] == "complete"
    assert await legacy.text("x", do="pid") != await modern.text("x", do="pid")
