"""The index of a folder kept in step with it, in small steps on a thread of its own."""

import asyncio
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import inf
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from ... import log
from ...ambient import Ambient
from ...store.search_index import Hit, IndexDamaged, Stamp
from .content import MAX_TEXT
from .folder_index import Changes, FolderIndex
from .root import Parts, Refused, Root

logger = logging.getLogger(__name__)

MAX_AGE = 2.0  # seconds: a change older than this is seen by a search, which waits for that
REFRESH_AGE = 1.0  # seconds: from then on a search looks for changes after it, so that the next need not wait
RESCAN_AGE = 60.0  # seconds: from then on a search looks at every file after it, for what was not told
PATIENCE = 2.0  # seconds that a search waits for the index to catch up
STEP_FILES = 500
BATCH_FILES, BATCH_BYTES = 64, 512 * 1024
PROGRESS_FILES = 1000

P = ParamSpec("P")
T = TypeVar("T")


class Found(NamedTuple):
    """``missing`` says what is not in the index yet; empty when all is."""

    hits: list[Hit]
    missing: str


class Search:
    def __init__(self, backend: str, root: Root, index: Path, ambient: Ambient) -> None:
        self._backend, self._ambient = backend, ambient
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"index-{backend}")
        self._task: asyncio.Task[None] | None = None
        self._scanned_at = self._walked_at = -inf
        self._in_step = False  # The index lacks only what the watch has yet to tell.
        self._done = self._total = 0
        self._index = FolderIndex(backend, root, index, ambient)

    def start(self) -> None:
        """Begin indexing in the background."""
        self._refreshed()

    async def find(self, query: str, limit: int) -> Found:
        """The best files for ``query``, the latest when it is empty; each of them can be opened."""
        complete = await self._caught_up()
        try:
            hits = await self._run(self._index.hits, query, limit)
        except IndexDamaged:
            complete = await self._caught_up()
            hits = await self._run(self._index.hits, query, limit)
        now = self._ambient.instant()
        if (due := self._walked_at < now - RESCAN_AGE) or self._scanned_at < now - REFRESH_AGE:
            self._refreshed(everything=due)
        return Found(hits, "" if complete else f"{self._done} of {self._total or 'many'} files are indexed so far")

    async def changed(self, parts: Parts) -> None:
        """The file was written by us: it is found at once."""
        try:
            await self._run(self._index.take, ["/".join(parts)])
        except Exception:
            logger.exception("search_index_failed", extra=log.fields(backend=self._backend))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.get_running_loop().run_in_executor(self._thread, self._index.close)
        self._thread.shutdown()

    async def _caught_up(self) -> bool:
        """Whether the index shows the folder as it was MAX_AGE ago, or later."""
        asked_at = self._ambient.instant()
        if asked_at < self._scanned_at:
            self._scanned_at = self._walked_at = -inf  # The clock was set back.
        try:
            async with asyncio.timeout(PATIENCE):
                while self._scanned_at < asked_at - MAX_AGE:
                    await asyncio.wait([task := self._refreshed()])
                    error = asyncio.CancelledError() if task.cancelled() else task.exception()
                    if error is not None and not isinstance(error, IndexDamaged):
                        raise Refused("search does not work now; use list_directory") from error
        except TimeoutError:
            return False
        return True

    def _refreshed(self, *, everything: bool = False) -> asyncio.Task[None]:
        """The refresh that runs, or a new one."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._refresh(everything=everything))
            self._task.add_done_callback(self._report)
        return self._task

    def _report(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, IndexDamaged):
            logger.error("search_index_failed", exc_info=error, extra=log.fields(backend=self._backend))

    async def _refresh(self, *, everything: bool) -> None:
        began_at, first = self._ambient.instant(), self._scanned_at == -inf
        # News are told once, so when this fails the next refresh walks.
        in_step, self._in_step = self._in_step, False
        told = await self._run(self._index.told) if in_step and not everything else None
        changes, gone = told or await self._scan()
        stamps = self._index.stamps
        self._done, self._total = 0, len(changes)
        for batch in _batches(changes):
            await self._run(self._index.take, batch)
            before, self._done = self._done, self._done + len(batch)
            if before // PROGRESS_FILES < self._done // PROGRESS_FILES:
                about = log.fields(backend=self._backend, done=self._done, total=self._total)
                logger.info("search_index_progressed", extra=about)
        await self._run(self._index.drop, gone)
        if self._index.stamps is not stamps:
            return  # A search found the index damaged meanwhile, and it was emptied.
        self._scanned_at, self._in_step = began_at, True
        if told is None:
            self._walked_at = began_at
        if first:
            seconds = round(self._ambient.instant() - began_at, 1)
            about = log.fields(backend=self._backend, indexed=self._total, removed=len(gone), seconds=seconds)
            logger.info("search_index_built", extra=about)

    async def _scan(self) -> Changes:
        """By a walk through everything, in steps, so that a search need not wait for all of it."""
        known, found = await self._run(self._index.begin), dict[str, tuple[int, int, int]]()
        walk = self._index.walk([()])
        try:
            while step := await self._run(lambda: list(islice(walk, STEP_FILES))):
                found.update(step)
        finally:
            await self._run(walk.close)
        logger.debug("search_index_scanned", extra=log.fields(backend=self._backend, files=len(found)))
        return await self._run(self._index.changes, known, found)

    async def _run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``job`` returns, run on the index's thread. A damaged index is replaced by an empty one."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: job(*args, **kwargs))
        except IndexDamaged:
            logger.warning("search_index_damaged", extra=log.fields(backend=self._backend))
            await loop.run_in_executor(self._thread, self._index.reset)
            self._scanned_at, self._in_step = -inf, False
            raise


def _batches(changes: list[tuple[str, Stamp]]) -> Iterator[list[str]]:
    """Steps short enough for a search to get in between."""
    batch: list[str] = []
    size = 0
    for path, stamp in changes:
        batch.append(path)
        size += stamp.size if stamp.size <= MAX_TEXT else 0
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
