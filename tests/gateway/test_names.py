import asyncio
import re

import pytest

from mcpauth.gateway.names import PublishedNames, choose
from mcpauth.store.published_names import PublishedNameStore


@pytest.fixture
def names(database, ambient):
    """Those of a process that has just started."""

    async def load():
        loaded = PublishedNames(PublishedNameStore(database), ambient)
        await loaded.load()
        return loaded

    return load


async def test_a_later_clash_gets_its_servers_name(names):
    published = await names()
    assert await published.publish([("git", "log"), ("git", "diff")]) == ["log", "diff"]
    assert await published.publish([("svn", "log"), ("git", "log")]) == ["svn__log", "log"]
    assert published.owner("svn__log") == ("svn", "log")


async def test_a_name_keeps_its_owner_over_restarts_and_orders(names):
    await (await names()).publish([("git", "log"), ("svn", "log")])
    after = await names()
    assert after.owner("log") == ("git", "log")
    # git does not start today; its name is not given away.
    assert await after.publish([("svn", "log"), ("hg", "log")]) == ["svn__log", "hg__log"]
    assert await after.publish([("git", "log")]) == ["log"]


async def test_a_name_is_on_disk_before_anybody_hears_of_it(names, database):
    await (await names()).publish([("git", "log")])
    row = await database.fetch_one("select * from published_names")
    assert (row["published_name"], row["backend"], row["tool"]) == ("log", "git", "log")


async def test_lists_at_the_same_time_agree(names):
    published = await names()
    first, second = await asyncio.gather(
        published.publish([("a", "x"), ("b", "x")]), published.publish([("b", "x"), ("a", "x")])
    )
    assert first == second[::-1] == ["x", "b__x"]


async def test_a_list_that_was_cancelled_does_not_spoil_the_next(names):
    published = await names()
    listing = asyncio.create_task(published.publish([("a", "x")]))
    await asyncio.sleep(0)
    listing.cancel()
    assert await published.publish([("a", "x")]) == ["x"]


async def test_every_name_is_one_that_clients_take(names):
    odd = ["a.b", "a/b", "a b", "é", "", "x" * 64, "x" * 65, "x" * 66, "y" * 300, "a_b"]
    published = await (await names()).publish([(backend, tool) for backend in ("git", "g" * 24) for tool in odd])
    assert len(set(published)) == 20
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in published)
    again = await (await names()).publish([("git", tool) for tool in odd])
    assert again == published[:10]


def test_no_server_can_take_all_the_names_that_anothers_tool_could_get():
    taken = set()
    for _ in range(10):
        name = choose("git", "log", taken)
        assert name not in taken
        taken.add(name)
