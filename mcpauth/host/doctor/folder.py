"""The settings and the data directory: who may read what is in it, and whether the database is whole."""

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from ...models.findings import Finding
from ...settings import Settings, public_host
from . import place

# What lets somebody in, or says who may: not for other users of this machine.
PRIVATE = ("*.sqlite3", "*.sqlite3-*", "*.key")
SECRET = re.compile(r"^\s*(?:export\s+)?\w*SECRET\s*=\s*\S", re.MULTILINE)
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def look(settings: Settings, directory: Path) -> list[Finding]:
    """``directory`` is where ``.env`` is."""
    return [_public_url(settings), *_permissions(settings.data_dir, directory)]


def _public_url(settings: Settings) -> Finding:
    origin, port = settings.origin, urlsplit(settings.origin).port
    if settings.loopback:
        return Finding.fine("public URL", f"{origin}: for apps on this computer only")
    if port is not None:
        return Finding.warning(
            "public URL",
            f"{origin}: {place.only_443()} connect to port 443 only, not to {port}",
            f"{place.command(settings)} && set MCP_OAUTH_PUBLIC_URL=https://{public_host(origin)}",
        )
    return Finding.fine("public URL", origin)


def _permissions(data_dir: Path, directory: Path) -> Iterator[Finding]:
    if not data_dir.is_dir():
        yield Finding.warning(
            "data directory", f"{data_dir} is not there yet", "python server.py   (makes it at its first start)"
        )
    elif os.name == "posix":
        yield _owner(data_dir) or _open_to_others(data_dir) or Finding.fine("data directory", f"{data_dir}: yours only")
    env = directory / ".env"
    if os.name == "posix" and env.is_file() and env.stat().st_mode & OTHERS and _has_a_secret(env):
        yield Finding.warning(".env", "others may read it, and it has a secret in it", f"chmod 600 {_quoted(env)}")


def _owner(data_dir: Path) -> Finding | None:
    """Root can do with it what it wants, and leaves files there that the owner cannot use."""
    owner, me = data_dir.stat().st_uid, os.geteuid()
    if me not in (owner, 0):
        return Finding.problem(
            "data directory",
            f"{data_dir} belongs to another user",
            f"run this as that user, or: sudo chown -R {me} {_quoted(data_dir)}",
        )
    strange = [path.name for path, about in _files(data_dir, "*") if about.st_uid != owner]
    if strange or me != owner:
        what = f"{strange[0]} in it belongs to somebody else" if strange else "it is not root's, and you are root"
        fix = f"sudo chown -R {owner} {_quoted(data_dir)}, and work as that user"
        return Finding.warning("data directory", f"{data_dir}: {what}", fix)
    return None


def _open_to_others(data_dir: Path) -> Finding | None:
    private = [one for glob in PRIVATE for one in _files(data_dir, glob)]
    if loose := sorted(path for path, about in private if about.st_mode & OTHERS):
        return Finding.problem(
            "data directory",
            f"others may read {', '.join(path.name for path in loose)}",
            f"chmod 700 {_quoted(data_dir)} && chmod 600 {' '.join(map(_quoted, loose))}",
        )
    if data_dir.stat().st_mode & OTHERS:
        return Finding.problem("data directory", f"others may look into {data_dir}", f"chmod 700 {_quoted(data_dir)}")
    return None


def _files(data_dir: Path, glob: str) -> Iterator[tuple[Path, os.stat_result]]:
    """But for those that have just gone, as some of a database do that is closed."""
    for path in data_dir.glob(glob):
        with contextlib.suppress(FileNotFoundError):
            yield path, path.lstat()


def _has_a_secret(env: Path) -> bool:
    return SECRET.search(env.read_text(encoding="utf-8", errors="replace")) is not None


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
