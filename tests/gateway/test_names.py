import asyncio
import re

import pytest

from mcpauth.gateway import names as module
from mcpauth.gateway.names import PublishedNames, choose
from mcpauth.store.published_names import PublishedNameStore


@pytest.fixture
def names(database, ambient):
    """Those of a process that has just started."""

    async def load():
        loaded = PublishedNames(PublishedNameStore(database), ambient)
        await loaded.load()
        return loaded.tools

    return load


async def publish(names, *wanted):
    given = await names.publish(wanted)
    return [given.get(owner) for owner in wanted]


async def test_a_later_clash_gets_its_servers_name(names):
    published = await names()
    assert await publish(published, ("git", "log"), ("git", "diff")) == ["log", "diff"]
    assert await publish(published, ("svn", "log"), ("git", "log")) == ["svn__log", "log"]
    assert published.owner("svn__log") == ("svn", "log")


async def test_a_name_keeps_its_owner_over_restarts_and_orders(names):
    await (await names()).publish([("git", "log"), ("svn", "log")])
    after = await names()
    assert after.owner("log") == ("git", "log")
    # git does not start today; its name is not given away.
    assert await publish(after, ("svn", "log"), ("hg", "log")) == ["svn__log", "hg__log"]
    assert await publish(after, ("git", "log")) == ["log"]


async def test_a_name_is_on_disk_before_anybody_hears_of_it(names, database):
    await (await names()).publish([("git", "log")])
    row = await database.fetch_one("select * from published_names")
    assert (row["published_name"], row["backend"], row["name"]) == ("log", "git", "log")


async def test_lists_at_the_same_time_agree(names):
    published = await names()
    first, second = await asyncio.gather(
        publish(published, ("a", "x"), ("b", "x")), publish(published, ("b", "x"), ("a", "x"))
    )
    assert first == second[::-1] == ["x", "b__x"]


async def test_a_list_that_was_cancelled_does_not_spoil_the_next(names):
    published = await names()
    listing = asyncio.create_task(published.publish([("a", "x")]))
    await asyncio.sleep(0)
    listing.cancel()
    assert await publish(published, ("a", "x")) == ["x"]


async def test_every_name_is_one_that_clients_take(names):
    odd = ["a.b", "a/b", "a b", "é", "", "x" * 64, "x" * 65, "x" * 66, "y" * 300, "a_b"]
    published = await publish(await names(), *((backend, tool) for backend in ("git", "g" * 24) for tool in odd))
    assert len(set(published)) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in published)
    again = await publish(await names(), *(("git", tool) for tool in odd))
    assert again == published[:10]


def test_no_server_can_take_all_the_names_that_anothers_tool_could_get():
    taken = set()
    for _ in range(10):
        name = choose("git", "log", taken)
        assert name not in taken
        taken.add(name)


async def test_a_prompt_may_be_called_as_a_tool_is(database, ambient):
    published = PublishedNames(PublishedNameStore(database), ambient)
    await published.load()
    assert await publish(published.tools, ("git", "log")) == ["log"]
    assert await publish(published.prompts, ("svn", "log"), ("git", "log")) == ["log", "git__log"]
    after = PublishedNames(PublishedNameStore(database), ambient)
    await after.load()
    assert (after.tools.owner("log"), after.prompts.owner("log")) == (("git", "log"), ("svn", "log"))


async def test_a_server_that_never_stops_thinking_of_names_comes_to_an_end(names, monkeypatch, caplog):
    monkeypatch.setattr(module, "PER_BACKEND", 3)
    published = await names()
    assert await publish(published, *(("evil", f"n{n}") for n in range(5))) == ["n0", "n1", "n2", None, None]
    # What has a name keeps it, and the others have theirs.
    assert await publish(published, ("evil", "n9"), ("evil", "n1"), ("git", "n3")) == [None, "n1", "n3"]
    assert await publish(await names(), ("evil", "n9"), ("evil", "n2"), ("git", "n4")) == [None, "n2", "n4"]
    assert caplog.text.count("names_used_up") == 2
