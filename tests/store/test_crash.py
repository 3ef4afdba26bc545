"""A process that is killed in the middle: what it acknowledged is there, and nothing is there by half."""

import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent

# Transactions of three rows each, eight in flight; a number is printed once its rows are promised.
WRITER = """
import asyncio, sys
from pathlib import Path
from mcpauth.store.database import Database

async def one(database, number):
    def three(connection):
        for part in "abc":
            connection.execute("insert into used_once values (?, ?)", (f"{number}-{part}", number))
    await database.transact(three)
    print(number, flush=True)

async def main():
    database = await Database.open(Path(sys.argv[1]))
    async def lane(first):
        for number in range(first, 10**9, 8):
            await one(database, number)
    await asyncio.gather(*(lane(first) for first in range(8)))

asyncio.run(main())
"""


def test_a_kill_loses_nothing_that_was_promised_and_leaves_nothing_by_half(tmp_path: Path) -> None:
    path = tmp_path / "mcpauth.sqlite3"
    promised: set[int] = set()
    for _ in range(3):
        before = len(promised)
        start = max(promised, default=-1) + 1000
        with subprocess.Popen(
            [sys.executable, "-c", WRITER.replace("range(8))", f"range({start}, {start + 8}))"), str(path)],
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                promised.add(int(line))
                if len(promised) >= before + 100:
                    break
            process.send_signal(signal.SIGKILL)
            # What it had printed before the signal came was promised too.
            promised.update(int(line) for line in process.stdout if line.endswith("\n"))
        assert process.returncode == -signal.SIGKILL
        connection = sqlite3.connect(path)
        rows = dict(connection.execute("select expires_at, count(*) from used_once group by expires_at"))
        connection.close()
        assert promised <= set(rows)
        assert set(rows.values()) == {3}
