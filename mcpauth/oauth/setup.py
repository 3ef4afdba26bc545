"""The first owner: whoever has the code that the server printed when it started."""

import hmac
import logging

from pydantic import BaseModel, ConfigDict

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import PageError, SignInRefused
from ..identity import password as password_rules
from ..identity.password import Passwords
from ..models.records import User
from ..store.users import UserStore
from .rate_limit import RateLimit
from .seal import Seal

logger = logging.getLogger(__name__)

CODE_TTL = 3600
MOST_ATTEMPTS, WINDOW = 10, 15 * 60
LONGEST_NAME = 100


class SetupPass(BaseModel):
    """In a cookie, sealed: this browser has shown the code."""

    model_config = ConfigDict(frozen=True)

    code_hash: str


class Setup:
    """``code`` is new at each start and kept in memory only."""

    def __init__(self, users: UserStore, passwords: Passwords, seal: Seal, ambient: Ambient) -> None:
        self._users, self._passwords, self._seal, self._ambient = users, passwords, seal, ambient
        self.code = ambient.identifier()
        self._expires_at = ambient.now() + CODE_TTL
        self._attempts = RateLimit(MOST_ATTEMPTS, WINDOW)

    @property
    def needed(self) -> bool:
        return self._users.owners == 0

    def show_code(self, code: str, address: str) -> str:
        """The pass for who has the code. Raises PageError."""
        self.check_needed()
        now = self._ambient.now()
        wait = self._attempts.wait(address, now)
        if wait:
            raise PageError(429, "Too many attempts", f"Try again in {-(-wait // 60)} minutes.")
        if not hmac.compare_digest(code.encode(), self.code.encode()) or self._expires_at <= now:
            self._attempts.add(address, now)
            logger.warning("setup_code_refused", extra=log.bounded(address=address))
            raise PageError(
                403,
                "This link is not valid",
                "Each link is valid for one hour, and only until the server starts again. "
                "Start it again, and open the link that it prints.",
            )
        return self._seal.seal(SetupPass(code_hash=self.code_hash))

    def is_passed(self, cookie: str) -> bool:
        """Whether ``cookie`` holds a pass that is still good. Raises PageError when there is an owner."""
        self.check_needed()
        shown = self._seal.unseal(cookie, SetupPass)
        return shown is not None and self.is_current(shown.code_hash)

    def shown_code_hash(self, cookie: str) -> str:
        """Of the code that is good now, when this browser has shown it; else empty."""
        return self.code_hash if self.needed and self.is_passed(cookie) else ""

    @property
    def code_hash(self) -> str:
        return fingerprint(self.code)

    def is_current(self, code_hash: str) -> bool:
        """Whether it is the hash of the code that is good now."""
        return code_hash == self.code_hash and self._ambient.now() < self._expires_at

    async def make_owner(self, cookie: str, name: str, password: str, again: str) -> User:
        """The owner, with this name and password. Raises SignInRefused for bad input, PageError otherwise."""
        if not self.is_passed(cookie):
            raise PageError(403, "This page has expired", "Start the server again, and open the link that it prints.")
        name = name.strip()
        if problem := name_problem(name) or password_rules.problem(password):
            raise SignInRefused(problem)
        if password != again:
            raise SignInRefused("The two passwords differ.")
        password_hash = await self._passwords.hash(password)
        owner = await self._users.add_owner(
            self._ambient.identifier(), name, self._ambient.now(), password_hash=password_hash
        )
        if owner is None:
            raise _not_found()
        logger.info("owner_made", extra=log.fields(user_id=owner.user_id, provider="password"))
        return owner

    def check_needed(self) -> None:
        """Raises PageError when there is an owner: then there is nothing here, whatever is asked for."""
        if not self.needed:
            raise _not_found()


def name_problem(name: str) -> str | None:
    """Why nobody can be called ``name``; None when somebody can."""
    if not name or not name.isprintable() or name != name.strip():
        return "The name must have at least one character, and no control characters."
    if len(name) > LONGEST_NAME:
        return f"The name must have at most {LONGEST_NAME} characters."
    return None


def _not_found() -> PageError:
    return PageError(
        404,
        "This server has an owner already",
        "The setup link has done its work. Connect an app: it leads you to the sign-in.",
    )
