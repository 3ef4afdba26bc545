"""What a child writes: in which order it is heard, and how much of it at once."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from mcpauth.gateway import stray
from mcpauth.gateway.child import Child
from mcpauth.gateway.stderr import StderrLog

LINES = [b"%d" % number for number in range(50)]


async def steps(belong):
    """How many lines were heard each time that others had their turn; all 50 come at once, and then the child ends."""
    heard, found, over = [], [], asyncio.Event()

    def hear(line):
        heard.append(line)
        return line not in belong

    program = f"import os; os.write(1, b'\\n'.join({LINES!r}) + b'\\n')"
    await Child.spawn(
        [sys.executable, "-c", program],
        stderr=StderrLog("fake", "r"),
        env=os.environ,
        cwd=Path(),
        line=hear,
        ended=lambda _: over.set(),
        grace=30.0,
    )
    before = 0
    while not over.is_set():
        found += [len(heard) - before] * (len(heard) > before)
        before = len(heard)
        await asyncio.sleep(0)
    assert heard == LINES
    return found


@pytest.mark.parametrize("pause", [0.0, 0.01])
async def test_of_what_nobody_waits_for_not_much_is_heard_at_once(monkeypatch, pause):
    monkeypatch.setattr(stray, "MESSAGES", 10)
    monkeypatch.setattr(stray, "PAUSE", pause)
    assert await steps(()) == [10] * 5
    assert await steps(LINES[:15]) == [25, 10, 10, 5]
    assert await steps(LINES) == [50]


@pytest.mark.parametrize(
    ("written", "last"),
    [
        (
            """\
npm warn config x
npm error code E404
npm error 404 Not Found - GET https://registry.npmjs.org/foo
npm error 404
npm error 404  The requested resource 'foo@*' could not be found
npm notice New minor version of npm available!
npm error A complete log of this run can be found in: /tmp/0.log
""",
            "npm error 404 Not Found - GET https://registry.npmjs.org/foo",
        ),
        (
            "npm ERR! code EACCES\nnpm ERR! path /x\nnpm ERR! Error: denied\nnpm ERR! A complete\n",
            "npm ERR! Error: denied",
        ),
        ("npm error code E1\n", "npm error code E1"),
        ("npm error x\nTypeError: y\n", "TypeError: y"),
        ("npm warn x\nnpm notice y\n", "npm notice y"),
    ],
)
async def test_of_npm_what_is_wrong_is_kept_and_not_what_comes_after(written, last):
    stderr = StderrLog("fake", "r")
    stderr.feed(written.encode())
    assert stderr.last_line == last


async def test_a_start_that_is_given_up_is_no_failure_of_the_program():
    starting = asyncio.create_task(
        Child.spawn(
            ["true"],
            stderr=StderrLog("fake", "r"),
            env=os.environ,
            cwd=Path(),
            line=lambda _: 0,
            ended=lambda _: None,
            grace=1.0,
        )
    )
    await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
