"""The search index of a `files` backend: one rebuildable SQLite file with an FTS5 table."""

import os
import re
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

VERSION = 1
MAX_WORDS = 32

# ``rank`` weighs a word in the file's name above one in its folders' names, and that above its text.
SCHEMA = f"""
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
    insert into texts (texts, rank) values ('rank', 'bm25(8.0, 2.0, 1.0)');
    pragma user_version = {VERSION};
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

MATCH = """
    select files.path, snippet(texts, 2, '', '', ' … ', 32)
      from texts
      join files on files.id = texts.rowid
     where texts match :expression
     order by rank
     limit :limit
    offset :offset
"""

RECENT = """
    select files.path, substr(texts.body, 1, 200)
      from files
      join texts on texts.rowid = files.id
     order by files.mtime_ns desc, files.path
     limit :limit
    offset :offset
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


class SearchIndex:
    """Opened, used and closed on one thread; its methods block."""

    _connection: sqlite3.Connection

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self) -> dict[str, Stamp]:
        """What is indexed. A file that is damaged, or of another version, is made anew."""
        try:
            return self._open()
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                self._connection.close()
                raise
        return self.reset()

    def reset(self) -> dict[str, Stamp]:
        """The index is empty, in a new file."""
        self._connection.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self._path}{suffix}").unlink(missing_ok=True)
        return self._open()

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

    def remove(self, paths: Iterable[str]) -> None:
        """The files are not found any more."""
        with self._connection:
            self._connection.execute("begin")
            for path in paths:
                for (number,) in self._connection.execute(
                    "delete from files where path = ? returning id", (path,)
                ).fetchall():
                    self._connection.execute("delete from texts where rowid = ?", (number,))

    def match(self, query: str, *, limit: int, offset: int = 0) -> list[Hit]:
        """The best files that hold every word of ``query``, else any; the latest when it has no word.

        The last word may be the beginning of one. Nothing in ``query`` is syntax.
        """
        phrases = _phrases(query)
        if not phrases:
            return self._hits(RECENT, limit=limit, offset=offset)
        found = self._hits(MATCH, expression=" AND ".join(phrases), limit=limit, offset=offset)
        if not found and not offset and len(phrases) > 1:
            found = self._hits(MATCH, expression=" OR ".join(phrases), limit=limit, offset=offset)
        return found

    def _hits(self, sql: str, **values: str | int) -> list[Hit]:
        return [Hit(path, " ".join(snippet.split())) for path, snippet in self._connection.execute(sql, values)]

    def close(self) -> None:
        self._connection.close()


def is_damage(error: sqlite3.Error) -> bool:
    """Whether only a new file helps; not a full disk, a lock, or missing rights."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def _phrases(query: str) -> Sequence[str]:
    """Every word as a quoted phrase, the last one with its prefix mark."""
    # A word without a letter or a digit would be an empty phrase, and those match nothing.
    words = [word for word in query.split() if re.search(r"[^\W_]", word)][:MAX_WORDS]
    quoted = ['"' + word.replace('"', '""').replace("\0", "") + '"' for word in words]
    return [*quoted[:-1], f"{quoted[-1]}*"] if quoted else []
