"""The search index of a folder, and what has changed since it was made."""

import logging
import os
from collections.abc import Generator, Iterable
from pathlib import Path
from typing import NamedTuple

from ... import log
from ...ambient import Ambient
from ...store.search_index import Document, Hit, SearchIndex, Stamp
from .content import indexable
from .directory import Directory
from .root import Parts, Refused, Root
from .watching import Watch

logger = logging.getLogger(__name__)

MAX_FILES = 100_000
MAX_INDEX = 2 * 1024**3  # bytes of the index file; beyond them files are indexed by name only
# A file changed twice within its clock's tick keeps its stamp, so one that has just been changed is read again.
UNSETTLED_NS, UNSETTLED = 2 * 10**9, -1

Walked = tuple[str, tuple[int, int, int]]  # a file and its stamp, plain: there are many


class Changes(NamedTuple):
    """Files that are new or have changed, with their stamps; those that are gone."""

    files: list[tuple[str, Stamp]]
    gone: list[str]


class FolderIndex:
    """All of it runs on one thread, but ``stamps`` may be asked for: those of its files, in another object once it
    was emptied."""

    def __init__(self, backend: str, root: Root, path: Path, ambient: Ambient) -> None:
        self._backend, self._root, self._ambient = backend, root, ambient
        self._index = SearchIndex(path)
        self.stamps: dict[str, Stamp] | None = None
        self._watch: Watch | None = None
        self._watchable = True

    def _known(self) -> dict[str, Stamp]:
        if self.stamps is None:
            self.stamps = self._index.open()
        return self.stamps

    def reset(self) -> None:
        """An empty one takes its place."""
        self.stamps = self._index.reset()

    def begin(self) -> dict[str, Stamp]:
        """What is known before a walk. The watch begins anew with it."""
        self._unwatch()
        if self._watchable:
            try:
                self._watch = Watch()
            except OSError as error:
                self._give_up(error)
        return self._known().copy()

    def changes(self, before: dict[str, Stamp], found: dict[str, tuple[int, int, int]]) -> Changes:
        known = self._known()
        # What was written by us during the walk has a new stamp.
        gone = [path for path, stamp in before.items() if path not in found and known.get(path) is stamp]
        return Changes(self._changed(found.items()), gone)

    def _changed(self, found: Iterable[Walked]) -> list[tuple[str, Stamp]]:
        known = self._known()
        return [(path, Stamp(*now)) for path, now in found if known.get(path) != now]

    def told(self) -> Changes | None:
        """What has changed, by the watch; None when it takes a walk to know."""
        if self._watch is None or self._watch.top != self._root.identity():
            return None
        news = self._watch.news()
        if news is None:
            return None
        found = dict(self.walk(news.folders))
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

    def close(self) -> None:
        self._unwatch()
        self._index.close()

    def walk(self, tops: Iterable[Parts]) -> Generator[Walked, None, None]:
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

    def take(self, paths: Iterable[str]) -> None:
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
        self.drop(gone)

    def drop(self, paths: list[str]) -> None:
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

    def hits(self, query: str, limit: int) -> list[Hit]:
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
