"""The search index kept in step with the folder, in small steps on a thread of its own."""

import asyncio
import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from math import inf
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from ... import log
from ...ambient import Ambient
from ...store.search_index import Document, Hit, IndexDamaged, SearchIndex, Stamp
from .content import MAX_TEXT, indexable
from .directory import Directory
from .root import Parts, Refused, Root
from .watching import Watch

logger = logging.getLogger(__name__)

MAX_AGE = 2.0  # seconds: a change older than this is seen by a search, which waits for that
REFRESH_AGE = 1.0  # seconds: from then on a search looks for changes after it, so that the next need not wait
RESCAN_AGE = 60.0  # seconds: from then on a search looks at every file after it, for what was not told
PATIENCE = 2.0  # seconds that a search waits for the index to catch up
MAX_FILES = 100_000
MAX_INDEX = 2 * 1024**3  # bytes of the index file; beyond them files are indexed by name only
STEP_FILES = 500
BATCH_FILES, BATCH_BYTES = 64, 512 * 1024
PROGRESS_FILES = 1000
# A file changed twice within its clock's tick keeps its stamp, so one that has just been changed is read again.
UNSETTLED_NS, UNSETTLED = 2 * 10**9, -1

P = ParamSpec("P")
T = TypeVar("T")
Walked = tuple[str, tuple[int, int, int]]  # a file and its stamp, plain: there are many


class Changes(NamedTuple):
    """Files that are new or have changed, with their stamps; those that are gone."""

    files: list[tuple[str, Stamp]]
    gone: list[str]


class Found(NamedTuple):
    """``missing`` says what is not in the index yet; empty when all is."""

    hits: list[Hit]
    missing: str


class Search:
    def __init__(self, backend: str, root: Root, index: Path, ambient: Ambient) -> None:
        self._backend, self._root, self._ambient = backend, root, ambient
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"index-{backend}")
        self._task: asyncio.Task[None] | None = None
        self._scanned_at = self._walked_at = -inf
        self._in_step = False  # The index lacks only what the watch has yet to tell.
        self._done = self._total = 0
        # These belong to the thread. The stamps are those of the index.
        self._index = SearchIndex(index)
        self._stamps: dict[str, Stamp] | None = None
        self._watch: Watch | None = None
        self._watchable = True

    def start(self) -> None:
        """Begin indexing in the background."""
        self._refreshed()

    async def find(self, query: str, limit: int) -> Found:
        """The best files for ``query``, the latest when it is empty; each of them can be opened."""
        complete = await self._caught_up()
        try:
            hits = await self._run(self._hits, query, limit)
        except IndexDamaged:
            complete = await self._caught_up()
            hits = await self._run(self._hits, query, limit)
        now = self._ambient.instant()
        if (due := self._walked_at < now - RESCAN_AGE) or self._scanned_at < now - REFRESH_AGE:
            self._refreshed(everything=due)
        return Found(hits, "" if complete else f"{self._done} of {self._total or 'many'} files are indexed so far")

    async def changed(self, parts: Parts) -> None:
        """The file was written by us: it is found at once."""
        try:
            await self._run(self._take, ["/".join(parts)])
        except Exception:
            logger.exception("search_index_failed", extra=log.fields(backend=self._backend))

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
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
        told = await self._run(self._told) if in_step and not everything else None
        changes, gone = told or await self._scan()
        stamps = self._stamps
        self._done, self._total = 0, len(changes)
        for batch in _batches(changes):
            await self._run(self._take, batch)
            before, self._done = self._done, self._done + len(batch)
            if before // PROGRESS_FILES < self._done // PROGRESS_FILES:
                about = log.fields(backend=self._backend, done=self._done, total=self._total)
                logger.info("search_index_progressed", extra=about)
        await self._run(self._drop, gone)
        if self._stamps is not stamps:
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
        known, found = await self._run(self._begin), dict[str, tuple[int, int, int]]()
        walk = self._walk([()])
        try:
            while step := await self._run(lambda: list(islice(walk, STEP_FILES))):
                found.update(step)
        finally:
            await self._run(walk.close)
        logger.debug("search_index_scanned", extra=log.fields(backend=self._backend, files=len(found)))
        return await self._run(self._changes, known, found)

    async def _run(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``job`` returns, run on the index's thread. A damaged index is replaced by an empty one."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._thread, lambda: job(*args, **kwargs))
        except IndexDamaged:
            logger.warning("search_index_damaged", extra=log.fields(backend=self._backend))
            await loop.run_in_executor(self._thread, self._reset)
            self._scanned_at, self._in_step = -inf, False
            raise

    # What follows runs on the index's thread.

    def _known(self) -> dict[str, Stamp]:
        if self._stamps is None:
            self._stamps = self._index.open()
        return self._stamps

    def _reset(self) -> None:
        self._stamps = self._index.reset()

    def _begin(self) -> dict[str, Stamp]:
        """What is known before a walk. The watch begins anew with it."""
        self._unwatch()
        if self._watchable:
            try:
                self._watch = Watch()
            except OSError as error:
                self._give_up(error)
        return self._known().copy()

    def _changes(self, before: dict[str, Stamp], found: dict[str, tuple[int, int, int]]) -> Changes:
        known = self._known()
        # What was written by us during the walk has a new stamp.
        gone = [path for path, stamp in before.items() if path not in found and known.get(path) is stamp]
        return Changes(self._changed(found.items()), gone)

    def _changed(self, found: Iterable[Walked]) -> list[tuple[str, Stamp]]:
        known = self._known()
        return [(path, Stamp(*now)) for path, now in found if known.get(path) != now]

    def _told(self) -> Changes | None:
        """What has changed, by the watch; None when it takes a walk to know."""
        if self._watch is None or self._watch.top != self._root.identity():
            return None
        news = self._watch.news()
        if news is None:
            return None
        found = dict(self._walk(news.folders))
        moved = tuple("/".join(parts) + "/" for parts in news.moved)
        gone = [path for path in (self._known() if moved else ()) if path.startswith(moved) and path not in found]
        changes = Changes(self._changed(found.items()), gone)
        for parts in news.files:
            path = "/".join(parts)
            try:
                descriptor, stat = self._root.open(parts)
            except Refused:
                changes.gone.append(path)
            else:
                os.close(descriptor)
                changes.files.append((path, _stamp(stat)))
        return changes

    def _opened(self, parts: Parts, directory: Directory) -> None:
        """It is watched before it is listed."""
        if self._watch is not None:
            try:
                self._watch.add(parts, directory)
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """From now on every refresh walks."""
        logger.info("search_watch_refused", extra=log.fields(backend=self._backend, reason=error.strerror))
        self._watchable = False
        self._unwatch()

    def _unwatch(self) -> None:
        if self._watch is not None:
            self._watch.close()
            self._watch = None

    def _close(self) -> None:
        self._unwatch()
        self._index.close()

    def _walk(self, tops: Iterable[Parts]) -> Generator[Walked, None, None]:
        """Every file that is served beneath these."""
        waiting = list(tops)
        left = MAX_FILES
        while waiting:
            folder = waiting.pop()
            prefix = "".join(f"{part}/" for part in folder)
            try:
                for name, stat in self._root.each(folder, self._opened):
                    if stat is None:
                        waiting.append((*folder, name))
                    else:
                        yield prefix + name, (stat.st_mtime_ns, stat.st_size, stat.st_ino)
                        left -= 1
            except Refused:
                if not folder:
                    raise
                # It went away, or may not be read.
            if left <= 0:
                logger.warning("search_index_limited", extra=log.fields(backend=self._backend, files=MAX_FILES))
                self._unwatch()
                return

    def _take(self, paths: Iterable[str]) -> None:
        """Index these files as they are now; forget those that are not served."""
        known, documents, gone = self._known(), [], []
        full = self._index.size() > MAX_INDEX
        for path in paths:
            try:
                documents.append(self._document(path, full=full))
            except (Refused, OSError):
                gone.append(path)
        self._index.put(documents)
        known.update((document.path, document.stamp) for document in documents)
        self._drop(gone)

    def _drop(self, paths: list[str]) -> None:
        self._index.remove(paths)
        for path in paths:
            self._known().pop(path, None)

    def _document(self, path: str, *, full: bool) -> Document:
        descriptor, stat = self._root.open(tuple(path.split("/")))
        try:
            body = "" if full else indexable(descriptor, stat.st_size)
        finally:
            os.close(descriptor)
        stamp = _stamp(stat)
        if stat.st_mtime_ns > self._ambient.instant() * 10**9 - UNSETTLED_NS:
            stamp = stamp._replace(size=UNSETTLED)
        return Document(path, stamp, body)

    def _hits(self, query: str, limit: int) -> list[Hit]:
        self._known()
        # Some may have gone since the last scan.
        found = self._index.match(query, limit=2 * limit)
        return [hit for hit in found if self._opens(hit.path)][:limit]

    def _opens(self, path: str) -> bool:
        try:
            descriptor, _ = self._root.open(tuple(path.split("/")))
        except Refused:
            return False
        os.close(descriptor)
        return True


def _stamp(stat: os.stat_result) -> Stamp:
    return Stamp(stat.st_mtime_ns, stat.st_size, stat.st_ino)


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
