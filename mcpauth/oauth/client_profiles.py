"""The clients that are known, as data: who each is, where its codes go, and what it needs.

A client is identified by what nobody else can use: an address that publishes it, or a redirect URI of its own.
Its name, its software id and its user agent are only what it says.
"""

import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict

from .look_alike import resembles

TABLE = Path(__file__).with_suffix(".toml")

# What "*" stands for in the table: one name in a path, and never a way out of its place.
NAME = "[A-Za-z0-9_-]+"

# For clients that do not refresh: a person has to sign in again when it is over.
LONG_ACCESS_TOKEN_TTL = 7 * 86400


class ClientProfile(BaseModel):
    """A row of the table; what its columns mean is said there. ``profile_id`` names its logo too."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    profile_id: str
    name: str
    names: tuple[str, ...] = ()
    callbacks: tuple[str, ...] = ()
    client_ids: tuple[str, ...] = ()
    private_use: tuple[str, ...] = ()
    loopback: tuple[str, ...] = ()
    software_ids: tuple[str, ...] = ()
    user_agents: tuple[str, ...] = ()
    refreshes: bool = True
    anywhere: bool = False
    hosted: bool = False
    place: str = ""
    numbered: bool = False
    guide: tuple[str, ...] = ()

    @property
    def logo(self) -> str:
        return f"clients/{self.profile_id}.svg"

    @property
    def redirect_uris(self) -> tuple[str, ...]:
        """Those that are its own."""
        return self.callbacks + self.private_use

    def listens_at(self, uri: str) -> bool:
        """Whether ``uri``, a loopback one, is like those of this client."""
        return _fits(urlsplit(uri).path or "/", self.loopback)

    def is_named(self, name: str) -> bool:
        """Whether a person would take ``name`` for this client's."""
        return any(resembles(name, one) for one in (self.name, *self.names))


def _fits(text: str, patterns: Iterable[str]) -> bool:
    return _length(text, patterns) > 0


def _length(text: str, patterns: Iterable[str]) -> int:
    """How much of ``text`` the best of ``patterns`` fixes; 0 when none fits."""
    return max((len(one) for one in patterns if _expression(one).fullmatch(text)), default=0)


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    return re.compile(NAME.join(map(re.escape, pattern.split("*"))))


@cache
def version() -> str:
    return str(_read()["version"])


@cache
def every() -> tuple[ClientProfile, ...]:
    rows = _read().items()
    return tuple(ClientProfile(profile_id=name, **row) for name, row in rows if isinstance(row, dict))


@cache
def _read() -> dict[str, object]:
    return tomllib.loads(TABLE.read_text(encoding="utf-8"))


def is_hosted(redirect_uri: str) -> bool:
    """Whether a vendor alone gets what is sent there."""
    return any(_fits(redirect_uri, one.callbacks) for one in every())


def is_private_use(redirect_uri: str) -> bool:
    return any(_fits(redirect_uri, one.private_use) for one in every())


def identify(client_id: str, redirect_uri: str) -> ClientProfile | None:
    """Who gets a code that is sent to ``redirect_uri`` for ``client_id``, as far as that is certain."""
    by_id = _best((_length(client_id, one.client_ids), one) for one in every())
    return by_id or _best((_length(redirect_uri, one.redirect_uris), one) for one in every())


def of(client_id: str, redirect_uris: Iterable[str]) -> ClientProfile | None:
    """Who the client is for certain, whichever redirect URI it uses; a loopback one says nothing."""
    found = {identify(client_id, uri) for uri in redirect_uris if not uri.startswith("http:")}
    found = found or {identify(client_id, "")}
    return found.pop() if len(found) == 1 else None


def _best(fitting: Iterable[tuple[int, ClientProfile]]) -> ClientProfile | None:
    length, profile = max(fitting, key=lambda pair: pair[0])
    return profile if length else None


def posed_as(name: str, redirect_uri: str, *, loopback: bool) -> ClientProfile | None:
    """The client that ``name`` makes a person think of, when that client does not use such a redirect URI."""
    named = [one for one in every() if one.is_named(name)]
    if any(one.anywhere or (loopback and one.listens_at(redirect_uri)) for one in named):
        return None
    return max(named, key=lambda one: len(one.name), default=None)


def fits(client_id: str, redirect_uri: str, *, loopback: bool) -> bool:
    """Whether some client that is known could have this id or redirect URI."""
    if identify(client_id, redirect_uri) is not None:
        return True
    return loopback and any(one.listens_at(redirect_uri) for one in every())


def guess(software_id: str | None, user_agent: str) -> ClientProfile | None:
    """Who a client says it is: for lists and logs, worth nothing else."""
    for one in every():
        if software_id in one.software_ids:
            return one
    return _best((max(map(len, filter(user_agent.startswith, one.user_agents)), default=0), one) for one in every())
