"""Search sees what is served, as it is, and takes no word for syntax."""

import os
import sqlite3
import stat

import pytest

from mcpauth.gateway.files import folder_index, search
from mcpauth.gateway.files.content import MAX_TEXT
from mcpauth.gateway.files.search import MAX_AGE, Search


async def test_a_file_is_found_by_name_folder_and_text(serve, folder):
    (folder / "recipes").mkdir()
    (folder / "recipes" / "apple-pie.md").write_text("butter and cinnamon")
    caller = await serve(folder)
    for query in ("apple", "PIE", "recipes", "cinnamon", "cinn", "butter cinnamon", "apple butter"):
        assert await caller.found(query) == ["recipes/apple-pie.md"], query
    assert await caller.found("innamon") == []


async def test_a_name_weighs_more_than_a_text(serve, folder):
    (folder / "other.md").write_text("budget budget budget")
    (folder / "budget.md").write_text("a number of quite unrelated words " * 20)
    assert await (await serve(folder)).found("budget") == ["budget.md", "other.md"]


async def test_all_words_come_before_any(serve, folder):
    (folder / "one.md").write_text("red")
    (folder / "both.md").write_text("red blue")
    caller = await serve(folder)
    assert await caller.found("red blue") == ["both.md"]
    assert sorted(await caller.found("red green")) == ["both.md", "one.md"]


@pytest.mark.parametrize(
    "query",
    [
        'needle"',
        '"needle',
        '"""needle"',
        "needle*",
        "*needle",
        "needle -",
        "- needle *",
        "+needle",
        "^needle",
        "(needle",
        "needle)",
        "body:needle needle",
        "{title body}: needle",
        "needle; drop table files",
        "needle\0",
        "needle " + "x " * 1000,
    ],
)
async def test_nothing_in_a_query_is_syntax(serve, folder, query):
    (folder / "a.md").write_text("a needle")
    assert await (await serve(folder)).found(query) == ["a.md"]


@pytest.mark.parametrize("word", ["NEAR", "AND", "OR", "NOT", "NEAR(a b)", "-needle", "title:secret"])
async def test_an_operator_is_a_word(serve, folder, word):
    (folder / "a.md").write_text(f"before {word} after")
    (folder / "b.md").write_text("something else")
    assert await (await serve(folder)).found(word) == ["a.md"]


@pytest.mark.parametrize("query", ["", "  ", "*", '"', "- -", "()", None])
async def test_a_query_without_a_word_gives_the_latest(serve, folder, query):
    for age, name in enumerate(("new.md", "older.md", "oldest.md")):
        (folder / name).write_text("x")
        os.utime(folder / name, (1000 - age, 1000 - age))
    assert await (await serve(folder)).found(query) == ["new.md", "older.md", "oldest.md"]


async def test_what_is_not_served_is_not_found(serve, folder, tmp_path, data_dir):
    (tmp_path / "outside.md").write_text("needle")
    (folder / "link.md").symlink_to(tmp_path / "outside.md")
    (folder / "linked").symlink_to(tmp_path)
    (folder / ".env").write_text("needle")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("needle")
    os.mkfifo(folder / "needle.fifo")
    assert await (await serve(folder)).found("needle") == []


async def test_the_data_directory_is_not_found(serve, data_dir, tmp_path):
    caller = await serve(tmp_path)
    assert await caller.found("secret") == []
    assert await caller.found("") == ["data/files/welcome.md"]


async def test_large_and_binary_files_are_found_by_name_only(serve, folder):
    (folder / "large.txt").write_bytes(b"needle ".ljust(MAX_TEXT + 1, b"x"))
    (folder / "binary.bin").write_bytes(b"needle \0")
    caller = await serve(folder)
    assert await caller.found("needle") == []
    assert await caller.found("large") == ["large.txt"]
    assert await caller.found("binary") == ["binary.bin"]


async def test_utf_16_is_found(serve, folder):
    (folder / "a.txt").write_bytes("a needle".encode("utf-16"))
    assert await (await serve(folder)).found("needle") == ["a.txt"]


# Freshness. The clock stands still, so nothing here depends on how long anything takes.


async def test_a_search_sees_what_changed_before_it(serve, folder, ambient):
    (folder / "a.md").write_text("old")
    (folder / "b.md").write_text("old")
    caller = await serve(folder)
    assert sorted(await caller.found("old")) == ["a.md", "b.md"]
    (folder / "a.md").write_text("young")
    (folder / "b.md").unlink()
    (folder / "c").mkdir()
    (folder / "c" / "d.md").write_text("young")
    ambient.time += MAX_AGE + 1
    assert sorted(await caller.found("young")) == ["a.md", "c/d.md"]
    assert await caller.found("old") == []


async def test_a_change_within_the_tick_of_the_clock_is_seen(serve, folder, ambient):
    """Same size, same time, same inode: only that it was so young makes us look again."""
    (folder / "a.md").write_text("first")
    now = (folder / "a.md").stat().st_mtime_ns
    caller = await serve(folder)
    assert await caller.found("first") == ["a.md"]
    (folder / "a.md").write_text("later")
    os.utime(folder / "a.md", ns=(now, now))
    ambient.time += MAX_AGE + 1
    assert await caller.found("later") == ["a.md"]


async def test_what_is_gone_is_not_returned_even_before_the_next_scan(serve, folder):
    (folder / "a.md").write_text("needle")
    (folder / "b.md").write_text("needle")
    caller = await serve(folder)
    assert sorted(await caller.found("needle")) == ["a.md", "b.md"]
    (folder / "a.md").unlink()
    assert await caller.found("needle") == ["b.md"]


async def test_a_file_written_here_is_found_at_once(serve, folder):
    caller = await serve(folder, write=True)
    assert await caller.found("needle") == []
    await caller.text("write_file", path="a.md", content="needle")
    assert await caller.found("needle") == ["a.md"]
    await caller.text("write_file", path="a.md", content="thread")
    assert await caller.found("needle") == []


async def test_a_clock_set_back_does_not_freeze_the_index(serve, folder, ambient):
    caller = await serve(folder)
    assert await caller.found("needle") == []
    (folder / "a.md").write_text("needle")
    ambient.time -= 3600
    assert await caller.found("needle") == ["a.md"]


# The index's file


async def test_the_index_is_private_and_used_again(serve, folder, index, caplog):
    (folder / "a.md").write_text("needle")
    os.utime(folder / "a.md", (1000, 1000))
    index.touch(0o644)
    caplog.set_level("INFO", "mcpauth.gateway.files")
    for indexed in (1, 0):
        caplog.clear()
        assert await (await serve(folder)).found("needle") == ["a.md"]
        [built] = [record for record in caplog.records if record.getMessage() == "search_index_built"]
        assert built.fields["indexed"] == indexed
    for file in index.parent.glob(f"{index.name}*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_deleted_file_leaves_no_text_in_the_index(serve, folder, index, ambient):
    (folder / "a.md").write_text("needle")
    caller = await serve(folder)
    assert await caller.found("needle") == ["a.md"]
    (folder / "a.md").unlink()
    ambient.time += MAX_AGE + 1
    assert await caller.found("needle") == []
    with sqlite3.connect(index) as other:
        assert other.execute("select count(*) from texts").fetchone() == (0,)
    other.close()


async def test_progress_is_logged(serve, folder, caplog, monkeypatch):
    monkeypatch.setattr(search, "PROGRESS_FILES", 5)
    monkeypatch.setattr(search, "BATCH_FILES", 2)
    for number in range(10):
        (folder / f"{number}.md").touch()
    caplog.set_level("INFO", "mcpauth.gateway.files")
    await (await serve(folder)).found("x")
    lines = [record.fields for record in caplog.records if record.getMessage() == "search_index_progressed"]
    assert lines == [{"backend": "notes", "done": done, "total": 10} for done in (6, 10)]


@pytest.mark.parametrize("damage", [b"this is no database", b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_damaged_index_is_made_anew(serve, folder, index, damage):
    (folder / "a.md").write_text("needle")
    index.write_bytes(damage)
    assert await (await serve(folder)).found("needle") == ["a.md"]


async def test_an_index_damaged_while_it_is_used_is_made_anew(serve, folder, index):
    (folder / "a.md").write_text("needle")
    caller = await serve(folder)
    assert await caller.found("needle") == ["a.md"]
    with sqlite3.connect(index) as other:
        other.execute("delete from texts_data where id > 10")
    other.close()
    assert await caller.found("needle") == ["a.md"]


async def test_an_index_of_another_version_is_made_anew(serve, folder, index):
    (folder / "a.md").write_text("needle")
    with sqlite3.connect(index) as other:
        other.execute("pragma user_version = 99")
    other.close()
    assert await (await serve(folder)).found("needle") == ["a.md"]


async def test_an_index_that_cannot_be_written_costs_only_search(serve, folder, index, caplog):
    (folder / "a.md").write_text("needle")
    index.mkdir()
    caller = await serve(folder, write=True)
    assert "list_directory" in await caller.refused("search", query="needle")
    assert await caller.text("read_file", path="a.md") == "needle"
    assert await caller.text("write_file", path="b.md", content="x")
    assert "search_index_failed" in caplog.text


async def test_a_folder_that_went_away_keeps_its_index(serve, folder, ambient):
    (folder / "a.md").write_text("needle")
    caller = await serve(folder)
    assert await caller.found("needle") == ["a.md"]
    folder.rename(folder.parent / "unplugged")
    ambient.time += MAX_AGE + 1
    assert str(folder.parent) not in await caller.refused("search", query="needle")
    (folder.parent / "unplugged").rename(folder)
    assert await caller.found("needle") == ["a.md"]


async def test_a_search_that_cannot_wait_says_what_is_missing(root, folder, ambient, index, monkeypatch):
    monkeypatch.setattr(search, "PATIENCE", 0)
    (folder / "a.md").write_text("needle")
    searching = Search("notes", root, index, ambient)
    searching.start()
    found = await searching.find("needle", 10)
    assert "indexed so far" in found.missing
    await searching.close()


async def test_limits_keep_the_index_small(serve, folder, monkeypatch, caplog):
    monkeypatch.setattr(folder_index, "MAX_INDEX", 0)
    (folder / "a.md").write_text("needle")
    caller = await serve(folder)
    assert await caller.found("needle") == []
    assert await caller.found("a.md") == ["a.md"]
