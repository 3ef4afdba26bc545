"""One timer for all who wait equally long."""

import asyncio

from mcpauth.web.overdue import Overdue


async def test_those_who_wait_too_long_are_called_in_their_order():
    called, done = [], asyncio.Event()
    overdue = Overdue(0.01)
    acts = [lambda: called.append("first"), lambda: called.append("dropped"), lambda: called.append("second")]
    for act in acts:
        overdue.add(act)
    overdue.add(done.set)
    overdue.drop(acts[1])
    await done.wait()
    assert called == ["first", "second"]


async def test_whoever_comes_after_all_have_left_is_called_too():
    overdue, done = Overdue(0.01), asyncio.Event()
    overdue.add(print)
    overdue.drop(print)
    overdue.add(done.set)
    await done.wait()
    done.clear()
    overdue.add(done.set)
    await done.wait()
