"""What was ticked on the consent page is all that the token can do."""

import json
from urllib.parse import urlencode, urljoin

import pytest

from tests.conftest import PASSWORD
from tests.oauth_client import answer

READING = {"list_directory", "read_file", "search", "fetch"}


@pytest.fixture
def environment(environment, tmp_path):
    """Two servers: ``files``, which may write, and ``notes``, which may not."""
    data = tmp_path / "data"
    for name in ("files", "notes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(f"text of {name}")
    data.mkdir(mode=0o700)
    servers = {
        "files": {"builtin": "files", "root": str(tmp_path / "files"), "write": True},
        "notes": {"builtin": "files", "root": str(tmp_path / "notes")},
    }
    (data / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data / "mcp.json").chmod(0o600)
    return environment


async def decide(browser, page, servers, tools):
    form = page.form("decision")
    fields = [(name, value) for name, value in form.fields if name not in ("server", "tool")]
    fields += [("server", name) for name in servers] + [("tool", name) for name in tools]
    body = urlencode([*fields, ("decision", "allow")])
    return await browser.request(urljoin(page.url, form.action), "POST", body, **{"Sec-Fetch-Site": "same-origin"})


def offered(page, field):
    return {value for name, value in page.form("decision").fields if name == field}


@pytest.fixture
def connect(client, browser, owner):
    """Connects with these ticks; without, with all that the page offers."""

    async def connect(servers=None, tools=None, **changes):
        await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD, **changes)
        ticked = (
            offered(page, "server") if servers is None else servers,
            offered(page, "tool") if tools is None else tools,
        )
        assert (await client.redeem(answer(await decide(browser, page, *ticked))["code"])).status == 200
        return client

    return connect


def refused(reply):
    return reply.status == 200 and reply.json["result"]["isError"]


async def test_everything_ticked_is_everything(connect):
    client = await connect()
    tools = await client.tools()
    assert {*READING, "write_file"} <= tools
    assert {f"notes__{name}" for name in READING} <= tools
    reply = await client.call("tools/call", name="notes__read_file", arguments={"path": "a.txt"})
    assert "text of notes" in reply.json["result"]["content"][0]["text"]


async def test_a_server_that_was_not_ticked_is_not_there(connect):
    client = await connect(servers=["notes"])
    assert await client.tools() == {f"notes__{name}" for name in READING}
    for tool in ("read_file", "write_file"):
        reply = await client.call("tools/call", name=tool, arguments={"path": "a.txt", "content": "x"})
        assert refused(reply)
        assert "text of files" not in str(reply.json)


async def test_a_tool_that_was_not_ticked_is_not_there(connect, tmp_path):
    client = await connect(servers=["files"], tools=["files/read_file", "notes/read_file"])
    assert await client.tools() == {"read_file"}
    read = await client.call("tools/call", name="read_file", arguments={"path": "a.txt"})
    assert "text of files" in read.json["result"]["content"][0]["text"]
    for tool in ("write_file", "list_directory", "notes__read_file"):
        assert refused(await client.call("tools/call", name=tool, arguments={"path": "a.txt", "content": "x"}))
    assert (tmp_path / "files" / "a.txt").read_text() == "text of files"


async def test_the_ticks_hold_at_the_servers_own_address(connect):
    client = await connect(tools=["files/read_file"], resource="https://host.example.ts.net/mcp/files")
    assert await client.tools("/mcp/files") == {"read_file"}
    assert refused(
        await client.call("tools/call", "/mcp/files", name="write_file", arguments={"path": "b", "content": ""})
    )


async def test_the_ticks_hold_after_refresh_and_restart(connect, restart):
    client = await connect(servers=["files"], tools=["files/read_file"])
    await client.refresh()
    await restart()
    assert await client.tools() == {"read_file"}
    await client.refresh()
    assert await client.tools() == {"read_file"}
    assert refused(await client.call("tools/call", name="write_file", arguments={"path": "a.txt", "content": "x"}))


async def test_nothing_ticked_is_no_answer(client, browser, owner, rows):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    for servers in ([], ["nobody"], ["<script>"]):
        again = await decide(browser, page, servers, ["files/read_file"])
        assert again.status == 400
        assert "Tick at least one server, or choose Deny." in again.text
    assert rows()["grants"] == 0
    # The request is still good.
    assert answer(await decide(browser, page, ["files"], ["files/read_file"]))["code"]


async def test_a_resource_offers_its_own_server_only(client, browser, owner):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD, resource="https://host.example.ts.net/mcp/notes")
    assert offered(page, "server") == {"notes"}


async def test_a_servers_scope_offers_and_gives_that_server_only(connect, browser):
    client = await connect(scope="mcp:notes")
    assert await client.tools() == {f"notes__{name}" for name in READING}
    reply = await client.call("tools/call", name="read_file", arguments={"path": "a.txt"})
    assert reply.status == 403
    assert reply.refusal.startswith("insufficient_scope: ")
    assert 'error="insufficient_scope"' in reply.headers["WWW-Authenticate"]
    assert 'scope="mcp"' in reply.headers["WWW-Authenticate"]


async def test_the_reading_scope_offers_and_gives_reading_tools_only(connect, client, browser, tmp_path, services):
    await connect(scope="mcp:read")
    page = await client.consent_page(browser, "ada", PASSWORD, scope="mcp:read")
    assert "files/write_file" not in offered(page, "tool")
    assert await client.tools() == READING | {f"notes__{name}" for name in READING}
    reply = await client.call("tools/call", name="write_file", arguments={"path": "a.txt", "content": "x"})
    assert reply.status == 403
    assert reply.refusal.startswith("insufficient_scope: ")
    assert (tmp_path / "files" / "a.txt").read_text() == "text of files"
    # All that was offered was ticked, so it is no list that a new reading tool would be missing from.
    grants = await services.grants.connected(client.client_id)
    assert grants[0].servers is None


async def test_a_tool_that_was_not_offered_cannot_be_ticked(connect):
    client = await connect(servers=["files"], tools=["files/read_file", "files/write_file"], scope="mcp:read")
    assert await client.tools() == {"read_file"}
    reply = await client.call("tools/call", name="write_file", arguments={"path": "a.txt", "content": "x"})
    assert reply.status == 403 or refused(reply)
