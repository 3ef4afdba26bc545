"""`/mcp`, legacy era: prompts, resources, completion, subscriptions and logging of all servers."""

import json

import pytest

from mcpauth.errors import InsufficientScope
from mcpauth.gateway import together
from tests.fakes.mcp_client import Client, principal


@pytest.fixture
def merge(serve):
    """An initialized client at /mcp."""

    async def start(*backends, who=None):
        client = Client(await serve(*backends), None, who)
        client.greeting = (await client.initialize())["result"]
        return client

    return start


async def entries(client, method, cursor=None):
    """Of one page: what each is asked for by, with its server; and the cursor of the next."""
    result = (await client.request(method, {} if cursor is None else {"cursor": cursor}))["result"]
    member = {"resources/templates/list": "resourceTemplates"}.get(method, method.split("/")[0])
    found = [(one.get("uriTemplate") or one.get("uri") or one["name"], one["x-of"]) for one in result[member]]
    return found, result.get("nextCursor")


async def read(client, uri):
    answer = await client.request("resources/read", {"uri": uri})
    return answer["result"]["contents"][0]["text"] if "result" in answer else answer["error"]["code"]


async def state(client, tool):
    return json.loads(await client.text(tool, do="state"))


def change(served, **lists):
    served.file.write_text(json.dumps(json.loads(served.file.read_text()) | lists))


async def test_what_is_offered_is_the_union(merge, lists):
    client = await merge(lists("one", tools=["a"]), lists("two", prompts=["p"]), lists("three", resources=["x:1"]))
    assert client.greeting["capabilities"] == {
        "tools": {"listChanged": True},
        "prompts": {"listChanged": True},
        "resources": {"listChanged": True, "subscribe": True},
        "completions": {},
        "logging": {},
    }


async def test_lists_of_every_kind_are_one_in_the_owners_order(merge, lists):
    client = await merge(
        lists("one", prompts=["p", "q"], resources=["x:2", "x:1"], templates=["x:{n}"], page=1),
        lists("two", prompts=["q"], resources=["y:1"], templates=["y:{n}"]),
    )
    assert await entries(client, "prompts/list") == ([("p", "one"), ("q", "one"), ("two__q", "two")], None)
    assert await entries(client, "resources/list") == ([("x:2", "one"), ("x:1", "one"), ("y:1", "two")], None)
    assert await entries(client, "resources/templates/list") == ([("x:{n}", "one"), ("y:{n}", "two")], None)


async def test_a_prompt_is_gotten_from_whom_its_name_belongs_to(merge, lists):
    client = await merge(lists("one", prompts=["p"]), lists("two", prompts=["p"]))
    for published, owner in (("p", "one"), ("two__p", "two")):
        answer = await client.request("prompts/get", {"name": published})
        given = json.loads(answer["result"]["messages"][0]["content"]["text"])
        assert given == {"by": owner, "name": "p"}
    assert (await client.request("prompts/get", {"name": "x"}))["error"]["code"] == -32602
    assert (await client.request("prompts/get", {}))["error"]["code"] == -32602


async def test_a_long_list_has_pages(merge, lists, monkeypatch):
    monkeypatch.setattr(together, "ENTRIES", 2)
    client = await merge(lists("one", resources=["x:1", "x:2", "x:3"]), lists("two", resources=["y:1", "y:2"]))
    first, cursor = await entries(client, "resources/list")
    second, last = await entries(client, "resources/list", cursor)
    third, end = await entries(client, "resources/list", last)
    assert [uri for uri, _ in first + second + third] == ["x:1", "x:2", "x:3", "y:1", "y:2"]
    assert end is None
    # Nothing is given twice or left out because of what another may not see.
    other = Client(client.gateway, None, principal(servers={"two": None}, grant_id="g2"))
    await other.initialize()
    assert await entries(other, "resources/list") == ([("y:1", "two"), ("y:2", "two")], None)
    for wrong in (cursor[:-4], cursor + "AAAA", "", "1", 5, "x" * 10_000, "bnVsbA==", {"a": 1}):
        answer = await client.request("resources/list", {"cursor": wrong})
        assert answer["error"]["code"] == -32602, wrong
    answer = await client.request("prompts/list", {"cursor": cursor})
    assert answer["error"]["code"] == -32602


async def test_a_page_has_no_more_bytes_than_it_may(merge, lists, monkeypatch):
    monkeypatch.setattr(together, "SIZE", 100)
    client = await merge(lists("one", resources=["x:1", "x:" + "2" * 200, "x:3"]))
    assert await client_pages(client) == [["x:1"], ["x:" + "2" * 200], ["x:3"]]


async def client_pages(client):
    pages, cursor = [], None
    while True:
        page, cursor = await entries(client, "resources/list", cursor)
        pages.append([uri for uri, _ in page])
        if cursor is None:
            return pages


async def test_a_resource_is_read_from_whom_it_belongs_to(merge, lists):
    client = await merge(
        lists("one", resources=["x:1"], knows=["y:2", "y:9"]),
        lists("two", resources=["y:1"], templates=["y:{n}"], knows=["y:2", "z:1"]),
        lists("three", tools=["a"]),
    )
    assert await read(client, "x:1") == "x:1 of one"
    assert await read(client, "y:1") == "y:1 of two"
    assert await read(client, "y:2") == "y:2 of two"  # by the template
    assert await read(client, "z:1") == "z:1 of two"  # nobody's by the lists: the first that knows it
    assert await read(client, "y:9") == -32002  # the template says that two is to be asked, and nobody else
    assert await read(client, "z:2") == -32002


async def test_a_cancelled_search_for_a_resource_does_not_go_on(merge, lists):
    one, two = (lists(name, tools=[name], resources=[], knows=["z:ask"]) for name in ("one", "two"))
    client = await merge(one, two)
    assert [json.loads(await client.text(name))["by"] for name in ("one", "two")] == ["one", "two"]
    answer = await client.send("resources/read", {"uri": "z:ask"}, "search")
    assert json.loads(await anext(answer.replies))["params"]["message"].startswith("one")
    await client.notify("notifications/cancelled", {"requestId": "search"})
    assert [frame["error"]["code"] for frame in await client.frames(answer)] == [-32002]


async def test_another_servers_resources_cannot_be_taken(merge, lists):
    evil = lists("evil", tools=["a"], resources=["e:1"])
    good = lists("good", tools=["b"], resources=["x:1"], templates=["x:{n}"], knows=["x:2"])
    late = lists("late", resources=["x:1", "l:1"], knows=["x:2"], templates=["{+anything}"])
    client = await merge(evil, good, late)
    before = await entries(client, "resources/list")
    assert before[0] == [("e:1", "evil"), ("x:1", "good"), ("l:1", "late")]
    change(evil, resources=["x:1", "x:2", "e:1"], templates=["{+anything}", "x:{n}"])
    stream = client.listen()
    await client.text("a", do="changed", kind="resources")
    assert json.loads(await anext(stream))["method"] == "notifications/resources/list_changed"
    assert await read(client, "x:1") == "x:1 of good"
    found, _ = await entries(client, "resources/list")
    assert ("x:1", "good") in found
    assert ("x:1", "evil") not in found
    templates, _ = await entries(client, "resources/templates/list")
    assert templates.count(("x:{n}", "good")) == 1
    assert ("x:{n}", "evil") not in templates
    # A resource that its owner lists no more is free.
    change(good, resources=[])
    await client.text("b", do="changed", kind="resources")
    assert json.loads(await anext(stream))["method"] == "notifications/resources/list_changed"
    assert await read(client, "x:1") == "x:1 of evil"


async def test_a_server_that_fails_keeps_what_is_its_own(merge, lists, ambient):
    good, evil = lists("good", tools=["b"], resources=["x:1"]), lists("evil", tools=["a"], resources=["x:1", "e:1"])
    client = await merge(good, evil)
    assert await read(client, "x:1") == "x:1 of good"
    good.file.rename(good.file.with_suffix(".gone"))
    stream = client.listen()
    await client.text("b", do="changed", kind="tools")
    await client.call("b", do="exit")
    client.gateway.look_around()
    heard = {json.loads(await anext(stream))["method"] for _ in range(2)}
    assert heard == {"notifications/tools/list_changed", "notifications/resources/list_changed"}
    assert await entries(client, "resources/list") == ([("e:1", "evil")], None)
    assert await read(client, "x:1") != "x:1 of evil"
    # It comes back, and clients hear of it.
    good.file.with_suffix(".gone").rename(good.file)
    ambient.time += 3600
    await client.names()
    await anext(stream)
    assert ("x:1", "good") in (await entries(client, "resources/list"))[0]


async def test_what_was_not_allowed_is_not_there(merge, lists):
    backends = [
        lists("one", tools=["look", "do"], prompts=["p"], resources=["x:1"], templates=["x:{n}"]),
        lists("two", tools=["see"], prompts=["q"], resources=["y:1"], knows=["z:1"]),
    ]
    # Of a server with some tools ticked, the rest is there; of one that is not ticked, nothing.
    client = await merge(*backends, who=principal(servers={"one": frozenset({"look"})}))
    assert await client.names() == ["look"]
    assert await entries(client, "prompts/list") == ([("p", "one")], None)
    assert await entries(client, "resources/list") == ([("x:1", "one")], None)
    assert await read(client, "x:1") == "x:1 of one"
    assert await read(client, "y:1") == -32002
    assert await read(client, "z:1") == -32002
    assert (await client.request("prompts/get", {"name": "q"}))["error"]["code"] == -32602
    ref = {"ref": {"type": "ref/prompt", "name": "q"}, "argument": {"name": "a", "value": ""}}
    assert (await client.request("completion/complete", ref))["error"]["code"] == -32602


async def test_reading_alone_means_tools_alone(merge, lists):
    one = lists("one", tools=["look", "do"], prompts=["p"], resources=["x:1"], templates=["x:{n}"])
    client = await merge(one, who=principal("mcp:read"))
    assert await client.names() == ["look"]
    for method in ("prompts/list", "resources/list", "resources/templates/list"):
        assert await entries(client, method) == ([], None)
    for method, params in (
        ("prompts/get", {"name": "p"}),
        ("resources/read", {"uri": "x:1"}),
        ("resources/read", {"uri": "x:unlisted"}),
        ("resources/subscribe", {"uri": "x:1"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}}),
        ("tools/call", {"name": "do"}),
    ):
        with pytest.raises(InsufficientScope) as refused:
            await client.request(method, params)
        assert refused.value.scope == "mcp"


async def test_a_scope_for_one_server_is_enough_for_it(merge, lists):
    client = await merge(
        lists("one", prompts=["p"], resources=["x:1"]), lists("two", prompts=["q"]), who=principal("mcp:one")
    )
    assert await entries(client, "prompts/list") == ([("p", "one")], None)
    assert await read(client, "x:1") == "x:1 of one"
    with pytest.raises(InsufficientScope):
        await client.request("prompts/get", {"name": "q"})


async def test_completion_goes_to_whom_the_reference_belongs_to(merge, lists):
    client = await merge(
        lists("one", prompts=["p"], templates=["x:{n}"], resources=[]),
        lists("two", prompts=["p"], templates=["y:{n}"], resources=["y:1"]),
    )

    async def complete(**ref):
        answer = await client.request("completion/complete", {"ref": ref, "argument": {"name": "n", "value": ""}})
        return answer["result"]["completion"]["values"] if "result" in answer else answer["error"]["code"]

    assert await complete(type="ref/prompt", name="p") == ["one", '{"type": "ref/prompt", "name": "p"}']
    assert await complete(type="ref/prompt", name="two__p") == ["two", '{"type": "ref/prompt", "name": "p"}']
    assert (await complete(type="ref/resource", uri="y:{n}"))[0] == "two"
    assert (await complete(type="ref/resource", uri="y:1"))[0] == "two"
    for wrong in ({"type": "ref/resource", "uri": "z:{n}"}, {"type": "ref/x", "uri": "y:1"}, {}):
        assert await complete(**wrong) == -32602


async def test_a_subscription_is_its_servers(merge, lists):
    client = await merge(
        lists("one", tools=["a"], resources=["x:1"]), lists("two", tools=["b"], resources=["y:1"], knows=["z:1"])
    )
    for uri in ("x:1", "y:1", "z:1"):
        assert "result" in await client.request("resources/subscribe", {"uri": uri})
    assert (await client.request("resources/subscribe", {"uri": "z:2"}))["error"]["code"] == -32002
    assert (await state(client, "a"))["subscribed"] == ["x:1"]
    assert (await state(client, "b"))["subscribed"] == ["y:1", "z:1"]
    stream = client.listen()
    answer = await client.calling("a", do="updated", uri="x:1")
    assert [frame["params"]["uri"] for frame in (await client.frames(answer))[:-1]] == ["x:1"]
    # Nobody tells of what was subscribed to with another.
    answer = await client.calling("a", do="updated", uri="y:1")
    assert len(await client.frames(answer)) == 1
    await client.request("resources/unsubscribe", {"uri": "y:1"})
    assert (await state(client, "b"))["subscribed"] == ["z:1"]
    stream.close()


async def test_a_server_that_is_started_again_learns_what_the_client_has_set(merge, lists):
    client = await merge(lists("one", tools=["a"], resources=["x:1"]))
    await client.request("resources/subscribe", {"uri": "x:1"})
    await client.request("logging/setLevel", {"level": "error"})
    pid = await client.text("a", do="pid")
    await client.call("a", do="exit")
    assert await state(client, "a") == {"level": ["error"], "subscribed": ["x:1"], "listening": []}
    assert await client.text("a", do="pid") != pid


async def test_a_log_level_is_for_all_and_a_message_names_its_server(merge, lists):
    client = await merge(lists("one", tools=["a"]), lists("two", tools=["b"]))
    await client.text("a")
    assert (await client.request("logging/setLevel", {"level": "warning"}))["result"] == {}
    assert (await client.request("logging/setLevel", {"level": "loud"}))["error"]["code"] == -32602
    assert (await state(client, "a"))["level"] == ["warning"]
    assert (await state(client, "b"))["level"] == ["warning"]  # it was started only now
    for arguments, logger in (({}, "two"), ({"logger": "db"}, "two/db")):
        frames = await client.frames(await client.calling("b", do="log", **arguments))
        assert frames[0]["method"] == "notifications/message"
        assert frames[0]["params"]["logger"] == logger


@pytest.mark.parametrize("kind", ["prompts", "resources"])
async def test_a_change_is_announced_once_it_is_in_the_list(merge, lists, kind):
    one = lists("one", tools=["a"], prompts=["p"], resources=["x:1"])
    client = await merge(one)
    before, _ = await entries(client, f"{kind}/list")
    stream = client.listen()
    change(one, **{kind: ["x:2"]})
    answer = await client.calling("a", do="changed", kind=kind)
    assert len(await client.frames(answer)) == 1
    assert json.loads(await anext(stream))["method"] == f"notifications/{kind}/list_changed"
    assert (await entries(client, f"{kind}/list"))[0] != before


async def test_questions_of_several_servers_find_their_way_back(merge, lists):
    client = await merge(lists("one", tools=["a"], prompts=["ask1"]), lists("two", tools=["b"]))
    answers = [await client.calling("b", do="ask"), await client.send("prompts/get", {"name": "ask1"})]
    asked = [json.loads(await anext(answer.replies)) for answer in answers]
    assert [question["params"]["message"][:3] for question in asked] == ["two", "one"]
    for question in reversed(asked):
        said = {"action": "accept", "content": {"of": question["params"]["message"][:3]}}
        await client.post({"jsonrpc": "2.0", "id": question["id"], "result": said})
    for answer, name in zip(answers, ("two", "one"), strict=True):
        result = json.loads(await anext(answer.replies))["result"]
        given = json.loads(result["content"][0]["text"])
        assert (given["by"], given["said"]["content"]["of"]) == (name, name)
