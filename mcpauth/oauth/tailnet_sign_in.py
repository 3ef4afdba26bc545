"""Signing in as whom Tailscale says the device belongs to: seen on a page, done by its form alone."""

import logging

from .. import log
from ..ambient import Ambient
from ..errors import IdentityError, NotOnTailnet, PageError, SignInRefused
from ..identity.tailscale import Tailscale
from ..models.records import User
from ..models.tailscale import Visitor
from .admission import Admission
from .rate_limit import RateLimit
from .setup import Setup
from .ways_in import WaysIn

logger = logging.getLogger(__name__)

MOST_ARRIVALS, MOST_LOOKS, WINDOW = 30, 60, 15 * 60
TOLD_FOR = 3600


class TailnetSignIn:
    def __init__(
        self, provider: Tailscale | None, ways_in: WaysIn, admission: Admission, setup: Setup, ambient: Ambient
    ) -> None:
        self._provider, self._ways_in = provider, ways_in
        self._admission, self._setup, self._ambient = admission, setup, ambient
        self._arrivals = RateLimit(MOST_ARRIVALS, WINDOW)
        # tailscaled is asked for each page, and whoever reaches this server may load them.
        self._looks = RateLimit(MOST_LOOKS, WINDOW)
        # Why somebody was not recognized is said once in a while, not for every page.
        self._told = RateLimit(1, TOLD_FOR)

    async def recognize(self, visitor: Visitor | None, party: str) -> str | None:
        """The login of whoever looks at the page, for its button; None when it is not proven. Signs nobody in."""
        if visitor is None or self._provider is None or not self._ways_in.tailscale:
            return None
        now = self._ambient.now()
        if self._looks.wait(party, now):
            return None
        self._looks.add(party, now)
        try:
            return (await self._provider.identify(visitor)).login
        except IdentityError as failure:
            self._tell(failure, visitor)
            return None

    async def sign_in(self, visitor: Visitor | None, login: str, setup_cookie: str, party: str) -> User:
        """Who pressed the button that named ``login``, when that is proven again. Raises SignInRefused, PageError."""
        if visitor is None or self._provider is None or not self._ways_in.tailscale:
            raise SignInRefused("Signing in with Tailscale is not possible here.")
        now = self._ambient.now()
        if wait := self._arrivals.wait(party, now):
            raise PageError(429, "Too many attempts", f"Try again in {-(-wait // 60)} minutes.")
        self._arrivals.add(party, now)
        try:
            identity = await self._provider.identify(visitor)
        except IdentityError as failure:
            self._tell(failure, visitor)
            raise SignInRefused(failure.hint) from None
        if identity.login != login:
            raise SignInRefused(
                "This device belongs to somebody else in Tailscale now. Look at the name, and try again."
            )
        user = await self._admission.admit(identity, self._setup.shown_code_hash(setup_cookie))
        logger.info("signed_in", extra=log.fields(user_id=user.user_id, provider=identity.provider))
        return user

    def _tell(self, failure: IdentityError, visitor: Visitor) -> None:
        now = self._ambient.now()
        level = logging.INFO if isinstance(failure, NotOnTailnet) else logging.WARNING
        if self._told.wait(str(failure), now):
            level = logging.DEBUG
        else:
            self._told.add(str(failure), now)
        about = log.fields(reason=str(failure), address=visitor.address[:64])
        logger.log(level, "tailscale_identity_not_proven", extra=about)
