"""A file is replaced whole, or not at all."""

import os
import stat
from contextlib import suppress

from .directory import Directory
from .root import Parts, Refused, Root

MAX_WRITE = 1024 * 1024


def write(root: Root, parts: Parts, data: bytes, *, unique: str) -> bool:
    """The file holds ``data``, and its directories exist. True when it was there before.

    ``unique`` makes the temporary name; a dotfile, so that it is never served.
    """
    if len(data) > MAX_WRITE:
        raise Refused(f"the text is too long: {len(data)} bytes of at most {MAX_WRITE}; split it into several files")
    parent = root.parent(parts, make=True)
    try:
        return _replace(parent, parts, data, f".mcpauth-{unique}.tmp")
    except OSError as error:
        raise Refused(f"{'/'.join(parts)} cannot be written: {error.strerror}") from None
    finally:
        parent.close()


def _replace(parent: Directory, parts: Parts, data: bytes, temporary: str) -> bool:
    mode = _mode(parent, parts)
    descriptor = parent.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        try:
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(descriptor, mode)
            _write_all(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        parent.replace(temporary, parts[-1])
    except BaseException:
        with suppress(OSError):
            parent.remove(temporary)
        raise
    parent.sync()
    return mode is not None


def _mode(parent: Directory, parts: Parts) -> int | None:
    """The permissions to keep; None for a new file. Raises Refused for what must not be replaced."""
    path = "/".join(parts)
    try:
        found = parent.stat(parts[-1]).st_mode
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found):
        raise Refused(f"{path} is a directory; name a file in it")
    if stat.S_ISLNK(found):
        raise Refused(f"{path} is a link, and links are not followed")
    if not stat.S_ISREG(found):
        raise Refused(f"{path} is not a regular file")
    if not found & stat.S_IWUSR:
        raise Refused(f"{path} is marked read-only by its owner")
    return found & 0o777


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
