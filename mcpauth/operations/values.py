"""What operations take and give: plain values, so that they can be asked for over the control socket."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..errors import OperationError, WrongUsage
from ..models.records import User
from ..store.users import UserStore

Answer = dict[str, Any]
Operation = Callable[..., Awaitable[Any]]

LATEST_END = 10 * 365 * 86400
LONGEST_LABEL = 80
UNITS = {"m": 60, "h": 3600, "d": 86400}


def seconds(text: str) -> int:
    """What ``90``, ``30m``, ``12h`` or ``7d`` means. Raises WrongUsage."""
    number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
    if not number.isascii() or not number.isdecimal() or not 0 < len(number) < 10 or int(number) == 0:
        raise WrongUsage(f"{text} is no time: write seconds, or 30m, 12h, 7d")
    return int(number) * unit


def end_of(after: str, now: int) -> int | None:
    """When a connection ends that is to end ``after`` that time; None for ``never``. Raises WrongUsage."""
    if after == "never":
        return None
    given = seconds(after)
    if given > LATEST_END:
        raise WrongUsage("a connection ends within ten years, or never")
    return now + given


def label(name: str) -> str:
    """What the owner calls a client or a connection. Raises WrongUsage."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_LABEL:
        raise WrongUsage(f"a name has 1 to {LONGEST_LABEL} printable characters")
    return name.strip()


async def find_user(users: UserStore, name: str) -> User:
    """By name, by id, or by an identity such as github:octocat. Raises OperationError."""
    user = await users.find_by_name(name) or await users.find(name)
    if user is None:
        everybody = await users.list_all()
        for one in everybody:
            if name.lower() in (f"{it.provider}:{it.login}".lower() for it in one.identities):
                return one.user
        names = ", ".join(one.user.name for one in everybody) or "there are none"
        raise OperationError(f"there is no user {name} (users: {names})")
    return user
