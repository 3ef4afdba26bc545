"""What was ticked is what the token can do: nothing that is not there asks for a new consent that could not help."""

import json

import pytest

from tests.conftest import PASSWORD
from tests.oauth.test_ticks import decide
from tests.oauth_client import answer


@pytest.fixture
def environment(environment, tmp_path):
    """``files`` may write, but has a tool switched off; ``notes``; and one that does not start."""
    data = tmp_path / "data"
    for name in ("files", "notes"):
        (tmp_path / name).mkdir()
    data.mkdir(mode=0o700)
    servers = {
        "files": {"builtin": "files", "root": str(tmp_path / "files"), "write": True, "tools": {"deny": ["fetch"]}},
        "notes": {"builtin": "files", "root": str(tmp_path / "notes")},
        "broken": {"command": "/nowhere/at/all"},
    }
    (data / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data / "mcp.json").chmod(0o600)
    return environment


@pytest.fixture(params=["/mcp", "/mcp/files", "/mcp/notes"])
def connected(request, io_loop, client, browser, owner):
    """A client that asked for what everybody asks for, and got one tool of one server; and where it was to go."""

    async def connect():
        await client.register()
        resource = f"{client.origin}{request.param}"
        page = await client.consent_page(browser, "ada", PASSWORD, scope="mcp", resource=resource)
        server = "notes" if request.param == "/mcp/notes" else "files"
        decided = await decide(browser, page, [server], [f"{server}/read_file"])
        assert (await client.redeem(answer(decided)["code"])).status == 200
        return client, request.param

    return io_loop.run_sync(connect)


async def test_no_request_is_answered_with_a_new_consent(connected):
    client, path = connected
    tools = ["write_file", "fetch", "notes__read_file", "notes__search", "search", "broken__anything", "no_such_tool"]
    requests = [
        *(("tools/call", {"name": name, "arguments": {"path": "a", "content": "x"}}) for name in tools),
        ("prompts/list", {}),
        ("prompts/get", {"name": "anything"}),
        ("resources/list", {}),
        ("resources/read", {"uri": "file:///etc/passwd"}),
        ("resources/subscribe", {"uri": "file:///etc/passwd"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "x"}, "argument": {"name": "a", "value": "b"}}),
        ("no/such/method", {}),
    ]
    for method, params in requests:
        reply = await client.call(method, path, **params)
        assert reply.status == 200, (method, params, reply.body)
        assert "WWW-Authenticate" not in reply.headers
        if method == "tools/call":
            # An error that the model reads, or that there is no such tool; nothing was done.
            assert "error" in reply.json or reply.json["result"]["isError"], params
    assert await client.tools(path) == {"read_file"}


async def test_servers_that_were_not_ticked_are_errors_and_no_challenge(connected):
    client, path = connected
    for other in {"/mcp", "/mcp/files", "/mcp/notes"} - {path}:
        reply = await client.initialize(other)
        # The token is for another address: that is a token that is not valid there, and no missing right.
        assert (reply.status, reply.refusal) == (401, "invalid_token: the access token is for another resource")


async def test_a_grant_without_the_server_is_told_so_and_not_challenged(client, browser, owner):
    """The person ticked nothing of ``notes``; the address of all servers knows of it."""
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    await client.redeem(answer(await decide(browser, page, ["files"], ["files/read_file"]))["code"])
    reply = await client.call("tools/call", name="notes__read_file", arguments={"path": "a"})
    assert reply.status == 200
    assert "connect the client again and allow it" in reply.json["result"]["content"][0]["text"]
