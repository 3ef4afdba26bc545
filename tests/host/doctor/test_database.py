"""The database: whole, or not; looking changes nothing."""

import sqlite3
from pathlib import Path

from mcpauth.host.doctor import database
from mcpauth.models.findings import Finding
from mcpauth.store.database import Database


def names(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


def look(path: Path) -> Finding:
    found = database.look(path, False)
    assert found is not None
    return found


async def test_a_whole_one(tmp_path: Path) -> None:
    path = tmp_path / "mcpauth.sqlite3"
    await (await Database.open(path)).close()
    before = path.read_bytes()
    assert look(path).verdict == "fine"
    assert path.read_bytes() == before
    assert names(tmp_path) == ["mcpauth.sqlite3"]


def test_none_yet(tmp_path: Path) -> None:
    assert database.look(tmp_path / "mcpauth.sqlite3", False) is None
    assert names(tmp_path) == []


async def test_a_damaged_one(tmp_path: Path) -> None:
    path = tmp_path / "mcpauth.sqlite3"
    await (await Database.open(path)).close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"x" * (len(content) - 4096)
    path.write_bytes(content)
    found = look(path)
    assert found.verdict == "problem"
    assert f"mv {path} {path}.broken" in found.fix
    path.write_bytes(b"no database at all, but a text of some length" * 20)
    assert "not a database" in look(path).found


async def test_one_that_opens_and_has_what_must_not_be(tmp_path: Path) -> None:
    path = tmp_path / "mcpauth.sqlite3"
    await (await Database.open(path)).close()
    connection = sqlite3.connect(path)
    connection.executescript(
        "create table t (a); insert into t values (null); pragma writable_schema=on;"
        "update sqlite_master set sql = 'create table t (a not null)' where name = 't';"
    )
    connection.close()
    found = look(path)
    assert (found.verdict, "NULL value in t.a" in found.found) == ("problem", True)


async def test_one_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "mcpauth.sqlite3"
    await (await Database.open(path)).close()
    connection = sqlite3.connect(path)
    connection.execute("pragma user_version = 9999")
    connection.close()
    found = look(path)
    assert (found.verdict, "newer mcpauth" in found.found, "newer version" in found.fix) == ("problem", True, True)


def test_a_server_that_runs_has_it(tmp_path: Path) -> None:
    found = database.look(tmp_path / "mcpauth.sqlite3", True)
    assert found is not None
    assert found.verdict == "fine"
