"""Imports run one way, and what only one part may touch is touched there alone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from mcpauth.oauth import client_profiles

PACKAGE = Path(__file__).parent.parent / "mcpauth"
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py"]

# web -> oauth | gateway | operations -> store -> models, oauth -> identity. app, routes and cli put them together.
MAY_IMPORT = {
    "ambient": "",
    "errors": "",
    "log": "",
    "models": "",
    "settings": "errors",
    "control": "errors log",
    "store": "ambient errors log models",
    "identity": "errors log models",
    "fetch": "errors models",
    "gateway": "ambient errors log models store",
    "oauth": "ambient errors identity log models store",
    "operations": "ambient errors identity log models oauth presence store",
    "presence": "ambient",
    "host": "ambient errors fetch gateway log models replay settings store",
    "replay": "ambient errors models",
    "web": "ambient errors gateway log models oauth operations presence",
    "app": "ambient errors fetch gateway host identity log models oauth operations presence settings store",
    "routes": "app errors log models oauth settings web",
    "cli": "ambient app control errors host log models oauth operations replay routes settings",
    "__main__": "cli",
}

# Modules that are not ours, and the parts that alone may import them.
ONLY_IN = {
    "aiosqlite": "store",
    "sqlite3": "store",
    "time": "ambient",
    "secrets": "ambient",
    "random": "ambient",
    "uuid": "ambient",
    "tornado": "web routes cli",
    "tornado.web": "web routes",
    "argparse": "cli",
    "getpass": "cli",
    "signal": "cli gateway",
    "aiohttp": "fetch identity gateway host app replay cli",
    "argon2": "identity",
    "jwt": "oauth",
    "cryptography": "gateway oauth store",
    "dotenv": "settings",
}

# Calls, as they are written, and the parts that alone may make them.
CALLS_ONLY_IN = {
    "print": "cli",
    "input": "cli",
    "datetime.now": "ambient",
    "datetime.utcnow": "ambient",
    "datetime.today": "ambient",
    "os.urandom": "ambient",
}


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path, text: str) -> Iterator[str]:
    """The full name of everything that ``text``, in the file ``path``, imports: in functions too."""
    package = ["mcpauth", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module or "").split(".")]
            for alias in node.names:
                yield ".".join(name for name in [*module, alias.name] if name)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def own_parts(path: Path, text: str) -> set[str]:
    names = [name.split(".") for name in imported(path, text)]
    return {name[1] for name in names if name[0] == "mcpauth" and len(name) > 1} - {"__version__"}


def is_of(name: str, module: str) -> bool:
    return name == module or name.startswith(module + ".")


def by_path(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_part_has_a_rule() -> None:
    assert {part(path) for path in FILES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_imports_run_one_way(path: Path) -> None:
    me = part(path)
    assert own_parts(path, path.read_text()) <= {me, *MAY_IMPORT[me].split()}


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_what_is_one_parts_business_stays_there(path: Path) -> None:
    me, names = part(path), list(imported(path, path.read_text()))
    for module, parts in ONLY_IN.items():
        if me not in parts.split():
            assert not [name for name in names if is_of(name, module)], f"only {parts} may import {module}"


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_the_clock_the_dice_and_the_terminal_are_asked_in_one_place(path: Path) -> None:
    me = part(path)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert me in CALLS_ONLY_IN.get(called, me).split(), f"line {node.lineno}: {called}"


@pytest.mark.parametrize("path", FILES, ids=by_path)
def test_sql_is_in_the_store_only(path: Path) -> None:
    if part(path) == "store":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            words = node.value.lower().split()
            assert words[:2] not in (["insert", "into"], ["delete", "from"]), node.value
            assert words[:1] != ["select"] or "from" not in words, node.value


# The table of clients, and what some of them published of themselves.
NAME_VENDORS = ("oauth/client_profiles.toml", "oauth/client_documents/")
VENDORS = sorted(
    {name for one in client_profiles.every() for name in (one.name, *one.names)}
    | {urlsplit(uri).netloc for one in client_profiles.every() for uri in (*one.redirect_uris, *one.client_ids)}
)
VENDOR = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, VENDORS))})(?!\w)")


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.*")) if path.suffix in (".py", ".html", ".sql", ".toml", ".json")],
    ids=by_path,
)
def test_only_the_table_names_vendors(path: Path) -> None:
    if not by_path(path).startswith(NAME_VENDORS):
        assert VENDOR.findall(path.read_text()) == []


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("from ..store.users import UserStore", {"store"}),
        ("from .. import store", {"store"}),
        ("import mcpauth.store.users", {"store"}),
        ("from mcpauth import store", {"store"}),
        ("def f():\n    from ..store import users", {"store"}),
        ("from .. import __version__", set()),
        ("from .base import PageHandler", {"web"}),
    ],
)
def test_an_import_is_seen_however_it_is_written(line: str, parts: set[str]) -> None:
    assert own_parts(PACKAGE / "web" / "anything.py", line) == parts
