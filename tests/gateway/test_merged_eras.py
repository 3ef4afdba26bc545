"""`/mcp` with servers of each era: clients of both have all of them."""

import asyncio
import json

import pytest

from tests.fakes.mcp_client import Client, ModernClient, principal
from tests.gateway.test_merged_lists import change, entries, read

META = "io.modelcontextprotocol/"
SAID = {"action": "accept", "content": {"n": 3}}


@pytest.fixture
def old(lists):
    return lists(
        "old", tools=["a", "b"], prompts=["p", "ask1"], resources=["x:1"], templates=["x:{n}"], knows=["x:2", "z:1"]
    )


@pytest.fixture
def new(lists):
    about = {"tools": ["b", "c"], "prompts": ["p", "ask1"], "resources": ["y:1"], "templates": ["y:{n}"]}
    return lists("new", "--modern", knows=["y:2", "w:1"], **about)


@pytest.fixture(params=["legacy", "modern"])
def client(request, io_loop, serve, old, new):
    """At /mcp, of each era."""

    async def start():
        gateway = await serve(old, new)
        await gateway.settled()
        if request.param == "modern":
            return ModernClient(gateway, None, None, {"elicitation": {"form": {}}})
        client = Client(gateway)
        await client.initialize()
        return client

    return io_loop.run_sync(start)


async def answered(client, method, params):
    """The result, when the client has said ``SAID`` to the question in between."""
    if isinstance(client, ModernClient):
        asked = (await client.request(method, params))["result"]
        assert asked["resultType"] == "input_required"
        (key,) = asked["inputRequests"]
        again = {**params, "inputResponses": {key: SAID}}
        if "requestState" in asked:
            again["requestState"] = asked["requestState"]
        return (await client.request(method, again))["result"]
    answer = await client.send(method, params)
    question = json.loads(await anext(answer.replies))
    assert question["method"] == "elicitation/create"
    await client.post({"jsonrpc": "2.0", "id": question["id"], "result": SAID})
    return (await client.frames(answer))[-1]["result"]


async def test_the_lists_have_what_all_of_them_have(client):
    assert [tool["name"] for tool in (await client.request("tools/list"))["result"]["tools"]] == [
        "a", "b", "new__b", "c",
    ]  # fmt: skip
    prompts = [("p", "old"), ("ask1", "old"), ("new__p", "new"), ("new__ask1", "new")]
    assert (await entries(client, "prompts/list"))[0] == prompts
    assert (await entries(client, "resources/list"))[0] == [("x:1", "old"), ("y:1", "new")]
    assert (await entries(client, "resources/templates/list"))[0] == [("x:{n}", "old"), ("y:{n}", "new")]


@pytest.mark.parametrize(("published", "owner"), [("a", "old"), ("b", "old"), ("new__b", "new"), ("c", "new")])
async def test_a_call_reaches_its_server(client, published, owner):
    result = (await client.call(published, n=1))["result"]
    assert json.loads(result["content"][0]["text"])["by"] == owner
    assert ("resultType" in result) == isinstance(client, ModernClient)


async def test_resources_are_read_from_both(client):
    uris = {"x:1": "old", "x:2": "old", "z:1": "old", "y:1": "new", "y:2": "new", "w:1": "new"}
    for uri, owner in uris.items():
        assert await read(client, uri) == f"{uri} of {owner}"


async def test_of_a_resource_that_nobody_has_the_error_names_it(client):
    code = -32602 if isinstance(client, ModernClient) else -32002
    for uri, servers in (("v:1", None), ("x:1", {})):  # All are asked for it, or nobody.
        client.who = principal(servers=servers)
        error = (await client.request("resources/read", {"uri": uri}))["error"]
        assert (error["code"], error["data"]) == (code, {"uri": uri})


async def test_what_nobody_lists_is_asked_of_those_that_run_and_starts_nobody(client, old, new):
    def started():
        return [len(one.file.with_suffix(".started").read_text().split()) for one in (old, new)]

    async def refused(uri):
        return (await client.request("resources/read", {"uri": uri}))["error"].get("data") == {"uri": uri}

    before = started()
    assert await refused("z:1")
    assert started() == before
    assert await read(client, "x:1") == "x:1 of old"
    assert await read(client, "z:1") == "z:1 of old"
    assert "error" in await client.request("resources/read", {"uri": "w:1"})
    assert started() == [before[0] + 1, before[1]]


@pytest.mark.parametrize(("published", "owner"), [("p", "old"), ("new__p", "new")])
async def test_prompts_and_their_completion_come_from_both(client, published, owner):
    result = (await client.request("prompts/get", {"name": published}))["result"]
    assert json.loads(result["messages"][0]["content"]["text"]) == {"by": owner, "name": "p"}
    ref = {"ref": {"type": "ref/prompt", "name": published}, "argument": {"name": "n", "value": ""}}
    assert (await client.request("completion/complete", ref))["result"]["completion"]["values"][0] == owner


@pytest.mark.parametrize(
    ("method", "params", "owner"),
    [
        ("tools/call", {"name": "a", "arguments": {"do": "ask"}}, "old"),
        ("tools/call", {"name": "c", "arguments": {"do": "ask"}}, "new"),
        ("prompts/get", {"name": "new__ask1"}, "new"),
    ],
)
async def test_a_question_reaches_the_client_and_the_answer_its_server(client, method, params, owner):
    said = json.dumps(await answered(client, method, params))
    assert f'\\"by\\": \\"{owner}\\"' in said
    assert '\\"n\\": 3' in said


async def test_questions_of_both_at_once_are_not_mixed_up(client):
    calls = [{"name": name, "arguments": {"do": "ask"}} for name in ("a", "c")]
    for owner, result in zip(
        ("old", "new"), await asyncio.gather(*(answered(client, "tools/call", call) for call in calls)), strict=True
    ):
        assert f'\\"by\\": \\"{owner}\\"' in json.dumps(result)


@pytest.mark.parametrize(("tool", "owner"), [("a", "old"), ("c", "new")])
async def test_log_messages_name_their_server(client, tool, owner):
    params = {"name": tool, "arguments": {"do": "log"}}
    if isinstance(client, ModernClient):
        answer = await client.send("tools/call", params, **{META + "logLevel": "info"})
    else:
        await client.request("logging/setLevel", {"level": "info"})
        answer = await client.send("tools/call", params)
    told = [frame for frame in (await client.frames(answer))[:-1] if frame["method"] == "notifications/message"]
    assert [frame["params"]["logger"] for frame in told] == [owner]


class Ear:
    """What a client is told outside of its requests, of lists and of these resources."""

    @classmethod
    async def of(cls, client, *uris):
        self = cls()
        if isinstance(client, ModernClient):
            lists = {f"{kind}ListChanged": True for kind in ("tools", "prompts", "resources")}
            wanted = {**lists, **({"resourceSubscriptions": list(uris)} if uris else {})}
            self.stream = (await client.send("subscriptions/listen", {"notifications": wanted})).replies
            acknowledged = json.loads(await anext(self.stream))
            assert acknowledged["params"]["notifications"] == wanted
        else:
            for uri in uris:
                assert "result" in await client.request("resources/subscribe", {"uri": uri})
            self.stream = client.listen()
        return self

    async def hear(self):
        message = json.loads(await anext(self.stream))
        return message["method"].removeprefix("notifications/"), message["params"].get(
            "uri"
        ) if "params" in message else None


async def state(client, tool):
    return json.loads(await client.text(tool, do="state"))


@pytest.mark.parametrize(("tool", "uri"), [("a", "x:1"), ("c", "y:1")])
async def test_a_resource_of_either_is_followed(client, tool, uri):
    ear = await Ear.of(client, uri)
    while uri not in json.dumps(await state(client, tool)):
        pass
    answer = await client.calling(tool, do="updated", uri=uri)
    # A legacy server that has a request in flight may say it there.
    within = [
        frame["params"]["uri"] for frame in await client.frames(answer) if frame.get("method", "").endswith("/updated")
    ]
    assert within == [uri] or await ear.hear() == ("resources/updated", uri)


@pytest.mark.parametrize(("tool", "kind"), [("a", "tools"), ("a", "prompts"), ("c", "tools"), ("c", "resources")])
async def test_a_changed_list_of_either_is_announced(client, old, new, tool, kind):
    ear = await Ear.of(client)
    before = await client.request(f"{kind}/list")
    await client.text(tool)
    change({"a": old, "c": new}[tool], **{kind: ["v:1", "a", "c"]})
    await client.text(tool, do="changed", kind=kind)
    assert await ear.hear() == (f"{kind}/list_changed", None)
    assert (await client.request(f"{kind}/list"))["result"] != before["result"]
