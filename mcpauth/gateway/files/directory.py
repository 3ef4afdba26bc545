"""One open directory: a name is looked up in it alone, and never through a link."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

Identity = tuple[int, int]

_LEAF = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


class DescriptorDirectory:
    """Beneath a descriptor there is no moment between a check and its use.

    Names are single components; what goes wrong is raised as the system's OSError.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._identity: Identity | None = None

    @classmethod
    def top(cls, path: Path) -> Self:
        return cls(os.open(path, _FOLDER))

    def fileno(self) -> int:
        return self._descriptor

    def identity(self) -> Identity:
        """The same for as long as it is open."""
        if self._identity is None:
            found = os.fstat(self._descriptor)
            self._identity = found.st_dev, found.st_ino
        return self._identity

    def enter(self, name: str) -> Self:
        return type(self)(os.open(name, _FOLDER | _LEAF, dir_fd=self._descriptor))

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        # A FIFO without a writer, or a device, would block the open itself.
        return os.open(name, flags | _LEAF | os.O_NONBLOCK | os.O_NOCTTY, mode, dir_fd=self._descriptor)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)

    def scan(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self._descriptor) as found:
            yield from found

    def make(self, name: str) -> None:
        os.mkdir(name, dir_fd=self._descriptor)

    def replace(self, old: str, new: str) -> None:
        os.replace(old, new, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def remove(self, name: str) -> None:
        os.unlink(name, dir_fd=self._descriptor)

    def sync(self) -> None:
        os.fsync(self._descriptor)

    def close(self) -> None:
        os.close(self._descriptor)


class PathDirectory:
    """Where nothing can be opened beneath a descriptor (Windows): the real path must be the one asked for.

    That refuses links and junctions, and also other names of a file: short ones (``ENV~1``), another case.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def top(cls, path: Path) -> Self:
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        return cls(path.resolve())

    def _at(self, name: str) -> Path:
        path = self._path / name
        if path.resolve() != path:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        return path

    def identity(self) -> Identity:
        found = self._path.stat()
        return found.st_dev, found.st_ino

    def enter(self, name: str) -> Self:
        path = self._at(name)
        if not path.exists():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        return type(self).top(path)

    def open(self, name: str, flags: int, mode: int = 0o666) -> int:
        return os.open(self._at(name), flags | _LEAF | getattr(os, "O_NONBLOCK", 0), mode)

    def stat(self, name: str) -> os.stat_result:
        return os.stat(self._path / name, follow_symlinks=False)

    def scan(self) -> Iterator[os.DirEntry[str]]:
        with os.scandir(self._path) as found:
            yield from found

    def make(self, name: str) -> None:
        self._at(name).mkdir()

    def replace(self, old: str, new: str) -> None:
        self._at(old).replace(self._at(new))

    def remove(self, name: str) -> None:
        self._at(name).unlink()

    def sync(self) -> None:
        """Such platforms cannot sync a directory."""

    def close(self) -> None:
        """Nothing is held open."""


Directory = DescriptorDirectory | PathDirectory


BENEATH_DESCRIPTORS = (
    {os.open, os.stat, os.mkdir, os.rename, os.unlink} <= os.supports_dir_fd
    and os.scandir in os.supports_fd
    and hasattr(os, "O_NOFOLLOW")
    and hasattr(os, "O_DIRECTORY")
)


def open_directory(path: Path) -> Directory:
    """The directory at ``path``, links followed: as safe beneath it as this platform can be."""
    return DescriptorDirectory.top(path) if BENEATH_DESCRIPTORS else PathDirectory.top(path)
