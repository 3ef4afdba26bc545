"""What Linux tells about changes in the directories that are served: inotify(7)."""

import errno
import os
import sys
from pathlib import Path
from typing import NamedTuple

from .directory import DescriptorDirectory, Directory, Identity
from .root import Parts, nameable

if sys.platform == "linux":
    from inotify_simple import INotify, flags  # type: ignore[import-untyped]

    CHANGES = flags.MODIFY | flags.ATTRIB | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO
    LOST = flags.Q_OVERFLOW | flags.UNMOUNT

# On these every change comes through this kernel. Others (NFS, SMB, FUSE, 9p) change without a word.
TELLING = {"bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jfs", "nilfs2", "ntfs3"}
TELLING |= {"overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"}


class News(NamedTuple):
    """Files that were made, changed or removed; directories in which all may be new, or has moved away."""

    files: set[Parts]
    folders: set[Parts]
    moved: set[Parts]


class Watch:
    """Used on one thread. Nothing is lost when a directory is added before it is listed."""

    top: Identity  # of the directory added as ``()``

    def __init__(self) -> None:
        """Raises OSError where there is nothing to watch with."""
        if sys.platform != "linux":
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        self._inotify = INotify(nonblocking=True)
        self._folders: dict[int, set[Parts]] = {}  # Several names: of one mounted twice, or moved.
        self._telling: set[int] = set()

    def add(self, parts: Parts, directory: Directory) -> None:
        """What happens in the directory is told from now on. Raises OSError when it cannot be."""
        if not isinstance(directory, DescriptorDirectory):
            raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
        identity, descriptor = directory.identity(), directory.fileno()
        if identity[0] not in self._telling:
            if _file_system(descriptor) not in TELLING:
                raise OSError(errno.ENOTSUP, "changes on this file system are not told")
            self._telling.add(identity[0])
        # By its descriptor: a path could lead elsewhere by now.
        watched = self._inotify.add_watch(f"/proc/self/fd/{descriptor}", CHANGES | flags.ONLYDIR)
        self._folders.setdefault(watched, set()).add(parts)
        if not parts:
            self.top = identity

    def news(self) -> News | None:
        """What happened since the last call; None when only a look at everything can tell."""
        news = News(set(), set(), set())
        for event in self._inotify.read(timeout=0):
            folders = self._folders.get(event.wd, set())
            if event.mask & LOST or (event.mask & flags.IGNORED and () in folders):
                return None
            if not nameable(event.name):
                continue
            named = {(*folder, event.name) for folder in folders}
            if not event.mask & flags.ISDIR:
                news.files.update(named)
            elif event.mask & flags.MOVED_FROM:
                news.moved.update(named)
            elif not event.mask & flags.DELETE:  # Of an empty one: its files were told before.
                news.folders.update(named)
        return news._replace(folders={folder for folder in news.folders if not _within(folder, news.folders)})

    def close(self) -> None:
        self._inotify.close()


def _within(folder: Parts, others: set[Parts]) -> bool:
    return any(folder[:depth] in others for depth in range(len(folder)))


def _file_system(descriptor: int) -> str:
    """The type of the file system that the descriptor is on, by its mount; see proc(5)."""
    about = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines())
    for line in Path("/proc/self/mountinfo").read_text(errors="replace").splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split()[0] == about["mnt_id"].strip():
            return kind.split()[0]
    return ""
