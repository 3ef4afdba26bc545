"""data/mcp.json: which backends there are, in the format that most MCP clients use for their own."""

import difflib
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, ValidationError
from pydantic_core import PydanticKnownError
from yarl import URL

from ..errors import SettingsError
from . import mistakes
from .http_headers import REFERENCE
from .json_line import line_of, repeated

FILE = "mcp.json"
RESERVED = {"read"}  # `mcp:read` is a scope
NAME_LENGTH = 24
SHELLS = {"sh", "bash", "dash", "zsh"}  # they fill in ${NAME} themselves

DEFAULT = {"mcpServers": {"files": {"builtin": "files", "root": "files"}}}
WELCOME = """\
# Welcome

This note is served by mcpauth's built-in `files` server: whoever you connected and allowed can list, read and
search what is in this folder. Nothing here can be changed through it.

To serve a folder of your own instead, open `mcp.json` one folder up and set `root` to it, for example
`"root": "~/notes"`. With `"write": true` beside it, connected clients may change files as well.
"""


class ToolFilter(BaseModel):
    """Globs over a backend's own tool names. Without ``allow``, all; ``deny`` wins."""

    model_config = ConfigDict(frozen=True)

    allow: tuple[str, ...] | None = None
    deny: tuple[str, ...] = ()

    @property
    def open(self) -> bool:
        return self.allow is None and not self.deny

    def admits(self, tool: str) -> bool:
        if any(fnmatchcase(tool, glob) for glob in self.deny):
            return False
        return self.allow is None or any(fnmatchcase(tool, glob) for glob in self.allow)


def _no_boolean(given: object) -> object:
    """To Python, true is 1."""
    if isinstance(given, bool):
        raise PydanticKnownError("int_type")
    return given


Count = Annotated[int, BeforeValidator(_no_boolean), Field(ge=1)]


class Server(BaseModel):
    """The keys of ours, which every kind of backend has."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    share: Literal["session", "user", "all"] | None = None
    tools: ToolFilter = ToolFilter()
    idle_stop: Count | None = None
    enabled: StrictBool = True
    disabled: StrictBool = False  # Cline and its like write this one.

    @property
    def is_on(self) -> bool:
        return self.enabled and not self.disabled


class StdioServer(Server):
    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    cwd: Path | None = None
    type: Literal["stdio"] = "stdio"


class FilesServer(Server):
    builtin: Literal["files"]
    root: Path
    write: bool = False


def _web_address(url: str) -> str:
    try:
        parts = urlsplit(url)
        URL(url)  # The client reads it more strictly.
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known and REFERENCE.search(url):
        raise ValueError("must be the address itself; ${…} counts only in headers")
    if not known or not url.isprintable() or " " in url:
        raise ValueError("must be an address that begins with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not have a name or password in it; put them into headers")
    return url


class RemoteServer(Server):
    url: Annotated[str, AfterValidator(_web_address)]
    headers: dict[str, str] = {}
    type: Literal["http", "streamable-http", "streamableHttp", "sse"] = "http"

    @property
    def is_in_the_clear(self) -> bool:
        parts = urlsplit(self.url)
        return parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1")


class Limits(BaseModel):
    """How many processes there may be at the same time."""

    model_config = ConfigDict(frozen=True)

    processes: Count = 64
    processes_per_server: Count = 32
    processes_per_user: Count = 32


AnyServer = StdioServer | FilesServer | RemoteServer


# The same for as long as a file is.
Stamp = tuple[int, ...]


class Configuration(BaseModel):
    """``servers`` in the file's order, but for those that are ``switched_off``.

    ``notes`` is what the owner should hear about the file.
    """

    model_config = ConfigDict(frozen=True)

    servers: dict[str, AnyServer]
    switched_off: tuple[str, ...] = ()
    limits: Limits = Limits()
    notes: tuple[str, ...] = ()
    stamp: Stamp = ()
    text: str = Field("", repr=False)
    keys: dict[str, str] = {}  # of the servers in the file, by their names

    def place(self, server: str, *path: str) -> str:
        """Where that is in the file."""
        return _place(self.text, ("mcpServers", self.keys.get(server, server), *path))


# Beside the servers there is what holds for all of them; programs that read such files know it not.
DOCUMENT = frozenset({"mcpServers", "limits"})
KINDS: dict[str, type[Server]] = {"builtin": FilesServer, "command": StdioServer, "url": RemoteServer}
ALL_KEYS = frozenset(key for model in KINDS.values() for key in model.model_fields)


def read(path: Path) -> Configuration:
    """What the file says. Raises SettingsError, naming the line or key and never a value."""
    text, notes, read_from = _text(path)
    document = _document(text)
    notes += _unknown(document, DOCUMENT, FILE)
    given = document.get("mcpServers")
    if not isinstance(given, dict):
        hint = _misspelt(text, (), document, DOCUMENT, {"mcpServers"})
        if "mcpServers" in document:
            raise SettingsError(f"{_place(text, ('mcpServers',))} must be an object")
        raise SettingsError(hint or f'{FILE}: "mcpServers" is missing')
    servers: dict[str, AnyServer] = {}
    switched_off: list[str] = []
    origin: dict[str, str] = {}
    for key, about in given.items():
        where = _place(text, ("mcpServers", key))
        name = slug(key)
        if not name:
            raise SettingsError(f"{where}: a server needs a name of letters and digits")
        if name in RESERVED:
            raise SettingsError(f"{where}: the name {name} is reserved; choose another")
        if name in origin:
            raise SettingsError(f'{where}: this and "{origin[name]}" are both called {name}; rename one')
        origin[name] = key
        if name != key:
            notes.append(f'{FILE}: "{key}" is called {name}')
        server = _server(text, key, about, notes)
        if not server.is_on:
            switched_off.append(name)
        elif isinstance(server, RemoteServer):
            servers[name] = server
            if server.headers and server.is_in_the_clear:
                notes.append(f'{FILE}: "{key}": http, not https: its headers can be read on their way')
        elif isinstance(server, StdioServer):
            cwd = server.cwd and path.parent / server.cwd.expanduser()
            servers[name] = server.model_copy(update={"cwd": cwd})
            if _has_arguments(server.command, cwd or Path.home(), server.env):
                notes.append(
                    f"{FILE}: mcpServers.{key}.command: there is no such program; what comes after the program's name "
                    'belongs into "args"'
                )
        elif isinstance(server, FilesServer):
            root = path.parent / server.root.expanduser()
            servers[name] = server.model_copy(update={"root": root})
    limits = _limits(text, document.get("limits", {}), notes)
    return Configuration(
        servers=servers,
        switched_off=tuple(switched_off),
        limits=limits,
        notes=tuple(notes),
        stamp=stamp(read_from),
        text=text,
        keys=origin,
    )


def stamp(about: os.stat_result) -> Stamp:
    return about.st_dev, about.st_ino, about.st_mtime_ns, about.st_ctime_ns, about.st_size


def slug(key: str) -> str:
    """The backend's name: it is part of paths, scopes and tool names. Empty when there is nothing to make it of."""
    return re.sub(r"[^a-z0-9-]+", "-", key.lower()).strip("-")[:NAME_LENGTH].rstrip("-")


def create_default(data_dir: Path) -> None:
    """The file, and what it serves; what is already there stays as it is."""
    for directory in (data_dir, data_dir / "files"):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    _create(data_dir / "files" / "welcome.md", WELCOME)
    _create(data_dir / FILE, json.dumps(DEFAULT, indent=2) + "\n")


def _create(path: Path, text: str) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _text(path: Path) -> tuple[str, list[str], os.stat_result]:
    try:
        with open(path, encoding="utf-8-sig", opener=_at_once) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):
                raise SettingsError(f"{path}: it must be a regular file")
            text = file.read()
    except UnicodeDecodeError:
        raise SettingsError(f"{FILE}: the file is not UTF-8") from None
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from None
    if os.name != "posix":
        return text, [], about
    # Whoever writes it chooses which programs run here.
    if about.st_uid not in (0, os.geteuid()):
        raise SettingsError(f"{path}: the file belongs to another user; run: chown {os.geteuid()} {path}")
    if about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsError(f"{path}: others may write this file; run: chmod 600 {path}")
    readable = about.st_mode & (stat.S_IRGRP | stat.S_IROTH)
    return text, [f"{path}: others may read this file; better: chmod 600 {path}"] if readable else [], about


def _at_once(path: str, flags: int) -> int:
    """A pipe would be waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _document(text: str) -> dict[str, Any]:
    if not text.strip():
        raise SettingsError(f"{FILE}: the file is empty")
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise SettingsError(f"{FILE}, {mistakes.of_json(text, error)}") from None
    except RecursionError:
        raise SettingsError(f"{FILE}: nested too deeply") from None
    if not isinstance(document, dict):
        raise SettingsError(f"{FILE}: the file must hold one object")
    if (found := repeated(text)) is not None:
        raise SettingsError(f'{FILE}, line {found[0]}: "{found[1]}" is there twice')
    return document


def _server(text: str, key: str, about: Any, notes: list[str]) -> Server:
    where = f"{FILE}: mcpServers.{key}"
    path = ("mcpServers", key)
    if not isinstance(about, dict):
        raise SettingsError(f"{_place(text, path)} must be an object")
    # Some programs write every key that they know, with null for those without a value.
    about = {key: value for key, value in about.items() if value is not None or key not in ALL_KEYS}
    kinds = [kind for kind in KINDS if kind in about]
    if len(kinds) != 1:
        hint = None if kinds else _misspelt(text, path, about, ALL_KEYS, KINDS)
        raise SettingsError(hint or f'{_place(text, path)} must have one of "builtin", "command" and "url"')
    model = KINDS[kinds[0]]
    server = _validate(text, model, about, path)
    notes += _unknown(about, model.model_fields, where)
    if isinstance(about.get("tools"), dict):
        notes += _unknown(about["tools"], ToolFilter.model_fields, f"{where}.tools")
    filled_in = {"headers"}
    if isinstance(server, StdioServer):
        if Path(server.command).name in SHELLS:
            filled_in.add("args")
    else:
        set_anyway = [key for key in ("share", "idle_stop") if getattr(server, key) is not None]
        notes += [f"{where}.{key}: only of servers with a command, ignored" for key in set_anyway]
    given = {key: value for key, value in about.items() if key in model.model_fields and key not in filled_in}
    notes += [
        f"{place}: ${{…}} counts only in headers, and is taken as it stands here; write the value itself"
        for place in _references(given, where)
    ]
    return server


def _references(given: Any, where: str) -> Iterator[str]:
    """The places of text with a variable's name in it. What is ``given`` must have been validated."""
    if isinstance(given, str) and REFERENCE.search(given):
        yield where
    elif isinstance(given, dict | list):
        for key, value in given.items() if isinstance(given, dict) else enumerate(given):
            yield from _references(value, f"{where}.{key}")


def _has_arguments(command: str, cwd: Path, env: Mapping[str, str]) -> bool:
    """Or seems to; a program's own name may have spaces in it."""
    if len(command.split()) < 2:
        return False
    return shutil.which(str(cwd / command) if "/" in command else command, path=env.get("PATH")) is None


def _limits(text: str, about: Any, notes: list[str]) -> Limits:
    if not isinstance(about, dict):
        raise SettingsError(f"{_place(text, ('limits',))} must be an object")
    notes += _unknown(about, Limits.model_fields, f"{FILE}: limits")
    return _validate(text, Limits, about, ("limits",))


M = TypeVar("M", bound=BaseModel)


def _validate(text: str, model: type[M], about: dict[str, Any], path: tuple[str, ...]) -> M:
    try:
        return model.model_validate(about)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        hint = None
        if first["type"] == "missing":
            hint = _misspelt(text, path, about, model.model_fields, map(str, first["loc"]))
        raise SettingsError(hint or f"{_place(text, (*path, *first['loc']))}: {mistakes.of_value(first)}") from None


def _place(text: str, path: tuple[str | int, ...]) -> str:
    return f"{FILE}, line {line_of(text, path)}: {'.'.join(map(str, path))}"


def _unknown(given: Iterable[str], known: Iterable[str], where: str) -> list[str]:
    names = set(known)
    return [f"{where}.{key}: unknown, ignored{_meant(key, names)}" for key in given if key not in names]


def _misspelt(
    text: str, path: tuple[str, ...], given: Iterable[str], known: Iterable[str], missing: Iterable[str]
) -> str | None:
    """Where one of the ``missing`` keys seems to be there by another name."""
    names, wanted = set(known), set(missing)
    for key in given:
        if key not in names and (hint := _meant(key, wanted)):
            return f'{_place(text, (*path, key))}: unknown key "{key}"{hint}'
    return None


def _meant(key: str, known: Iterable[str]) -> str:
    by_name = {name.lower(): name for name in known}
    close = difflib.get_close_matches(key.lower(), sorted(by_name), n=1)
    return f'; did you mean "{by_name[close[0]]}"?' if close else ""
