"""What is served of the folder: regular files beneath it, opened component by component."""

import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from ...errors import GatewayError
from .directory import Directory, Identity, open_directory

MAX_DEPTH = 64

# HFS+ ignores these when it compares names: there "\u200c.env" opens ".env".
IGNORABLE = "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"

Parts = tuple[str, ...]


class Refused(GatewayError):
    """Not served. The message is for the model: what is wrong, what to do instead; no path of the machine."""


class Entry(NamedTuple):
    """``stat`` is None for a directory."""

    name: str
    stat: os.stat_result | None


class Root:
    def __init__(
        self, path: Path, data_dir: Path, *, uri: str, opener: Callable[[Path], Directory] = open_directory
    ) -> None:
        """``uri`` is what a file's URI begins with; models hand URIs back where a path is wanted."""
        self._path, self._data_dir, self._open = path.expanduser(), data_dir, opener
        self.uri = uri
        self._checked: Identity | None = None

    def parts(self, path: str) -> Parts:
        """The components of ``path``, which is relative to the folder; ``/`` and ``.`` are the folder itself."""
        if path.startswith(self.uri):
            path = unquote(path.removeprefix(self.uri))
        parts = tuple([part for part in path.split("/") if part not in ("", ".")])
        if ".." in parts:
            raise Refused('".." is not allowed: paths are relative to the folder and stay in it')
        if any(map(_hidden, parts)):
            raise Refused("names that begin with a dot are not served")
        if not all(map(_sayable, parts)) or len(parts) > MAX_DEPTH:
            raise Refused("this path cannot be a file here; use list_directory to see what there is")
        return parts

    def check(self) -> None:
        """Raises Refused when the folder cannot be served."""
        self._top().close()

    def identity(self) -> Identity:
        """Which directory the folder is now. Raises Refused when it cannot be served."""
        top = self._top()
        try:
            return top.identity()
        finally:
            top.close()

    def directory(self, parts: Parts, *, make: bool = False) -> Directory:
        """The directory, open; what is missing on the way is made if ``make``. The caller closes it."""
        return self._enter(parts, self._secret(), make)

    def _enter(self, parts: Parts, secret: Identity | None, make: bool) -> Directory:
        here = self._top()
        try:
            for depth, name in enumerate(parts):
                if here.identity() == secret and name != "files":
                    raise Refused(_missing(parts))
                try:
                    below = _enter(here, name, make=make)
                except OSError as error:
                    raise _refusal(error, parts[: depth + 1], "directory") from None
                here.close()
                here = below
        except BaseException:
            here.close()
            raise
        return here

    def open(self, parts: Parts) -> tuple[int, os.stat_result]:
        """A descriptor of the regular file, and its stat. The caller closes it."""
        parent = self.parent(parts)
        try:
            descriptor = parent.open(parts[-1], os.O_RDONLY)
        except OSError as error:
            raise _refusal(error, parts, "file") from None
        finally:
            parent.close()
        found = os.fstat(descriptor)
        if stat.S_ISREG(found.st_mode):
            return descriptor, found
        os.close(descriptor)
        if stat.S_ISDIR(found.st_mode):
            raise Refused(f"{'/'.join(parts)} is a directory; use list_directory")
        raise Refused(f"{'/'.join(parts)} is not a regular file")

    def parent(self, parts: Parts, *, make: bool = False) -> Directory:
        """The directory that holds, or is to hold, the file ``parts``. The caller closes it."""
        if not parts:
            raise Refused("this is the folder itself; name a file in it (list_directory shows them)")
        secret = self._secret()
        parent = self._enter(parts[:-1], secret, make)
        if parent.identity() == secret:
            parent.close()
            raise Refused(_missing(parts))
        return parent

    def entries(self, parts: Parts) -> list[Entry]:
        """What is served of a directory, in no order."""
        return list(self.each(parts))

    def each(self, parts: Parts, opened: Callable[[Parts, Directory], None] | None = None) -> Iterator[Entry]:
        """The entries one by one. ``opened`` gets the directory before; not DATA_DIR, where our own files change."""
        directory = self.directory(parts)
        try:
            only_files = directory.identity() == self._secret()
            if opened is not None and not only_files:
                opened(parts, directory)
            for found in directory.scan():
                entry = _entry(found)
                if entry and (not only_files or (entry.name == "files" and entry.stat is None)):
                    yield entry
        except OSError as error:
            raise _refusal(error, parts, "directory") from None
        finally:
            directory.close()

    def _secret(self) -> Identity | None:
        """DATA_DIR, however it is reached: only ``files`` in it may be entered."""
        return _identity(self._data_dir)

    def _top(self) -> Directory:
        """The folder, opened anew: it may have been replaced, or mounted, since the last time."""
        try:
            top = self._open(self._path)
        except OSError as error:
            raise Refused(f"the served folder cannot be opened: {error.strerror}") from None
        identity = top.identity()
        if identity != self._checked:
            try:
                self._check_place()
            except BaseException:
                top.close()
                raise
            self._checked = identity
        return top

    def _check_place(self) -> None:
        path = self._path.resolve()
        if path == Path(path.anchor):
            raise Refused("the whole machine is not served; choose a folder")
        secret, served = self._secret(), _identity(self._data_dir / "files")
        for place in (path, *path.parents):
            identity = _identity(place)
            if identity is not None and identity == served:
                return
            if identity is not None and identity == secret:
                raise Refused("the data directory of the server is not served, only `files` in it is")


def _identity(path: Path) -> Identity | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _enter(here: Directory, name: str, *, make: bool) -> Directory:
    try:
        return here.enter(name)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # Another call made it just now.
        here.make(name)
    return here.enter(name)


def _entry(entry: os.DirEntry[str]) -> Entry | None:
    """None for what is not served: dotfiles, links, special files, names that JSON cannot carry."""
    if not nameable(entry.name):
        return None
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None  # It went away, or may not be looked at.
    if stat.S_ISREG(found.st_mode):
        return Entry(entry.name, found)
    return Entry(entry.name, None) if stat.S_ISDIR(found.st_mode) else None


def nameable(name: str) -> bool:
    """Whether what has this name may be served."""
    return name != "" and not _hidden(name) and _sayable(name)


def _hidden(name: str) -> bool:
    return name[0] == "." or (not name.isascii() and name.lstrip(IGNORABLE)[:1] in ("", "."))


def _sayable(name: str) -> bool:
    if sys.platform == "win32" and any(mark in name for mark in '\\:*?"<>|'):
        return False
    if name.isascii():
        return "\0" not in name
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in name


def _missing(parts: Parts) -> str:
    return f"no such file: {'/'.join(parts)}; use list_directory to see what there is"


def _refusal(error: OSError, parts: Parts, kind: str) -> Refused:
    path = "/".join(parts)
    match error.errno:
        case errno.ENOENT if kind == "directory":
            return Refused(f"no such directory: {path}; use list_directory without a path to see what there is")
        case errno.ENOENT | errno.ENAMETOOLONG:
            return Refused(_missing(parts))
        case errno.ELOOP | errno.EMLINK:
            return Refused(f"{path} is a link, and links are not followed")
        case errno.ENOTDIR:
            return Refused(f"{path} is not a directory (a file is read with read_file; links are not followed)")
        case errno.EACCES | errno.EPERM:
            return Refused(f"{path} may not be opened by the server")
        case errno.ENXIO:
            return Refused(f"{path} is not a regular file")
    return Refused(f"{path} cannot be opened: {error.strerror}")
