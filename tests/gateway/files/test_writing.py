"""A file is replaced whole or not at all, and only where one may be."""

import os
import stat

import pytest

from mcpauth.gateway.files.directory import DescriptorDirectory
from mcpauth.gateway.files.root import Refused
from mcpauth.gateway.files.writing import MAX_WRITE, write


def save(root, path, data=b"new"):
    return write(root, root.parts(path), data, unique="1")


def test_a_file_is_created_with_its_directories(root, folder):
    assert save(root, "a/b/c.md") is False
    assert (folder / "a" / "b" / "c.md").read_bytes() == b"new"
    assert os.listdir(folder / "a" / "b") == ["c.md"]


def test_a_file_is_replaced_and_keeps_its_mode(root, folder):
    (folder / "a.md").write_text("a longer text that was there before")
    (folder / "a.md").chmod(0o640)
    assert save(root, "a.md") is True
    assert (folder / "a.md").read_bytes() == b"new"
    assert stat.S_IMODE((folder / "a.md").stat().st_mode) == 0o640


def test_who_reads_meanwhile_has_the_old_file_whole(root, folder):
    (folder / "a.md").write_text("old")
    with open(folder / "a.md") as reader:
        save(root, "a.md")
        assert reader.read() == "old"


class DiskFull(Exception):
    pass


@pytest.mark.parametrize("step", ["replace", "sync"])
def test_a_failure_leaves_no_half_and_no_litter(root, folder, monkeypatch, step):
    (folder / "a.md").write_text("old")

    def fail(*arguments):
        raise DiskFull

    monkeypatch.setattr(DescriptorDirectory, step, fail)
    with pytest.raises(DiskFull):
        save(root, "a.md")
    assert os.listdir(folder) == ["a.md"]
    assert (folder / "a.md").read_text() == ("old" if step == "replace" else "new")


def test_a_failure_of_the_system_is_told_without_a_path(root, folder, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(DescriptorDirectory, "replace", fail)
    with pytest.raises(Refused) as refused:
        save(root, "a.md")
    assert refused.value.message == "a.md cannot be written: No space left on device"


def test_a_link_is_not_written_through(root, folder, tmp_path):
    target = tmp_path / "target"
    target.write_text("old")
    (folder / "link.md").symlink_to(target)
    (folder / "dangling.md").symlink_to(tmp_path / "nothing")
    (folder / "out").symlink_to(tmp_path)
    for path in ("link.md", "dangling.md", "out/target"):
        with pytest.raises(Refused, match="links are not followed"):
            save(root, path)
    assert target.read_text() == "old"
    assert not (tmp_path / "nothing").exists()


def test_a_link_swapped_in_at_the_last_moment_is_replaced_not_followed(root, folder, tmp_path, monkeypatch):
    target = tmp_path / "target"
    target.write_text("old")
    replace = DescriptorDirectory.replace

    def swapped(directory, old, new):
        (folder / "a.md").symlink_to(target)
        replace(directory, old, new)

    monkeypatch.setattr(DescriptorDirectory, "replace", swapped)
    save(root, "a.md")
    assert target.read_text() == "old"
    assert not (folder / "a.md").is_symlink()


def test_what_is_not_written(root, folder):
    (folder / "directory").mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "kept.md").write_text("old")
    (folder / "kept.md").chmod(0o444)
    for path in ("directory", "fifo", "kept.md", "", ".env", "a/.b/c", "../a.md", "kept.md/a.md"):
        with pytest.raises(Refused):
            save(root, path)
    assert (folder / "kept.md").read_text() == "old"
    assert sorted(os.listdir(folder)) == ["directory", "fifo", "kept.md"]


def test_the_size_is_capped(root, folder):
    save(root, "a.md", b"x" * MAX_WRITE)
    with pytest.raises(Refused, match="too long"):
        save(root, "b.md", b"x" * (MAX_WRITE + 1))
    assert os.listdir(folder) == ["a.md"]
