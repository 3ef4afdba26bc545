"""Tasks, and extensions but for MCP Apps, are of one side alone: the other one hears nothing of them."""

import json

from tests.fakes.mcp_client import Client
from tests.gateway.bridge.test_questions_to_modern_clients import ELICIT, asked, asking

PREFIX = "io.modelcontextprotocol/"
APPS = {PREFIX + "ui": {}}
TASK = {"task": {"ttl": 60000}}
RELATED = {PREFIX + "related-task": {"taskId": "t1"}}
DECLARED = {"elicitation": {}, "tasks": {"list": {}, "requests": {"elicitation": {"create": {}}}}}


async def seen(client):
    return json.loads(await client.text("seen"))


# Modern clients, and a server of the older era that has tasks.


async def test_a_modern_client_sees_no_tasks_and_no_extension_but_apps_of_a_legacy_server(to_legacy):
    client = (await to_legacy("--tasks"))()
    discovered = (await client.request("server/discover"))["result"]
    assert "tasks" not in discovered["capabilities"]
    assert discovered["capabilities"]["extensions"] == APPS
    tools = (await client.request("tools/list"))["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["echo", "ask", "seen", "either"]
    assert not any("execution" in tool for tool in tools)


async def test_a_legacy_server_hears_of_no_tasks_of_a_modern_client(to_legacy):
    client = (await to_legacy("--tasks"))(**DECLARED, extensions={PREFIX + "tasks": {}})
    params = {"name": "either", "arguments": {"task": 1}, **TASK}
    answer = await client.frames(await client.send("tools/call", params, **RELATED, **{"x/own": 1}))
    told = json.loads(answer[-1]["result"]["content"][0]["text"])
    assert told == {"name": "either", "arguments": {"task": 1}, "_meta": {"x/own": 1}}
    assert [one["capabilities"] for one in (await seen(client))["initialize"]] == [{"elicitation": {}}]


async def test_a_tool_that_runs_only_as_a_task_says_so(to_legacy):
    client = (await to_legacy("--tasks"))()
    answer = await client.send("tools/call", {"name": "only", "arguments": {}, **TASK})
    (reply,) = await client.frames(answer)
    # Not the code of a method that is unknown: that would be another HTTP status, and of all tools.
    assert (reply["error"]["code"], reply["error"]["message"]) == (-32602, "only as a task")


async def test_a_modern_client_cannot_ask_for_tasks_of_a_legacy_server(to_legacy):
    client = (await to_legacy("--tasks"))()
    assert (await client.request("tasks/list"))["error"]["code"] == -32601
    assert [frame["method"] for frame in (await seen(client))["frames"]] == ["initialize", "tools/call"]


async def test_a_question_of_a_legacy_server_is_no_task(to_legacy):
    client = (await to_legacy("--tasks"))(**DECLARED)
    params = {**ELICIT["params"], **TASK}
    result = await asked(client, asking({**ELICIT, "params": params}))
    assert list(result["inputRequests"].values()) == [ELICIT]


# Legacy clients, and a modern server that has an extension for tasks.


async def test_a_legacy_client_sees_no_tasks_and_no_extension_but_apps_of_a_modern_server(to_modern):
    client = await (await to_modern())(**DECLARED)
    capabilities = client.greeting["result"]["capabilities"]
    assert "tasks" not in capabilities
    assert capabilities["extensions"] == APPS
    tools = (await client.request("tools/list"))["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["echo", "ask", "seen"]
    assert not any("execution" in tool for tool in tools)


async def test_a_modern_server_hears_of_no_tasks_of_a_legacy_client(to_modern):
    client = await (await to_modern())(**DECLARED, extensions={PREFIX + "tasks": {}})
    params = {"name": "echo", "arguments": {"task": 1}, **TASK, "_meta": RELATED}
    told = json.loads((await client.request("tools/call", params))["result"]["content"][0]["text"])
    assert told.keys() == {"name", "arguments", "_meta"}
    assert told["arguments"] == {"task": 1}
    assert not RELATED.keys() & told["_meta"].keys()
    assert told["_meta"][PREFIX + "clientCapabilities"] == {"elicitation": {}}


async def test_a_legacy_client_cannot_ask_for_tasks_of_a_modern_server(to_modern):
    client = await (await to_modern())()
    assert (await client.request("tasks/get", {"taskId": "t1"}))["error"]["code"] == -32601


async def test_a_result_that_a_legacy_client_cannot_read_is_an_error(to_modern):
    client = await (await to_modern())()
    assert "cannot read" in (await client.call("as_task"))["error"]["message"]


# All servers together: nobody declares tasks there.


async def test_at_the_address_of_all_servers_nothing_is_a_task(to_legacy):
    gateway = (await to_legacy("--tasks"))().gateway
    client = Client(gateway)
    greeting = (await client.initialize())["result"]
    assert "tasks" not in greeting["capabilities"]
    assert await client.names() == ["echo", "ask", "seen", "either"]
    params = {"name": "either", "arguments": {}, **TASK}
    told = json.loads((await client.request("tools/call", params))["result"]["content"][0]["text"])
    assert "task" not in told


async def test_within_one_era_tasks_are_the_clients_and_the_servers_own_affair(to_legacy):
    gateway = (await to_legacy("--tasks"))().gateway
    client = Client(gateway, "old")
    about = {"protocolVersion": "2025-11-25", "capabilities": DECLARED, "clientInfo": {"name": "t", "version": "1"}}
    assert (await client.initialize(about))["result"]["capabilities"]["tasks"] == {"list": {}}
    tools = (await client.request("tools/list"))["result"]["tools"]
    assert tools[-1]["execution"] == {"taskSupport": "required"}
    result = (await client.request("tools/call", {"name": "only", "arguments": {}, **TASK}))["result"]
    assert result["task"]["taskId"] == "t1"
    assert (await client.request("tasks/list"))["result"] == {"tasks": []}
