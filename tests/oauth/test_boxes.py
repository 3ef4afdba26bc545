"""The tick boxes of the consent page without a page: what is shown ticked, and what comes back."""

import msgspec
import pytest

from mcpauth.gateway.inquiry import BackendState
from mcpauth.gateway.tools import Tool
from mcpauth.models.records import Grant
from mcpauth.web import ticks


def offer(name, tools="", state="ok"):
    found = tuple(Tool(tool, False, msgspec.Raw(b"{}")) for tool in tools.split())
    return BackendState(name, state, None if state != "failed" else "exit status 7", found)


def grant(servers):
    return Grant(
        grant_id="g",
        user_id="u",
        client_id="c",
        redirect_uri="r",
        scope="mcp",
        resource="r",
        servers=servers,
        created_at=1,
    )


def some(tools=""):
    return frozenset(tools.split())


FILES, NOTES = offer("files", "read write"), offer("notes", "read")
ALL = "files/read files/write notes/read"


@pytest.mark.parametrize(
    ("offers", "servers", "tools", "shown", "meant"),
    [
        # As on the page.
        ([FILES, NOTES], "files notes *", ALL, ALL, None),
        ([FILES, NOTES], "files notes", ALL, ALL, {"files": None, "notes": None}),
        ([FILES, NOTES], "files *", ALL, ALL, {"files": None}),
        ([FILES, NOTES], "files notes *", "files/read notes/read", ALL, {"files": some("read"), "notes": None}),
        ([FILES, NOTES], "files", "", ALL, {"files": some()}),
        ([FILES, NOTES], "", ALL, ALL, {}),
        ([FILES, NOTES], "*", ALL, ALL, {}),
        ([FILES, NOTES], "", "", "", {}),
        ([], "*", "", "", None),
        ([], "", "", "", {}),
        # ``write`` vanished since: what was ticked stays what was meant.
        ([offer("files", "read")], "files *", "files/read", "files/read files/write", {"files": some("read")}),
        ([offer("files", "read")], "files *", "", "files/read files/write", {"files": some()}),
        ([offer("files")], "files *", "files/read", "files/read files/write", {"files": some("read")}),
        ([offer("files", state="failed")], "files *", "", "files/read", {"files": some()}),
        ([offer("files", "read")], "files *", "files/read files/write", "files/read files/write", None),
        # ``delete`` came since: the person did not see it, and all that they saw was ticked.
        ([offer("files", "read write delete")], "files *", "files/read files/write", "files/read files/write", None),
        (
            [offer("files", "read write delete")],
            "files *",
            "files/read",
            "files/read files/write",
            {"files": some("read")},
        ),
        # Nothing was known of it when the page was shown.
        ([offer("files", "read write")], "files *", "", "", None),
        ([offer("files", "read write"), NOTES], "files", "", "notes/read", {"files": None}),
        ([offer("files", state="starting")], "files *", "", "", None),
        ([offer("files", state="failed")], "files", "", "", {"files": None}),
        # What was never on the page.
        ([FILES], "files *", "files/read files/delete", "files/read", None),
        ([FILES], "files nobody", "files/read nobody/x", "files/read files/write", {"files": some("read")}),
        ([NOTES], "files notes *", ALL, ALL, None),
        # A name that another one begins with.
        (
            [offer("a", "x"), offer("a-b", "y")],
            "a a-b",
            "a/x",
            "a/x a-b/y",
            {"a": None, "a-b": some()},
        ),
        ([offer("a", "b/c b/d")], "a", "a/b/c", "a/b/c a/b/d", {"a": some("b/c")}),
    ],
)
def test_what_was_ticked_is_held_against_what_was_shown(offers, servers, tools, shown, meant):
    assert ticks.read(offers, servers.split(), tools.split(), sent_back(shown)) == meant


@pytest.mark.parametrize(
    ("had", "ticked", "meant"),
    [
        (None, "files/read", None),
        (some("read write"), "files/read", some("read")),  # ``write`` is not listed for now
        (some("read"), "files/read", some("read")),
        (some("write"), "files/read", None),
        (some("read"), "", None),  # no tool was known, and the server was ticked as a whole
    ],
)
def test_who_ticks_no_more_than_before_gives_no_more(had, ticked, meant):
    servers = ticks.read([FILES], ["files"], ticked.split(), sent_back(ticked), grant({"files": had}))
    assert servers == {"files": meant}


def sent_back(shown):
    """What the page says it has shown, where it had boxes for these tools."""
    tools = {}
    for server, _, tool in (one.partition("/") for one in shown.split()):
        tools.setdefault(server, []).append(tool)
    return [
        server["shown"] for server in ticks.show([offer(name, " ".join(some)) for name, some in tools.items()], None)
    ]


def boxes(shown):
    """The names of what is ticked."""
    found = {server["name"] for server in shown if server["ticked"]}
    return found | {
        f"{server['name']}/{tool['name']}" for server in shown for tool in server["tools"] if tool["ticked"]
    }


@pytest.mark.parametrize(
    ("before", "ticked", "later", "wider"),
    [
        (None, f"files notes {ALL}", True, False),
        (grant(None), f"files notes {ALL}", True, False),
        (grant({"files": None, "notes": None}), f"files notes {ALL}", False, True),
        (grant({"files": None}), "files files/read files/write notes/read", False, True),
        (grant({"files": some("read"), "notes": None}), "files files/read notes notes/read", False, True),
        (grant({"files": some()}), "files notes/read", False, True),
        (grant({"files": some("read gone"), "gone": None}), "files files/read notes/read", False, True),
        (grant({}), ALL, False, True),
    ],
)
def test_the_page_shows_the_ticks_of_the_grant_before(before, ticked, later, wider):
    shown = ticks.show([FILES, NOTES], before)
    assert boxes(shown) == set(ticked.split())
    assert ticks.later(before) is later
    assert ticks.is_wider(shown, before) is wider


def test_the_page_says_how_a_server_is():
    offers = [FILES, offer("late", state="starting"), offer("broken", "old", state="failed")]
    assert [one["state"] for one in ticks.show(offers, None)] == ["ok", "has not answered yet", "exit status 7"]
