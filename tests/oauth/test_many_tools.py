"""The consent page of a server with very many tools, or odd ones: somebody must be able to answer it."""

import json
import sys
from pathlib import Path

import msgspec
import pytest

from mcpauth.gateway.inquiry import BackendState
from mcpauth.gateway.tools import Tool
from mcpauth.models.records import Grant
from mcpauth.web import limits, ticks
from tests.conftest import PASSWORD
from tests.oauth.test_ticks import decide, offered
from tests.oauth_client import answer

CHILD = Path(__file__).parent.parent / "fakes" / "mcp_child.py"
# Of 30 letters each.
ORDINARY = [f"create_or_update_something_{number:03}" for number in range(1000)]
LONG = ["x" * 4000 + str(number) for number in range(8)]
FOREIGN = ["\N{OGHAM LETTER BEITH}" * 120 + str(number) for number in range(10_000)]


@pytest.fixture
def servers():
    return {f"server-number-{number}": ORDINARY for number in range(5)}


@pytest.fixture
def environment(environment, tmp_path, servers):
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    entries = {}
    for name, tools in servers.items():
        (tmp_path / name).write_text(" ".join(tools))
        entries[name] = {"command": sys.executable, "args": [str(CHILD), "--modern", f"--tools={tmp_path / name}"]}
    (data / "mcp.json").write_text(json.dumps({"mcpServers": entries}))
    (data / "mcp.json").chmod(0o600)
    return environment


@pytest.fixture
def choose(client, browser, owner, services):
    """Allows these tools, all that are offered but those; the servers of the grant."""

    async def choose(without=()):
        await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD)
        tools = offered(page, "tool") - set(without)
        answered = await decide(browser, page, offered(page, "server"), tools)
        assert (await client.redeem(answer(answered)["code"])).status == 200
        grants = await services.grants.connected(client.client_id)
        return grants[0].servers

    return choose


class TestFiveThousand:
    async def test_all_of_them_can_be_allowed(self, choose):
        assert await choose() is None

    async def test_or_all_but_one(self, choose, servers):
        granted = await choose(without=[f"server-number-3/{ORDINARY[7]}"])
        assert granted.pop("server-number-3") == set(ORDINARY) - {ORDINARY[7]}
        assert granted == dict.fromkeys(name for name in servers if name != "server-number-3")


class TestOneServerThatIsOdd:
    @pytest.fixture
    def servers(self):
        return {"long": [*LONG, "fine", "good"], "foreign": FOREIGN, "plain": ["read", "write"]}

    async def test_others_have_their_boxes_all_the_same(self, client, browser, owner, choose):
        granted = await choose(without=["plain/write", "long/good"])
        assert granted == {"long": {"fine"}, "foreign": None, "plain": {"read"}}

    async def test_what_has_no_box_comes_with_the_whole_and_the_page_says_so(self, client, browser, owner, choose):
        await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD)
        assert offered(page, "tool") == {"long/fine", "long/good", "plain/read", "plain/write"}
        assert "All of its tools or none: 10000 are too many to choose from." in page.text
        assert "8 more, with names that apps do not take, come only with all of these." in page.text
        assert len(page.body) < 100_000
        assert await choose() is None


class TestAFormThatIsTooLarge:
    @pytest.fixture
    def servers(self):
        return {}

    async def test_a_browser_is_told_so_on_a_page(self, browser, client, owner):
        await client.register()
        page = await client.consent_page(browser, "ada", PASSWORD)
        for path, most in (("/auth/oauth/consent", limits.LARGEST_FORM), ("/auth/oauth/signin", limits.LARGEST)):
            refused = await browser.request(path, "POST", "x" * (most + 1))
            assert (refused.status, refused.headers["Content-Type"]) == (413, "text/html; charset=UTF-8")
            assert "Go back and send less" in refused.text
        assert answer(await browser.decide(page))["code"]

    async def test_only_who_may_answer_may_send_a_large_one(self, browser, client, owner):
        size = limits.LARGEST + 1
        assert (await browser.request("/auth/oauth/consent", "POST", "x" * size)).status == 413
        await client.register()
        await client.consent_page(browser, "ada", PASSWORD)
        assert (await browser.request("/auth/oauth/consent", "POST", "x" * size)).status == 403  # no XSRF token
        assert (await browser.request("/auth/oauth/signin", "POST", "x" * size)).status == 413


def offer(name, tools):
    return BackendState(name, "ok", None, tuple(Tool(tool, False, msgspec.Raw(b"{}"), title=tool) for tool in tools))


def test_where_there_is_no_room_for_all_the_servers_with_most_have_no_boxes():
    many = [f"t{number}" for number in range(ticks.MOST // 2)]
    shown = ticks.show([offer("a", many), offer("b", [*many, "more"]), offer("c", ["x"])], None)
    assert [len(server["tools"]) for server in shown] == [len(many), 0, 1]


def test_a_server_that_has_no_boxes_any_more_is_not_ticked_for_who_had_a_part_of_it():
    before = Grant(
        grant_id="g",
        user_id="u",
        client_id="c",
        redirect_uri="r",
        scope="mcp",
        resource="r",
        servers={"a": frozenset({"safe"}), "b": None},
        created_at=1,
    )
    (a, b) = ticks.show([offer("a", FOREIGN), offer("b", FOREIGN)], before)
    assert (a["tools"], b["tools"]) == ([], [])
    assert (a["ticked"], b["ticked"]) == (False, True)


def test_the_page_is_bounded_whatever_a_server_says():
    wordy = Tool("x", False, msgspec.Raw(b"{}"), title="t" * 10**6, description="d" * 8 * 10**6)
    (server,) = ticks.show([BackendState("a", "ok", None, (wordy,))], None)
    (tool,) = server["tools"]
    assert len(tool["title"]) <= ticks.TITLE + 1
    assert len(tool["description"]) <= ticks.DESCRIPTIONS + 1


def test_names_that_a_form_would_change_have_no_box():
    (server,) = ticks.show([offer("a", ["two\nlines", "", "sp ace ", "\N{SNOWMAN}"])], None)
    assert [tool["name"] for tool in server["tools"]] == ["sp ace ", "\N{SNOWMAN}"]
