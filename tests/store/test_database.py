"""The database: one writer with shared commits, one reader, migrations; each trap of it once."""

import asyncio
import os
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from mcpauth.store.database import MIGRATIONS, Database

Write = Callable[[sqlite3.Connection], int]


def write(number: int, *, fails: bool = False) -> Write:
    """A transaction that adds a row and, if it ``fails``, raises afterwards."""

    def transaction(connection: sqlite3.Connection) -> int:
        connection.execute("insert into used_once (value_hash, expires_at) values (?, 0)", (f"{number:03}",))
        if fails:
            raise ValueError(number)
        return number

    return transaction


async def written(database: Database) -> list[int]:
    rows = await database.fetch_all("select value_hash from used_once order by value_hash")
    return [int(row["value_hash"]) for row in rows]


@asynccontextmanager
async def opened(path: Path, migrations: Path = MIGRATIONS) -> AsyncIterator[Database]:
    """Closed even when the test fails: one that is left open would keep the process from ending."""
    database = await Database.open(path, migrations)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
def commits(io_loop: IOLoop, database: Database) -> Callable[[], int]:
    """How many commits there were since the test began."""
    seen: list[str] = []
    io_loop.run_sync(lambda: database.transact(lambda connection: connection.set_trace_callback(seen.append)))
    seen.clear()
    return lambda: seen.count("commit")


async def test_one_failure_fails_alone_and_one_commit_serves_all(
    database: Database, commits: Callable[[], int]
) -> None:
    jobs = [database.transact(write(number, fails=number % 3 == 0)) for number in range(48)]
    results = await asyncio.gather(*jobs, return_exceptions=True)
    assert commits() == 1
    kept = [number for number in range(48) if number % 3]
    assert len(kept) == 32
    assert await written(database) == kept
    assert [result for result in results if isinstance(result, int)] == kept
    assert sum(isinstance(result, ValueError) for result in results) == 16


async def test_a_rollback_takes_nothing_from_another_coroutine(database: Database) -> None:
    async def one(number: int, fails: bool) -> None:
        try:
            await database.transact(write(number, fails=fails))
        except ValueError:
            assert fails

    await asyncio.gather(*(one(number, number % 2 == 1) for number in range(200)))
    assert await written(database) == list(range(0, 200, 2))


async def test_a_job_that_breaks_the_transaction_itself_fails_the_batch_and_no_more(database: Database) -> None:
    async def rolls_back() -> None:
        await database.transact(lambda connection: connection.execute("rollback"))

    together = await asyncio.gather(
        database.transact(write(1)), rolls_back(), database.transact(write(2)), return_exceptions=True
    )
    assert all(isinstance(result, Exception) for result in together)
    assert await written(database) == []
    assert await database.transact(write(3)) == 3
    assert await written(database) == [3]


async def test_cancelling_a_caller_harms_neither_its_write_nor_the_next(database: Database) -> None:
    for number in range(200):
        task = asyncio.create_task(database.transact(write(number)))
        # At a different moment of its life each time.
        for _ in range(number % 7):
            await asyncio.sleep(0)
        task.cancel()
    assert await database.transact(write(999)) == 999
    kept = await written(database)
    # Only those that were cancelled before they had begun are missing.
    assert set(range(200)) - set(kept) == set(range(0, 200, 7))


async def test_memory_follows_the_disk_even_when_nobody_waits_any_more(database: Database) -> None:
    heard: list[int] = []
    task = asyncio.create_task(database.transact(write(1), heard.append))
    await asyncio.sleep(0)
    task.cancel()
    await database.transact(write(2), heard.append)
    assert task.cancelled()
    assert heard == [1, 2]
    assert await written(database) == [1, 2]


async def test_memory_hears_of_commits_in_their_order_and_of_no_failure(database: Database) -> None:
    heard: list[int] = []
    jobs = [database.transact(write(number, fails=number % 5 == 0), heard.append) for number in range(30)]
    await asyncio.gather(*jobs, return_exceptions=True)
    assert heard == [number for number in range(30) if number % 5]


async def test_memory_knows_before_the_caller_does(database: Database) -> None:
    heard: list[int] = []
    await database.transact(write(1), heard.append)
    assert heard == [1]


async def test_a_listener_that_fails_is_told_to_its_caller_only(database: Database) -> None:
    def fails(number: int) -> None:
        raise RuntimeError(number)

    first, second = await asyncio.gather(
        database.transact(write(1), fails), database.transact(write(2)), return_exceptions=True
    )
    assert isinstance(first, RuntimeError)
    assert second == 2


async def test_a_reader_sees_what_is_committed_and_nothing_else(database: Database) -> None:
    inside: list[int] = []

    def look(connection: sqlite3.Connection) -> None:
        write(1)(connection)
        other = sqlite3.connect(connection.execute("pragma database_list").fetchone()[2])
        inside.append(other.execute("select count(*) from used_once").fetchone()[0])
        other.close()

    await database.transact(look)
    assert inside == [0]
    assert await written(database) == [1]


async def test_the_reader_cannot_write(database: Database) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        await database.fetch_all("insert into used_once (value_hash, expires_at) values ('x', 0)")


async def test_what_is_acknowledged_was_synced(database: Database) -> None:
    def pragmas(connection: sqlite3.Connection) -> list[object]:
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.execute(f"pragma {name}").fetchone()[0] for name in names]

    assert await database.transact(pragmas) == ["wal", 2, 1]


async def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite3"
    async with opened(path) as database:
        jobs = [database.submit(write(number)) for number in range(10)]
        await asyncio.sleep(0)
        # These wait behind a batch that is on its way.
        jobs += [database.submit(write(number)) for number in range(10, 20)]
    assert [await job for job in jobs] == list(range(20))
    async with opened(path) as again:
        assert await written(again) == list(range(20))


async def test_what_comes_after_closing_is_refused_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    async with opened(tmp_path / "other.sqlite3") as database:
        pass
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await database.transact(write(1))


def test_the_files_are_for_the_owners_eyes_only(io_loop: IOLoop, database: Database, tmp_path: Path) -> None:
    io_loop.run_sync(lambda: database.transact(write(1)))
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["mcpauth.sqlite3", "mcpauth.sqlite3-shm", "mcpauth.sqlite3-wal"]
    for name in files:
        assert stat.S_IMODE(os.stat(tmp_path / name).st_mode) == 0o600


async def test_every_table_is_strict(database: Database) -> None:
    tables = await database.fetch_all("pragma table_list")
    ours = [row for row in tables if row["type"] == "table" and not row["name"].startswith("sqlite_")]
    assert len(ours) > 10
    assert [row["name"] for row in ours if not row["strict"]] == []
    with pytest.raises(sqlite3.IntegrityError):
        await database.transact(
            lambda connection: connection.execute("insert into used_once (value_hash, expires_at) values ('x', 'soon')")
        )


# Migrations


@pytest.fixture
def migrations(tmp_path: Path) -> Path:
    """The real ones, to which a test adds."""
    return Path(shutil.copytree(MIGRATIONS, tmp_path / "migrations"))


BAD = "create table half (a integer) strict;\ninsert into half values (1);\ncreate table nonsense (;"


async def state(path: Path, migrations: Path) -> tuple[int, bool]:
    """The version, and whether the table ``half`` is there."""
    async with opened(path, migrations) as database:
        row = await database.fetch_one("pragma user_version")
        half = await database.fetch_one("select 1 from sqlite_master where name = 'half'")
    assert row is not None
    return row[0], half is not None


async def test_a_failed_migration_leaves_the_version_and_no_half_made_table(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "other.sqlite3"
    async with opened(path, migrations) as database:
        await database.transact(write(7))
    (migrations / "0900_good.sql").write_text("create table whole (a integer) strict;")
    (migrations / "0901_bad.sql").write_text(BAD)
    with pytest.raises(sqlite3.OperationalError):
        await Database.open(path, migrations)
    (migrations / "0901_bad.sql").unlink()
    assert await state(path, migrations) == (900, False)
    (migrations / "0901_bad.sql").write_text(BAD.replace("(;", "(b integer) strict;"))
    assert await state(path, migrations) == (901, True)
    async with opened(path, migrations) as again:
        assert await written(again) == [7]


async def test_a_migration_runs_once(tmp_path: Path, migrations: Path) -> None:
    path = tmp_path / "other.sqlite3"
    (migrations / "0900_row.sql").write_text("insert into used_once (value_hash, expires_at) values ('900', 0);")
    for _ in range(3):
        async with opened(path, migrations) as database:
            assert await written(database) == [900]


def test_the_migrations_are_numbered_without_a_gap() -> None:
    names = sorted(path.name for path in MIGRATIONS.glob("*.sql"))
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
