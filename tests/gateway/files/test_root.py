"""Nothing is opened but regular files beneath the root: on descriptors, and where there are only paths."""

import os
import socket
import sys
from pathlib import Path

import pytest

from mcpauth.gateway.files.directory import DescriptorDirectory, PathDirectory
from mcpauth.gateway.files.root import MAX_DEPTH, Refused, Root
from mcpauth.gateway.files.writing import write


@pytest.fixture(params=[DescriptorDirectory, PathDirectory])
def opener(request):
    return request.param.top


@pytest.fixture
def root(folder, data_dir, opener):
    return Root(folder, data_dir, uri="files://notes/", opener=opener)


@pytest.fixture
def outside(tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    return outside


def text(root, path):
    descriptor, _ = root.open(root.parts(path))
    with os.fdopen(descriptor) as file:
        return file.read()


def names(root, path=""):
    return sorted(entry.name for entry in root.entries(root.parts(path)))


@pytest.mark.parametrize(
    "path", ["a/b.md", "./a/b.md", "/a/b.md", "a//b.md", "a/./b.md", "a/b.md/", "files://notes/a/b.md"]
)
def test_a_file_is_found_however_a_model_writes_its_path(root, folder, path):
    (folder / "a").mkdir()
    (folder / "a" / "b.md").write_text("here")
    assert text(root, path) == "here"


def test_a_uri_is_unquoted(root, folder):
    (folder / "50% off.md").write_text("here")
    assert text(root, "files://notes/50%25%20off.md") == "here"
    assert text(root, "50% off.md") == "here"


@pytest.mark.parametrize("path", ["", ".", "/", "./"])
def test_the_folder_itself_can_be_listed_but_not_read(root, folder, path):
    (folder / "a.md").touch()
    assert names(root, path) == ["a.md"]
    with pytest.raises(Refused, match="list_directory"):
        root.open(root.parts(path))


@pytest.mark.parametrize(
    "path",
    [
        "a\0.md",
        "\ud800",
        "x/" * MAX_DEPTH + "x",
        ".env",
        ".git/config",
        "a/.ssh/id_ed25519",
        "\u200c.env",
        "\ufeff",
    ],
)
def test_what_no_path_may_be(root, path):
    with pytest.raises(Refused):
        root.parts(path)


@pytest.mark.parametrize(
    "path", ["..", "../outside/secret.txt", "a/../b", "a/..", "files://notes/..%2Foutside/secret.txt"]
)
def test_no_path_goes_up(root, path):
    with pytest.raises(Refused, match=r'"\.\." is not allowed'):
        root.parts(path)


@pytest.mark.parametrize("path", ["{outside}/secret.txt", "/etc/passwd", "C:\\secret.txt", "~/secret.txt"])
def test_an_absolute_path_does_not_leave_the_root(root, outside, path):
    with pytest.raises(Refused, match="no such"):
        root.open(root.parts(path.format(outside=outside)))


def test_a_backslash_or_a_drive_is_no_path_on_windows(root, monkeypatch):
    monkeypatch.setattr("mcpauth.gateway.files.root.sys.platform", "win32")
    for path in ("a\\..\\..\\b", "C:/b", "b.md::$DATA"):
        with pytest.raises(Refused):
            root.parts(path)


def test_a_dotfile_is_neither_listed_nor_opened(root, folder):
    (folder / ".env").write_text("secret")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("secret")
    assert names(root) == []
    for parts in ((".env",), (".git", "config")):
        with pytest.raises(Refused, match="dot"):
            root.parts("/".join(parts))


def test_a_link_to_a_file_is_not_followed(root, folder, outside):
    (folder / "out.txt").symlink_to(outside / "secret.txt")
    (folder / "in.txt").symlink_to("real.txt")
    (folder / "real.txt").write_text("real")
    assert names(root) == ["real.txt"]
    for path in ("out.txt", "in.txt"):
        with pytest.raises(Refused, match="links are not followed"):
            text(root, path)


def test_a_link_to_a_directory_is_not_followed(root, folder, outside):
    (folder / "out").symlink_to(outside)
    assert names(root) == []
    with pytest.raises(Refused, match="links are not followed"):
        text(root, "out/secret.txt")
    with pytest.raises(Refused, match="links are not followed"):
        names(root, "out")


def test_a_link_in_the_middle_is_not_followed(root, folder, outside):
    (outside / "deep").mkdir()
    (outside / "deep" / "secret.txt").write_text("secret")
    (folder / "a").mkdir()
    (folder / "a" / "out").symlink_to(outside)
    with pytest.raises(Refused, match="links are not followed"):
        text(root, "a/out/deep/secret.txt")


def test_the_root_may_be_a_link_of_the_owner(folder, data_dir, tmp_path, opener):
    (folder / "a.md").write_text("here")
    (tmp_path / "link").symlink_to(folder)
    assert text(Root(tmp_path / "link", data_dir, uri="files://notes/", opener=opener), "a.md") == "here"


def test_a_directory_swapped_for_a_link_while_it_is_open_gains_nothing(folder, outside):
    """What was opened stays what it was; only a check before the use could be deceived."""
    (folder / "a").mkdir()
    (folder / "a" / "secret.txt").write_text("harmless")
    top = DescriptorDirectory.top(folder)
    inner = top.enter("a")
    (folder / "a").rename(folder / "b")
    (folder / "a").symlink_to(outside)
    with os.fdopen(inner.open("secret.txt", os.O_RDONLY)) as file:
        assert file.read() == "harmless"
    with pytest.raises(OSError, match="directory"):
        top.enter("a")
    inner.close()
    top.close()


def test_a_link_swapped_in_between_listing_and_opening_is_refused(root, folder, outside):
    (folder / "secret.txt").write_text("harmless")
    [entry] = root.entries(())
    (folder / "secret.txt").unlink()
    (folder / "secret.txt").symlink_to(outside / "secret.txt")
    with pytest.raises(Refused, match="links are not followed"):
        root.open((entry.name,))


def test_special_files_are_refused_without_blocking(root, folder, monkeypatch):
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder)  # A socket's path is short.
        listening.bind("socket")
        assert names(root) == []
        for path in ("fifo", "socket"):
            with pytest.raises(Refused, match="not a regular file"):
                root.open((path,))


def test_a_device_is_refused(data_dir):
    with pytest.raises(Refused, match="not a regular file"):
        Root(Path("/dev"), data_dir, uri="files://notes/").open(("null",))


def test_a_directory_is_no_file_and_a_file_no_directory(root, folder):
    (folder / "a").mkdir()
    (folder / "b.md").touch()
    with pytest.raises(Refused, match="list_directory"):
        root.open(("a",))
    with pytest.raises(Refused, match="read_file"):
        root.entries(("b.md",))
    with pytest.raises(Refused, match="not a directory"):
        root.open(("b.md", "c.md"))


def test_a_missing_file_says_what_to_do(root, folder):
    for parts in (("nothing.md",), ("x" * 300,)):
        with pytest.raises(Refused, match="use list_directory"):
            root.open(parts)
    with pytest.raises(Refused, match="no such directory: nowhere"):
        root.open(("nowhere", "a.md"))


@pytest.mark.skipif(sys.platform == "darwin", reason="there every name is text")
def test_a_name_that_is_not_text_is_left_out(root, folder):
    with open(os.fsencode(folder) + b"/\xff.md", "w"):
        pass
    assert names(root) == []


# DATA_DIR


def above(data_dir, opener):
    return Root(data_dir.parent, data_dir, uri="files://notes/", opener=opener)


@pytest.mark.parametrize("path", ["data/mcp.json", "data/keys/signing.pem", "data/new.txt"])
def test_the_data_directory_beneath_the_root_is_not_opened(data_dir, opener, path):
    with pytest.raises(Refused, match="no such"):
        above(data_dir, opener).open(tuple(path.split("/")))


def test_the_data_directory_beneath_the_root_shows_only_files(data_dir, opener):
    assert names(above(data_dir, opener), "data") == ["files"]
    assert text(above(data_dir, opener), "data/files/welcome.md") == "welcome"


def test_the_data_directory_under_another_name_is_not_opened(data_dir, opener):
    """The comparison is by device and inode: a rename changes nothing."""
    served = above(data_dir, opener)
    link = data_dir.parent / "elsewhere"
    link.symlink_to(data_dir)
    by_link = Root(data_dir.parent, link, uri="files://notes/", opener=opener)
    for root in (served, by_link):
        with pytest.raises(Refused, match="no such"):
            root.open(("data", "mcp.json"))


def test_nothing_is_written_into_the_data_directory(data_dir, opener):
    for path in ("data/mcp.json", "data/new.txt", "data/keys/new.pem", "data/new/x.txt"):
        with pytest.raises(Refused):
            write(above(data_dir, opener), tuple(path.split("/")), b"x", unique="1")
    assert (data_dir / "mcp.json").read_text() == "secret"
    assert sorted(os.listdir(data_dir)) == ["files", "keys", "mcp.json"]


@pytest.mark.parametrize("place", ["", "keys"])
def test_a_root_in_the_data_directory_is_refused(data_dir, tmp_path, opener, place):
    (tmp_path / "link").symlink_to(data_dir / place)
    for path in (data_dir / place, tmp_path / "link"):
        with pytest.raises(Refused, match="data directory"):
            Root(path, data_dir, uri="files://notes/", opener=opener).check()


def test_the_files_of_the_data_directory_may_be_the_root(data_dir, opener):
    (data_dir / "files" / "a").mkdir()
    Root(data_dir / "files" / "a", data_dir, uri="files://notes/", opener=opener).check()
    assert text(Root(data_dir / "files", data_dir, uri="files://notes/", opener=opener), "welcome.md") == "welcome"


def test_a_root_that_becomes_a_link_into_the_data_directory_is_refused(folder, data_dir, opener):
    root = Root(folder, data_dir, uri="files://notes/", opener=opener)
    root.check()
    folder.rmdir()
    folder.symlink_to(data_dir / "keys")
    with pytest.raises(Refused, match="data directory"):
        root.open(("signing.pem",))


def test_the_whole_machine_is_refused(data_dir, opener):
    with pytest.raises(Refused, match="choose a folder"):
        Root(Path("/"), data_dir, uri="files://notes/", opener=opener).check()


def test_a_folder_that_comes_back_is_served_again(root, folder):
    folder.rmdir()
    with pytest.raises(Refused, match="cannot be opened"):
        root.check()
    folder.mkdir()
    (folder / "a.md").write_text("new")
    assert text(root, "a.md") == "new"


def test_no_descriptor_is_left_open(root, folder, outside):
    (folder / "a").mkdir()
    (folder / "a" / "b.md").write_text("here")
    (folder / "out").symlink_to(outside)
    os.mkfifo(folder / "fifo")
    before = os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd") else []
    text(root, "a/b.md")
    names(root, "a")
    write(root, ("a", "c.md"), b"x", unique="1")
    for parts in (("a",), ("out", "x"), ("fifo",), ("nothing",), ("a", "b.md", "c")):
        with pytest.raises(Refused):
            root.open(parts)
    assert len(os.listdir("/proc/self/fd") if before else []) == len(before)
