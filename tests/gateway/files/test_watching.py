"""What the system tells spares the walk through the folder, and nothing is overlooked for it."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mcpauth.gateway.files import watching
from mcpauth.gateway.files.search import MAX_AGE, RESCAN_AGE, Search

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")

HELD = Path("/proc/self/fd")


@pytest.fixture
def walks(caplog):
    """How often everything was looked at."""
    caplog.set_level("DEBUG", "mcpauth.gateway.files")
    return lambda: [record.getMessage() for record in caplog.records].count("search_index_scanned")


@pytest.fixture
def too_many():
    """More changes than the system remembers, in pairs."""
    return range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text()) // 2 + 1)


@pytest.fixture
def tree(folder):
    (folder / "a.md").write_text("old")
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "sub" / "b.md").write_text("old")
    (folder / "sub" / "deep" / "c.md").write_text("old")
    return folder


@pytest.fixture
def shell(tree):
    return lambda script: subprocess.run(["sh", "-ec", script], cwd=tree, check=True)


async def test_nothing_is_walked_while_nothing_changes(serve, tree, ambient, walks):
    caller = await serve(tree)
    for _ in range(10):
        assert sorted(await caller.found("old")) == ["a.md", "sub/b.md", "sub/deep/c.md"]
        ambient.time += MAX_AGE + 1
    assert walks() == 1


@pytest.mark.parametrize(
    ("script", "old"),
    [
        ("echo new > a.md", ["sub/b.md", "sub/deep/c.md"]),
        ("echo ' new' >> a.md", ["a.md", "sub/b.md", "sub/deep/c.md"]),
        ("echo new > .tmp; mv .tmp a.md", ["sub/b.md", "sub/deep/c.md"]),
        ("touch -r a.md .t; printf new > a.md; touch -r .t a.md", ["sub/b.md", "sub/deep/c.md"]),
        ("echo new > new.md; rm sub/b.md", ["a.md", "sub/deep/c.md"]),
        ("echo new > sub/deep/new.md; mv a.md sub/a.md", ["sub/a.md", "sub/b.md", "sub/deep/c.md"]),
        ("mkdir -p x/y/z; echo new > x/y/z/new.md; rm -r sub", ["a.md"]),
        ("rm -r sub; mkdir sub; echo new > sub/b.md", ["a.md"]),
        ("mkdir .tmp; echo new > .tmp/a.md; mv .tmp x", ["a.md", "sub/b.md", "sub/deep/c.md"]),
        ("echo new > x; ln x y; rm x", ["a.md", "sub/b.md", "sub/deep/c.md"]),
    ],
)
async def test_a_change_by_another_process_is_found_without_a_walk(serve, tree, shell, ambient, walks, script, old):
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    shell(script)
    ambient.time += MAX_AGE + 1
    assert len(await caller.found("new")) == 1
    assert sorted(await caller.found("old")) == old
    assert walks() == 1


async def test_a_directory_made_later_is_watched(serve, tree, shell, ambient, walks):
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    for script in ("mkdir -p x/y", "mkdir x/y/z", "echo new > x/y/z/new.md"):
        shell(script)
        ambient.time += MAX_AGE + 1
        found = await caller.found("new")
    assert found == ["x/y/z/new.md"]
    assert walks() == 1


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("mv sub x; echo old > x/deep/d.md", ["a.md", "x/b.md", "x/deep/c.md", "x/deep/d.md"]),
        ("mv sub ../elsewhere; echo old > ../elsewhere/d.md", ["a.md"]),
        ("mv sub .sub", ["a.md"]),
        ("mv sub x; mv x sub; echo old > sub/d.md", ["a.md", "sub/b.md", "sub/d.md", "sub/deep/c.md"]),
        ("mv sub/deep .; mv sub deep/x; echo old > deep/x/d.md", ["a.md", "deep/c.md", "deep/x/b.md", "deep/x/d.md"]),
        ("mv ../notes ../before; mkdir ../notes; echo old > ../notes/other.md", ["other.md"]),
        ("cd ..; rm -r notes; mkdir notes; echo old > notes/other.md", ["other.md"]),
        (
            "mv ../notes ../before; ln -s before ../notes; echo old > d.md",
            ["a.md", "d.md", "sub/b.md", "sub/deep/c.md"],
        ),
    ],
)
async def test_a_directory_that_moved_takes_its_files_along(serve, tree, shell, index, ambient, script, found):
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    shell(script)
    ambient.time += MAX_AGE + 1
    assert sorted(await caller.found("old")) == found
    (tree / found[-1]).write_text("new")
    ambient.time += MAX_AGE + 1
    assert await caller.found("new") == found[-1:]
    with sqlite3.connect(index) as other:
        assert sorted(path for [path] in other.execute("select path from files")) == found
    other.close()


async def test_what_is_not_served_is_not_walked_for(serve, data_dir, tmp_path, ambient, walks, too_many):
    """Neither our own database, nor the index, nor a repository, nor what a link leads to."""
    shutil.copytree(data_dir / "keys", tmp_path / ".git" / "objects")
    (tmp_path / "linked").mkdir()
    (tmp_path / ".git" / "link").symlink_to(tmp_path / "linked")
    caller = await serve(tmp_path)
    assert await caller.found("") == ["data/files/welcome.md"]
    paths = data_dir / "mcp.json", tmp_path / ".git" / "index"
    for path in paths:
        path.write_text("needle")
    for _ in too_many:
        for path in paths:
            os.utime(path)
    (data_dir / "keys").rename(data_dir / "needles")
    (tmp_path / ".git" / "objects").rename(tmp_path / ".git" / "needles")
    (tmp_path / ".needle").write_text("needle")
    (tmp_path / "needle").symlink_to(data_dir / "mcp.json")
    os.mkfifo(tmp_path / "needle.fifo")
    ambient.time += MAX_AGE + 1
    assert await caller.found("needle") == []
    assert walks() == 1
    (tmp_path / "linked" / "seen.md").write_text("needle")
    (data_dir / "files" / "seen.md").write_text("needle")
    ambient.time += MAX_AGE + 1
    assert sorted(await caller.found("needle")) == ["data/files/seen.md", "linked/seen.md"]
    assert walks() == 1


async def test_more_than_the_system_remembers_is_walked_for(serve, tree, ambient, walks, too_many):
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    for _ in too_many:
        os.utime(tree / "a.md")
        os.utime(tree / "sub" / "b.md")
    (tree / "new.md").write_text("new")
    ambient.time += MAX_AGE + 1
    assert await caller.found("new") == ["new.md"]
    assert walks() == 2


async def test_what_was_not_told_is_found_by_the_next_walk(serve, tree, tmp_path, ambient):
    """By a name outside, a file changes without a word."""
    os.link(tree / "a.md", tmp_path / "outside.md")
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    (tmp_path / "outside.md").write_text("new")
    ambient.time += RESCAN_AGE + 1
    for _ in range(500):
        if await caller.found("new"):
            break
        await asyncio.sleep(0.01)
    assert await caller.found("new") == ["a.md"]


async def test_a_refresh_that_failed_is_made_up_for(serve, tree, index, ambient):
    """It had been told, and is not told again."""
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    (tree / "a.md").write_text("new")
    ambient.time += MAX_AGE + 1
    with sqlite3.connect(index) as other:
        other.execute("alter table files rename to away")
        await caller.refused("search", query="new")
        other.execute("alter table away rename to files")
    other.close()
    assert await caller.found("new") == ["a.md"]


@pytest.mark.parametrize("untold", ["file system", "descriptors"])
async def test_where_nothing_is_told_every_search_walks(serve, tree, ambient, walks, caplog, monkeypatch, untold):
    if untold == "file system":
        monkeypatch.setattr(watching, "TELLING", {"ext1"})
    else:
        monkeypatch.setattr(watching, "INotify", unavailable)
    caller = await serve(tree)
    assert len(await caller.found("old")) == 3
    for number in (2, 3):
        (tree / "sub" / f"{number}.md").write_text(f"new {number}")
        ambient.time += MAX_AGE + 1
        assert await caller.found(f"{number}") == [f"sub/{number}.md"]
        assert walks() == number
    assert caplog.text.count("search_watch_refused") == 1


def unavailable(**_):
    raise OSError(24, os.strerror(24))


def held(folder):
    """What this process holds: watches, files beneath ``folder``, threads of the backend."""
    opened = [os.readlink(HELD / name) for name in os.listdir(HELD) if os.path.lexists(HELD / name)]
    watches = [path for path in opened if path == "anon_inode:inotify"]
    files = [path for path in opened if path.startswith(str(folder))]
    return watches, files, [thread.name for thread in threading.enumerate() if "notes" in thread.name]


@pytest.mark.parametrize("searches", [0, 1])
async def test_nothing_is_left_after_close(root, tree, index, ambient, tmp_path, searches):
    before = held(tmp_path)
    searching = Search("notes", root, index, ambient)
    searching.start()
    for _ in range(searches):
        assert len((await searching.find("old", 10)).hits) == 3
        assert len(held(tmp_path)[0]) == 1 + len(before[0])
    await searching.close()
    assert held(tmp_path) == before
    assert len(asyncio.all_tasks()) == 1
