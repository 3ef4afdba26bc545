"""The SQLite file: one writer that shares commits, one reader, numbered migrations."""

import asyncio
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import aiosqlite

MIGRATIONS = Path(__file__).parent / "migrations"

T = TypeVar("T")
Transaction = Callable[[sqlite3.Connection], T]


class _Job:
    """A transaction waiting for its turn, and what became of it."""

    def __init__(
        self, function: Transaction[Any], then: Callable[[Any], None] | None, future: asyncio.Future[Any]
    ) -> None:
        self.function, self.then, self.future = function, then, future
        self.result: Any = None
        self.error: BaseException | None = None


class _Writer(sqlite3.Connection):
    """``commit()`` runs every waiting job in one transaction, each in a savepoint of its own.

    aiosqlite runs ``commit`` on its thread, so a whole batch costs one hop and one fsync, and a job that
    raises takes back its own changes only.
    """

    batch: list[_Job]

    def commit(self) -> None:
        try:
            self.execute("begin immediate")
            for job in self.batch:
                self.execute("savepoint job")
                try:
                    job.result = job.function(self)
                except BaseException as error:
                    job.error = error
                    self.execute("rollback to job")
                self.execute("release job")
            self.execute("commit")
        except BaseException as error:
            if self.in_transaction:
                self.execute("rollback")
            for job in self.batch:
                job.error = error


class Database:
    """Write with ``transact``, read with ``fetch_one`` and ``fetch_all``."""

    def __init__(self, writer: aiosqlite.Connection, raw: list[_Writer], reader: aiosqlite.Connection) -> None:
        self._writer, self._raw, self._reader = writer, raw, reader
        self._waiting: deque[_Job] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @classmethod
    async def open(cls, path: Path, migrations: Path = MIGRATIONS) -> Self:
        """The database at ``path``, created (mode 0600) and migrated when it is not."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        raw: list[_Writer] = []

        def factory(*args: Any, **kwargs: Any) -> _Writer:
            raw.append(_Writer(*args, **kwargs))
            return raw[0]

        writer = await aiosqlite.connect(path, isolation_level=None, factory=factory)
        try:
            for pragma in ("journal_mode=wal", "synchronous=full", "foreign_keys=on", "busy_timeout=5000"):
                await writer.execute_fetchall(f"pragma {pragma}")
            await _migrate(writer, migrations)
            reader = await aiosqlite.connect(path, isolation_level=None)
        except BaseException:
            # aiosqlite's thread is not a daemon: an unclosed connection keeps the process from ending.
            await writer.close()
            raise
        try:
            await reader.execute_fetchall("pragma busy_timeout=5000")
            await reader.execute_fetchall("pragma query_only=on")
        except BaseException:
            await reader.close()
            await writer.close()
            raise
        reader.row_factory = sqlite3.Row
        raw[0].row_factory = sqlite3.Row
        return cls(writer, raw, reader)

    async def transact(self, function: Transaction[T], then: Callable[[T], None] | None = None) -> T:
        """What ``function(connection)`` returns, once its changes are on disk.

        ``function`` runs on the database's thread: it must not await, nor touch what the event loop owns.
        What it raises is raised here, and its changes are undone. ``then(result)`` runs on the loop after
        the commit and before anything else hears of it, in the order of the commits: it is where memory
        follows the disk. Both happen even when the caller is cancelled meanwhile.
        """
        return await self.submit(function, then)

    def submit(self, function: Transaction[T], then: Callable[[T], None] | None = None) -> asyncio.Future[T]:
        """``transact`` for a caller that queues now and waits later, or never."""
        if self._closed:
            raise sqlite3.ProgrammingError("the database is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Job(function, then, future))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())
        return future

    async def _write(self) -> None:
        while self._waiting:
            batch = list(self._waiting)
            self._waiting.clear()
            self._raw[0].batch = batch
            await self._writer.commit()
            for job in batch:
                if job.error is None and job.then is not None:
                    try:
                        job.then(job.result)
                    except Exception as error:
                        job.error = error
                if job.future.cancelled():
                    continue
                if job.error is not None:
                    job.future.set_exception(job.error)
                else:
                    job.future.set_result(job.result)

    async def fetch_one(self, sql: str, values: Mapping[str, Any] | None = None) -> sqlite3.Row | None:
        """The first row, of what is committed."""
        rows = await self.fetch_all(sql, values)
        return rows[0] if rows else None

    async def fetch_all(self, sql: str, values: Mapping[str, Any] | None = None) -> list[sqlite3.Row]:
        return list(await self._reader.execute_fetchall(sql, values or {}))

    async def close(self) -> None:
        """Finish what is waiting, then close; what comes later is refused."""
        self._closed = True
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._reader.close()
        await self._writer.close()


async def _migrate(connection: aiosqlite.Connection, migrations: Path) -> None:
    """Apply every migration newer than ``user_version``, each in one transaction."""
    version = next(iter(await connection.execute_fetchall("pragma user_version")))[0]
    for number, path in _numbered(migrations):
        if number <= version:
            continue
        # executescript commits first, so the transaction is in the script.
        body = f"{path.read_text()}\npragma user_version = {number};"
        try:
            await connection.executescript(f"begin immediate;\n{body}\ncommit;")
        except BaseException:
            await connection.rollback()
            raise
        version = number


def _numbered(migrations: Path) -> list[tuple[int, Path]]:
    return sorted((int(path.name[:4]), path) for path in migrations.glob("*.sql"))
