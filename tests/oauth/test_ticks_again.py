"""Ticks when something changes: between the page and the answer, or from one consent to the next."""

import json
import sys
from pathlib import Path

import pytest

from tests.conftest import ORIGIN, PASSWORD
from tests.oauth.test_ticks import READING, decide, offered
from tests.oauth_client import answer

CHILD = Path(__file__).parent.parent / "fakes" / "mcp_child.py"


@pytest.fixture
def configure(tmp_path):
    """Writes an mcp.json with these servers."""
    (tmp_path / "data").mkdir(mode=0o700)
    (tmp_path / "files").mkdir()

    def write(**servers):
        path = tmp_path / "data" / "mcp.json"
        path.write_text(json.dumps({"mcpServers": servers}))
        path.chmod(0o600)

    return write


@pytest.fixture
def files(tmp_path):
    return {"builtin": "files", "root": str(tmp_path / "files"), "write": True}


@pytest.fixture
def child(tmp_path):
    """Fails the first time that it is started."""
    fails_once = f"--fail-once={tmp_path / 'failed-once'}"
    return {"command": sys.executable, "args": [str(CHILD), "echo", "ping:read", fails_once]}


@pytest.fixture
def environment(environment, configure, files):
    configure(files=files)
    return environment


async def granted(services, client):
    """What the client's newest grant lists."""
    grants = await services.grants.connected(client.client_id)
    return grants[0].servers


async def test_a_tool_that_vanishes_meanwhile_does_not_make_a_choice_the_whole_server(
    client, browser, owner, configure, files, restart
):
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "files/write_file" in offered(page, "tool")
    configure(files={**files, "tools": {"deny": ["write_file"]}})
    services = await restart()
    chosen = offered(page, "tool") - {"files/write_file"}
    await client.redeem(answer(await decide(browser, page, ["files", "*"], chosen))["code"])
    assert await granted(services, client) == {"files": {one.removeprefix("files/") for one in chosen}}
    # It comes back, and another server with it.
    configure(files=files, more=files)
    await restart()
    assert await client.tools() == {one.removeprefix("files/") for one in chosen}
    assert await client.tools() >= READING


async def test_a_tool_that_comes_meanwhile_is_not_ticked_with_a_choice(
    client, browser, owner, configure, files, restart
):
    configure(files={**files, "tools": {"deny": ["write_file"]}})
    await restart()
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    configure(files=files)
    await restart()
    tools = ["files/read_file", "files/write_file"]
    await client.redeem(answer(await decide(browser, page, ["files", "*"], tools))["code"])
    assert await client.tools() == {"read_file"}


async def test_a_server_whose_tools_were_unknown_is_ticked_as_a_whole(
    client, browser, owner, configure, files, child, restart
):
    configure(files=files, fake=child)
    await restart()
    await client.register()
    page = await client.consent_page(browser, "ada", PASSWORD)
    assert "fake" in offered(page, "server")
    assert not any(tool.startswith("fake/") for tool in offered(page, "tool"))
    services = await restart()
    ticked = await decide(browser, page, ["files", "fake"], ["files/read_file"])
    await client.redeem(answer(ticked)["code"])
    assert await granted(services, client) == {"files": {"read_file"}, "fake": None}
    assert await client.tools() == {"read_file", "echo", "ping"}


@pytest.fixture
def again(client, browser, owner, ambient):
    """Connects with these ticks; the page of the next time."""

    async def again(servers, tools=None, **changes):
        if not client.client_id:
            await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD, **changes)
        ticked = offered(page, "tool") if tools is None else tools
        await client.redeem(answer(await decide(browser, page, servers, ticked))["code"])
        ambient.time += 1
        return await client.consent_page(browser, "ada", PASSWORD, **changes)

    return again


def unfolded(page):
    assert '<details class="fold"' in page.body
    return '<details class="fold" open>' in page.body


class TestTwoServers:
    @pytest.fixture
    def environment(self, environment, configure, files):
        configure(files=files, notes={**files, "write": False})
        return environment

    async def test_all_of_it_stays_all_of_it(self, again, client, services):
        page = await again(["files", "notes", "*"])
        assert offered(page, "server") == {"files", "notes", "*"}
        assert not unfolded(page)
        assert await granted(services, client) is None

    async def test_what_was_not_ticked_is_not_ticked_the_next_time(self, again, browser, client, services, ambient):
        every = {f"{server}/{tool}" for server in ("files", "notes") for tool in READING} | {"files/write_file"}
        page = await again(["files"], ["files/read_file", "files/search"])
        assert offered(page, "server") == {"files"}
        assert {tool for tool in offered(page, "tool") if tool.startswith("files/")} == {
            "files/read_file",
            "files/search",
        }
        assert unfolded(page)
        # Whoever only presses Allow gives no more than before.
        await client.redeem(answer(await browser.decide(page))["code"])
        assert await client.tools() == {"read_file", "search"}
        assert await granted(services, client) == {"files": {"read_file", "search"}}
        ambient.time += 1
        assert len(await services.grants.connected(client.client_id)) == 2
        # It is the newest that is shown.
        page = await again(["files", "*"], ["files/read_file", "notes/search"])
        assert {tool for tool in offered(page, "tool") if tool.startswith("files/")} == {"files/read_file"}
        assert not unfolded(await again(["files", "notes", "*"], every))

    async def test_without_what_comes_later_the_servers_are_listed(
        self, again, client, services, configure, files, restart
    ):
        page = await again(["files", "notes"])
        assert offered(page, "server") == {"files", "notes"}
        assert unfolded(page)
        assert await granted(services, client) == {"files": None, "notes": None}
        configure(files=files, notes=files, third=files)
        await restart()
        assert not any(name.startswith("third") for name in await client.tools())
        assert any(name.startswith("notes__") for name in await client.tools())

    async def test_the_choice_for_another_address_is_another_choice(self, again, client, browser):
        await again(["files"], ["files/read_file"], resource=f"{ORIGIN}/mcp/files")
        page = await client.consent_page(browser, "ada", PASSWORD)
        assert offered(page, "server") == {"files", "notes", "*"}

    async def test_a_grant_that_was_taken_back_is_no_choice(self, again, client, browser, services):
        page = await again(["files"], ["files/read_file"])
        assert offered(page, "server") == {"files"}
        await client.token("/revoke", token=client.tokens["refresh_token"])
        page = await client.consent_page(browser, "ada", PASSWORD)
        assert offered(page, "server") == {"files", "notes", "*"}
