"""The search index of a `files` backend: one rebuildable SQLite file with an FTS5 table."""

import os
import re
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import MCPAuthError

VERSION = 1  # as at the end of SCHEMA; another version's file is made anew
MAX_WORDS = 32

# ``rank`` weighs a word in the file's name above one in its folders' names, and that above its text.
SCHEMA = """
    begin;
    create table files (
        id       integer primary key,
        path     text not null unique,
        mtime_ns integer not null,
        size     integer not null,
        inode    integer not null
    ) strict;
    create index files_by_time on files (mtime_ns);
    create virtual table texts using fts5 (title, folder, body, tokenize = "unicode61 remove_diacritics 2");
    insert into texts (texts, rank) values ('rank', 'bm25(50.0, 5.0, 1.0)');
    pragma user_version = 1;
    commit;
"""

PUT_FILE = """
    insert into files (path, mtime_ns, size, inode)
    values (:path, :mtime_ns, :size, :inode)
    on conflict (path) do update
       set mtime_ns = excluded.mtime_ns, size = excluded.size, inode = excluded.inode
    returning id
"""

PUT_TEXT = """
    insert or replace into texts (rowid, title, folder, body)
    values (:id, :title, :folder, :body)
"""

REMOVE_TEXT = """
    delete from texts
     where rowid = (select id from files where path = :path)
"""

MATCH = """
    select files.path,
           case when length(texts.body) <= 65536 then snippet(texts, 2, '', '', ' … ', 32) else '' end
      from texts
      join files on files.id = texts.rowid
     where texts match :expression
     order by rank
     limit :limit
"""

RECENT = """
    select files.path, substr(texts.body, 1, 200)
      from files
     cross join texts on texts.rowid = files.id
     order by files.mtime_ns desc
     limit :limit
"""


class Stamp(NamedTuple):
    """A file that has kept its stamp has kept its contents."""

    mtime_ns: int
    size: int
    inode: int


class Document(NamedTuple):
    path: str
    stamp: Stamp
    body: str


class Hit(NamedTuple):
    path: str
    snippet: str


class IndexDamaged(MCPAuthError):
    """The file is no good any more: only a new one helps."""


@contextmanager
def _noticing_damage() -> Iterator[None]:
    """A full disk, a lock or missing rights stay what they are: a new file would not help."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise IndexDamaged("the search index is damaged") from error
        raise


class SearchIndex:
    """Opened, used and closed on one thread; its methods block."""

    _connection: sqlite3.Connection  # once opened

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> dict[str, Stamp]:
        """What is indexed. A file that is damaged, or of another version, is made anew."""
        try:
            return self._open()
        except IndexDamaged:
            return self.reset()

    def reset(self) -> dict[str, Stamp]:
        """The index is empty, in a new file."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return self._open()

    @_noticing_damage()
    def _open(self) -> dict[str, Stamp]:
        os.close(os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600))
        os.chmod(self._path, 0o600)
        self._connection = sqlite3.connect(self._path, isolation_level=None)
        # A crash of the machine may lose the last changes, which the next scan finds again.
        for pragma in ("journal_mode=wal", "synchronous=normal", "busy_timeout=5000"):
            self._connection.execute(f"pragma {pragma}")
        version = self._connection.execute("pragma user_version").fetchone()[0]
        if version not in (0, VERSION):
            return self.reset()
        if version == 0:
            self._connection.executescript(SCHEMA)
        rows = self._connection.execute("select path, mtime_ns, size, inode from files")
        return {path: Stamp(*stamp) for path, *stamp in rows}

    @_noticing_damage()
    def put(self, documents: Iterable[Document]) -> None:
        """The documents are found as they are now."""
        with self._connection:
            self._connection.execute("begin")
            for document in documents:
                found = self._connection.execute(PUT_FILE, {"path": document.path, **document.stamp._asdict()})
                folder, _, title = document.path.rpartition("/")
                [row] = found.fetchall()
                text = {"id": row[0], "title": title, "folder": folder, "body": document.body}
                self._connection.execute(PUT_TEXT, text)

    @_noticing_damage()
    def remove(self, paths: Iterable[str]) -> None:
        """The files are not found any more."""
        with self._connection:
            self._connection.execute("begin")
            for path in paths:
                self._connection.execute(REMOVE_TEXT, {"path": path})
                self._connection.execute("delete from files where path = :path", {"path": path})

    @_noticing_damage()
    def match(self, query: str, *, limit: int) -> list[Hit]:
        """The best files that hold every word of ``query``, else any; the latest when it has no word.

        The last word may be the beginning of one. Nothing in ``query`` is syntax.
        """
        phrases = _phrases(query)
        if not phrases:
            return self._hits(RECENT, limit=limit)
        found = self._hits(MATCH, expression=" AND ".join(phrases), limit=limit)
        if not found and len(phrases) > 1:
            found = self._hits(MATCH, expression=" OR ".join(phrases), limit=limit)
        return found

    def _hits(self, sql: str, **values: str | int) -> list[Hit]:
        return [Hit(path, " ".join(snippet.split())) for path, snippet in self._connection.execute(sql, values)]

    @_noticing_damage()
    def size(self) -> int:
        """Bytes of the file."""
        row = self._connection.execute("select page_count * page_size from pragma_page_count, pragma_page_size")
        return int(row.fetchone()[0])

    def close(self) -> None:
        if hasattr(self, "_connection"):
            self._connection.close()


def _phrases(query: str) -> list[str]:
    """Every word as a quoted phrase, the last one with its prefix mark."""
    # A word without a letter or a digit would be an empty phrase, and those match nothing.
    words = [word for word in query.split() if re.search(r"[^\W_]", word)][:MAX_WORDS]
    quoted = ['"' + word.replace('"', '""').replace("\0", "") + '"' for word in words]
    if quoted and len(words[-1]) > 1:
        quoted[-1] += "*"  # Of one letter it would be half the words there are, and slow.
    return quoted
