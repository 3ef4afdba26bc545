"""`/mcp` in the modern era: all servers together, without sessions."""

import base64
import json

import pytest

from mcpauth.errors import InsufficientScope
from mcpauth.gateway import together
from mcpauth.gateway.modern import subscription
from tests.fakes.mcp_client import ModernClient, principal
from tests.gateway.test_merged_lists import change, entries, read

META = "io.modelcontextprotocol/"


@pytest.fixture
def merge(serve):
    """A modern client at /mcp."""

    async def start(*backends, who=None):
        return ModernClient(await serve(*backends), None, who, {"elicitation": {"form": {}}})

    return start


@pytest.fixture
def modern(lists):
    """Makes a backend of the modern era with these lists."""

    def make(name, **about):
        return lists(name, "--modern", **about)

    return make


@pytest.fixture
def elsewhere(modern):
    """The same, of which nobody hears who does not listen: as of a remote server."""

    def make(name, **about):
        served = modern(name, **about)
        served.announces = False
        return served

    return make


async def error(client, method, params=None, **meta):
    answer = await client.send(method, params, **meta)
    code = (await client.frames(answer))[-1]["error"]["code"]
    # HTTP repeats it.
    assert code == (answer.code if answer.replies is None else answer.replies.code)
    return code


async def test_discovery_tells_the_union_of_what_there_is(merge, modern):
    client = await merge(modern("one", tools=["a"]), modern("two", prompts=["p"]))
    result = (await client.request("server/discover"))["result"]
    assert result["resultType"] == "complete"
    assert result["supportedVersions"] == ["2026-07-28"]
    assert (result["ttlMs"], result["cacheScope"]) == (0, "private")
    assert result["_meta"][META + "serverInfo"]["name"] == "mcpauth"
    about = {"tools": {"listChanged": True}, "prompts": {"listChanged": True}, "completions": {}, "logging": {}}
    assert result["capabilities"] == about


async def test_lists_are_one_and_nobody_else_may_keep_them(merge, modern):
    client = await merge(
        modern("one", tools=["a", "b"], prompts=["p"], resources=["x:1"], templates=["x:{n}"]),
        modern("two", tools=["b"], prompts=["p"], resources=["x:1", "y:1"], templates=["y:{n}"]),
    )
    assert await client.names() == ["a", "b", "two__b"]
    assert (await entries(client, "prompts/list"))[0] == [("p", "one"), ("two__p", "two")]
    assert (await entries(client, "resources/list"))[0] == [("x:1", "one"), ("y:1", "two")]
    assert (await entries(client, "resources/templates/list"))[0] == [("x:{n}", "one"), ("y:{n}", "two")]
    for method in ("tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        result = (await client.request(method))["result"]
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")


async def test_pages_are_as_in_the_older_era(merge, modern, monkeypatch):
    monkeypatch.setattr(together, "ENTRIES", 2)
    client = await merge(modern("one", tools=["a", "b", "c"]), modern("two", tools=["d"]))
    first = (await client.request("tools/list"))["result"]
    second = (await client.request("tools/list", {"cursor": first["nextCursor"]}))["result"]
    assert [tool["name"] for page in (first, second) for tool in page["tools"]] == ["a", "b", "c", "d"]
    assert second["cacheScope"] == "private"
    assert await error(client, "tools/list", {"cursor": "x"}) == -32602


async def test_what_is_read_nobody_else_may_keep(merge, modern):
    client = await merge(modern("one", resources=["x:1"]))
    result = (await client.request("resources/read", {"uri": "x:1"}))["result"]
    assert (result["ttlMs"], result["cacheScope"]) == (5, "private")


async def test_each_thing_is_asked_of_its_owner(merge, modern):
    client = await merge(
        modern("one", tools=["a", "b"], prompts=["p"], resources=["x:1"], knows=["y:2"]),
        modern("two", tools=["b"], prompts=["p"], templates=["y:{n}"], resources=[], knows=["y:2", "z:1"]),
    )
    for published, owner in (("a", "one"), ("b", "one"), ("two__b", "two")):
        assert json.loads(await client.text(published))["by"] == owner
    answer = await client.request("prompts/get", {"name": "two__p"})
    given = json.loads(answer["result"]["messages"][0]["content"]["text"])
    assert given == {"by": "two", "name": "p"}
    assert [await read(client, uri) for uri in ("x:1", "y:2", "z:1")] == ["x:1 of one", "y:2 of two", "z:1 of two"]
    ref = {"ref": {"type": "ref/prompt", "name": "two__p"}, "argument": {"name": "n", "value": ""}}
    assert (await client.request("completion/complete", ref))["result"]["completion"]["values"][0] == "two"
    for method, params in (
        ("tools/call", {"name": "x"}),
        ("prompts/get", {"name": "x"}),
        ("resources/read", {"uri": "z:2"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}}),
    ):
        assert await error(client, method, params) == -32602


async def test_the_headers_are_held_against_the_published_name_and_the_owners_schema(merge, modern):
    client = await merge(modern("one", tools=["route", "b"]), modern("two", tools=["b", "route"]))

    async def send(name, arguments, headers):
        message = client.message("tools/call", {"name": name, "arguments": arguments})
        answer = await client.post(message, headers)
        return answer.code if answer.reply is not None else (await client.frames(answer))[-1].get("result") is not None

    await client.names()
    assert await send("two__b", {}, {}) is True
    assert await send("two__b", {}, {"Mcp-Name": "b"}) == -32020
    assert await send("two__b", {}, {"Mcp-Name": None}) == -32020
    zürich = f"=?base64?{base64.b64encode('Zürich'.encode()).decode()}?="
    assert await send("two__route", {"region": "Zürich"}, {"Mcp-Param-Region": zürich}) is True
    assert await send("two__route", {"region": "Zürich"}, {"Mcp-Param-Region": "Bern"}) == -32020
    assert await send("two__route", {"region": "Zürich"}, {}) == -32020
    # Of a tool without such a parameter, the header is nobody's business.
    assert await send("two__b", {"region": "x"}, {"Mcp-Param-Region": "y"}) is True


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "x/new"])
async def test_what_is_not_there_is_no_method(merge, modern, method):
    client = await merge(modern("one", tools=["a"]))
    assert await error(client, method) == -32601


async def test_the_envelope_is_checked_here_too(merge, modern):
    client = await merge(modern("one", tools=["a"]))
    message = client.message("tools/list")
    del message["params"]["_meta"][META + "clientCapabilities"]
    assert (await client.post(message)).code == -32602
    message = client.message("tools/list")
    message["params"]["_meta"][META + "protocolVersion"] = "2027-01-01"
    assert (await client.post(message, {"MCP-Protocol-Version": "2027-01-01"})).code == -32022


async def test_a_question_and_its_answer_find_their_way(merge, modern):
    client = await merge(
        modern("one", tools=["a"], prompts=["ask1"], resources=["one:ask"]),
        modern("two", tools=["a"], prompts=["ask1"], resources=["two:ask"], knows=["both:ask"]),
        modern("three", resources=[], knows=["both:ask"]),
    )
    for method, params, owner in (
        ("tools/call", {"name": "a", "arguments": {"do": "ask"}}, "one"),
        ("tools/call", {"name": "two__a", "arguments": {"do": "ask"}}, "two"),
        ("prompts/get", {"name": "two__ask1"}, "two"),
        ("resources/read", {"uri": "two:ask"}, "two"),
        ("resources/read", {"uri": "both:ask"}, "two"),
    ):
        asked = (await client.request(method, params))["result"]
        assert asked["resultType"] == "input_required"
        assert asked["requestState"] == f"state of {owner}"
        said = {"n": {"action": "accept", "content": {"n": 1}}}
        answer = await client.request(method, {**params, "inputResponses": said, "requestState": asked["requestState"]})
        given = json.dumps(answer["result"])
        assert f'\\"by\\": \\"{owner}\\"' in given
        assert f'\\"state\\": \\"state of {owner}\\"' in given
    # An answer goes to nobody but who has asked.
    change(client.gateway._backends["two"], knows=[])
    again = {"uri": "both:ask", "inputResponses": said, "requestState": "state of two"}
    assert await error(client, "resources/read", again) == -32602


async def test_one_users_reading_does_not_lead_anothers_to_a_server_that_claims_everything(merge, modern):
    ann = await merge(
        modern("honest", tools=["a"], resources=[]), modern("claims", tools=["b"], resources=[], knows=["x:1"])
    )
    bob = ModernClient(ann.gateway, None, principal(subject="bob", grant_id="g2"))
    for client in (ann, bob):
        assert [json.loads(await client.text(tool))["by"] for tool in ("a", "b")] == ["honest", "claims"]

    async def told(client):
        return (await client.request("resources/read", {"uri": "x:1"}))["result"]["contents"][0]["text"]

    assert await told(ann) == "x:1 of claims"
    # What a server follows is followed there for whoever has read it there.
    wanted = {"notifications": {"resourceSubscriptions": ["x:1"]}}
    for client, known in ((ann, ["x:1"]), (bob, [])):
        stream = (await client.send("subscriptions/listen", wanted)).replies
        acknowledged = json.loads(await anext(stream))
        assert acknowledged["params"]["notifications"]["resourceSubscriptions"] == known
        stream.leave()
    change(ann.gateway._backends["honest"], tools=["a"], resources=[], knows=["x:1"])
    assert await told(bob) == "x:1 of honest"
    assert await told(ann) == "x:1 of honest"


async def test_scopes_and_ticks_are_those_of_the_older_era(merge, modern):
    backends = [
        modern("one", tools=["look", "do"], prompts=["p"], resources=["x:1"]),
        modern("two", tools=["see"], prompts=["q"], resources=["y:1"]),
    ]
    client = await merge(*backends, who=principal("mcp:read", servers={"one": frozenset({"look", "do"})}))
    assert await client.names() == ["look"]
    assert (await entries(client, "prompts/list"))[0] == []
    assert (await entries(client, "resources/list"))[0] == []
    for method, params in (
        ("tools/call", {"name": "do"}),
        ("prompts/get", {"name": "p"}),
        ("resources/read", {"uri": "x:1"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}),
        ("subscriptions/listen", {"notifications": {"resourceSubscriptions": ["x:1"]}}),
    ):
        with pytest.raises(InsufficientScope):
            await client.request(method, params)
    assert (await client.call("see"))["result"]["isError"] is True
    assert await error(client, "resources/read", {"uri": "y:1"}) == -32602
    assert await error(client, "prompts/get", {"name": "q"}) == -32602
    client.who = principal("mcp", servers={"one": frozenset({"look"})})
    assert await client.names() == ["look"]
    assert (await entries(client, "prompts/list"))[0] == [("p", "one")]
    assert await read(client, "x:1") == "x:1 of one"


async def test_a_log_message_names_its_server(merge, modern):
    client = await merge(modern("one", tools=["a"]), modern("two", tools=["b"]))
    params = {"name": "b", "arguments": {"do": "log", "logger": "db"}}
    answer = await client.send("tools/call", params, **{META + "logLevel": "info"})
    first, _ = await client.frames(answer)
    assert first["params"]["logger"] == "two/db"
    assert len(await client.frames(await client.send("tools/call", params))) == 1


async def test_a_client_that_leaves_cancels(merge, modern):
    client = await merge(modern("one", tools=["a"], resources=["x:1"]))
    replies, _ = await listening(client, {"resourceSubscriptions": ["x:1"]}, "a")
    replies.leave()
    assert json.loads(await anext(replies))["error"]["code"] == -32000
    with pytest.raises(StopAsyncIteration):
        await anext(replies)
    while (await state(client, "a"))["listening"]:
        pass


async def test_only_calls_and_resources_start_servers(merge, modern):
    one = modern("one", tools=["a"], prompts=["p"], resources=["x:1"], templates=["x:{n}"])
    client = await merge(one)
    await client.names()
    started = one.file.with_suffix(".started")
    before = len(started.read_text().split())
    for method in ("server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list"):
        await client.request(method)
    replies, _ = await listening(client, {"toolsListChanged": True, "resourcesListChanged": True})
    assert len(started.read_text().split()) == before
    await listening(client, {"resourceSubscriptions": ["x:1"]}, "a")
    assert len(started.read_text().split()) == before + 1
    replies.leave()


async def state(client, tool):
    return json.loads(await client.text(tool, do="state"))


async def listening(client, wanted, *tools):
    """A subscription, acknowledged, which the servers of these tools know of; and what it was acknowledged for."""
    answer = await client.send("subscriptions/listen", {"notifications": wanted}, "sub")
    first = json.loads(await anext(answer.replies))
    assert first["method"] == "notifications/subscriptions/acknowledged"
    assert first["params"]["_meta"] == {META + "subscriptionId": "sub"}
    for tool in tools:
        while not (await state(client, tool))["listening"]:
            pass
    return answer.replies, first["params"]["notifications"]


async def told(replies):
    message = json.loads(await anext(replies))
    assert message["params"]["_meta"] == {META + "subscriptionId": "sub"}
    return message["method"].removeprefix("notifications/"), message["params"].get("uri")


async def test_a_subscription_hears_of_all_servers(merge, modern):
    one = modern("one", tools=["a"], prompts=["p"], resources=["x:1"])
    two = modern("two", tools=["b"], prompts=["q"], resources=["y:1", "y:2"])
    client = await merge(one, two)
    wanted = {
        "toolsListChanged": True,
        "promptsListChanged": False,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["x:1", "y:1", "z:1"],
        "unknown": True,
    }
    replies, acknowledged = await listening(client, wanted, "a", "b")
    assert acknowledged == {
        "toolsListChanged": True,
        "resourcesListChanged": True,
        "resourceSubscriptions": ["x:1", "y:1"],
    }
    # Each server is asked for what is its own.
    assert (await state(client, "a"))["listening"][0]["resourceSubscriptions"] == ["x:1"]
    await client.text("a", do="updated", uri="x:1")
    assert await told(replies) == ("resources/updated", "x:1")
    await client.text("b", do="updated", uri="y:1")
    assert await told(replies) == ("resources/updated", "y:1")
    change(two, tools=["b", "c"])
    await client.text("b", do="changed", kind="tools")
    assert await told(replies) == ("tools/list_changed", None)
    assert await client.names() == ["a", "b", "c"]
    change(one, resources=["x:1", "x:2"])
    await client.text("a", do="changed", kind="resources")
    assert await told(replies) == ("resources/list_changed", None)
    client.gateway.hang_up()
    last = json.loads(await anext(replies))["result"]
    assert last == {"resultType": "complete", "_meta": {META + "subscriptionId": "sub"}}
    with pytest.raises(StopAsyncIteration):
        await anext(replies)


async def test_who_does_not_offer_to_tell_of_resources_is_not_asked_to(merge, modern, lists):
    client = await merge(
        modern("one", resources=["x:1"], unfollowed=True),
        lists("two", resources=["y:1"], unfollowed=True),
        modern("three", resources=["z:1"]),
    )
    _, acknowledged = await listening(client, {"resourceSubscriptions": ["x:1", "y:1", "z:1"]})
    assert acknowledged == {"resourceSubscriptions": ["z:1"]}


async def test_news_that_nobody_reads_do_not_weigh_much(merge, modern, monkeypatch):
    monkeypatch.setattr(subscription, "HEAVY", 1000)
    long = [f"x:{number}" + "y" * 400 for number in range(3)]
    client = await merge(modern("one", tools=["a"], resources=[*long, "x:1"]))
    replies, _ = await listening(client, {"resourceSubscriptions": [*long, "x:1"]}, "a")
    for _ in range(2):
        for uri in [*long, *long, "x:1"]:
            await client.text("a", do="updated", uri=uri)
        assert [(await told(replies))[1] for _ in range(3)] == [*long[:2], "x:1"]
    replies.leave()


async def test_a_subscription_is_told_nothing_that_it_did_not_ask_for(merge, modern):
    one = modern("one", tools=["a"], prompts=["p"], resources=["x:1"])
    client = await merge(one, modern("two", tools=["b"], prompts=["q"]))
    replies, acknowledged = await listening(client, {"promptsListChanged": True})
    assert acknowledged == {"promptsListChanged": True}
    change(one, tools=["a", "c"], prompts=["p", "r"])
    for kind in ("tools", "prompts"):
        await client.text("a", do="changed", kind=kind)
    assert await told(replies) == ("prompts/list_changed", None)
    replies.hang_up()
    assert "result" in json.loads(await anext(replies))


async def test_a_server_that_ends_its_subscription_is_asked_again(merge, elsewhere, monkeypatch):
    monkeypatch.setattr(subscription, "BACK_OFF", (0.0,))
    one = elsewhere("one", tools=["a"], resources=["x:1"])
    client = await merge(one)
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["x:1"]}
    replies, _ = await listening(client, wanted, "a")
    change(one, tools=["a", "b"])
    await client.text("a", do="end")
    # What it had to tell in between is made up for.
    assert {await told(replies), await told(replies)} == {("resources/updated", "x:1"), ("tools/list_changed", None)}
    replies.leave()


async def test_what_happens_often_is_told_once(merge, modern):
    client = await merge(modern("one", tools=["a"], resources=["x:1", "x:2"]))
    replies, _ = await listening(client, {"resourceSubscriptions": ["x:1", "x:2"]}, "a")
    for uri in ["x:1"] * 50 + ["x:2"]:
        await client.text("a", do="updated", uri=uri)
    assert [await told(replies), await told(replies)] == [("resources/updated", "x:1"), ("resources/updated", "x:2")]
    replies.hang_up()
    assert "result" in json.loads(await anext(replies))


@pytest.mark.parametrize("wrong", ["x:1", [1], {}, [str(n) for n in range(257)]])
async def test_an_odd_subscription_is_refused(merge, modern, wrong):
    client = await merge(modern("one", tools=["a"], resources=["x:1"]))
    assert await error(client, "subscriptions/listen", {"notifications": {"resourceSubscriptions": wrong}}) == -32602


async def test_a_subscription_ends_with_its_grant(merge, modern):
    client = await merge(modern("one", tools=["a"]))
    replies, _ = await listening(client, {"toolsListChanged": True})
    await client.gateway.end_grant("g1")
    assert json.loads(await anext(replies))["error"]["code"] == -32000


async def test_a_server_that_fails_is_left_out_and_announced_when_it_is_back(merge, modern, ambient):
    one, two = modern("one", tools=["a"]), modern("two", tools=["b"])
    two.file.rename(two.file.with_suffix(".gone"))
    client = await merge(one, two)
    assert await client.names() == ["a"]
    replies, _ = await listening(client, {"toolsListChanged": True})
    two.file.with_suffix(".gone").rename(two.file)
    ambient.time += 3600
    await client.names()
    assert await told(replies) == ("tools/list_changed", None)
    assert await client.names() == ["a", "b"]
    change(two, tools=["b", "c"])
    await client.text("b", do="changed", kind="tools")
    assert await told(replies) == ("tools/list_changed", None)
    replies.leave()


async def test_the_backends_of_a_changed_file_are_listened_to(merge, elsewhere):
    one, two = elsewhere("one", tools=["a"]), elsewhere("two", tools=["b"])
    client = await merge(one)
    replies, _ = await listening(client, {"toolsListChanged": True})
    client.gateway.serve([one, two])
    assert await told(replies) == ("tools/list_changed", None)
    assert await client.names() == ["a", "b"]
    while not (await state(client, "b"))["listening"]:
        pass
    client.gateway.serve([two])
    assert await told(replies) == ("tools/list_changed", None)
    assert await client.names() == ["b"]
    replies.leave()


async def test_a_server_that_is_elsewhere_is_asked_for_the_changes_that_it_has(merge, elsewhere):
    one, two = elsewhere("one", tools=["a"], resources=["x:1"]), elsewhere("two", prompts=["p"], tools=["b"])
    client = await merge(one, two)
    wanted = {"toolsListChanged": True, "promptsListChanged": True}
    replies, acknowledged = await listening(client, wanted, "a", "b")
    assert acknowledged == wanted
    assert (await state(client, "a"))["listening"] == [{"toolsListChanged": True}]
    assert (await state(client, "b"))["listening"] == [wanted]
    change(one, tools=["a", "c"])
    await client.text("a", do="changed", kind="tools")
    assert await told(replies) == ("tools/list_changed", None)
    replies.leave()
