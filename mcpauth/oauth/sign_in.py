"""Signing in: with a password, or through a provider and back."""

import logging
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import IdentityError, PageError, SignInRefused
from ..identity.password import Passwords
from ..identity.provider import Provider
from ..models.records import User
from ..store.used_once import UsedOnceStore
from ..store.users import UserStore
from . import pkce
from .admission import Admission
from .rate_limit import RateLimit
from .seal import Seal

logger = logging.getLogger(__name__)

MOST_FAILURES, MOST_ARRIVALS, WINDOW = 10, 30, 15 * 60
MOST_REMEMBERED = 10_000


class KnownBrowser(BaseModel):
    """A browser in which this user signed in before; carried by it, sealed."""

    model_config = ConfigDict(frozen=True)

    user_id: str
    browser_id: str


class State(BaseModel):
    """The ``state`` of a provider's redirect: names the cookie that knows the rest."""

    model_config = ConfigDict(frozen=True)

    nonce: str


class PendingSignIn(BaseModel):
    """A sign-in on its way through a provider; in a cookie that was set with that redirect."""

    model_config = ConfigDict(frozen=True)

    nonce: str
    provider: str
    code_verifier: str
    request: str
    setup_code_hash: str


class Departure(NamedTuple):
    """Where the browser goes, and the cookie that binds its return to it."""

    url: str
    cookie_name: str
    cookie: str
    ttl: int


class Arrival(NamedTuple):
    """Who came back, and the sealed authorization request they came for (empty: none)."""

    user: User
    request: str


def cookie_suffix(nonce: str) -> str:
    return fingerprint(nonce)[:12]


class PasswordSignIn:
    def __init__(self, users: UserStore, passwords: Passwords, ambient: Ambient) -> None:
        self._users, self._passwords, self._ambient = users, passwords, ambient
        self._failures = RateLimit(MOST_FAILURES, WINDOW)

    async def sign_in(
        self, name: str, password: str, address: str, browser: KnownBrowser | None
    ) -> tuple[User, str | None]:
        """Whose name and password these are, and the hash that said so.

        Raises SignInRefused, equally for unknown names and wrong passwords.
        A browser that signed in before has a count of its own: strangers cannot lock the owner out.
        """
        user = await self._users.find_by_name(name)
        if browser is not None and user is not None and browser.user_id == user.user_id:
            keys = [f"browser {browser.browser_id}"]
        else:
            keys = [f"address {address}", f"name {name.lower()[:200]}"]
        now = self._ambient.now()
        wait = max(self._failures.wait(key, now) for key in keys)
        if wait:
            logger.warning("sign_in_refused", extra=log.bounded(address=address, reason="too many failures"))
            raise SignInRefused(f"Too many failed attempts. Try again in {-(-wait // 60)} minutes.", wait)
        # Counted before the answer is known, so that many at once are counted too.
        for key in keys:
            self._failures.add(key, now)
        known = await self._users.password_hash(user.user_id) if user is not None else None
        if not await self._passwords.verify(known, password) or user is None:
            logger.warning("sign_in_failed", extra=log.bounded(address=address))
            raise SignInRefused("Name or password is wrong.")
        for key in keys:
            self._failures.take_back(key)
        logger.info("signed_in", extra=log.fields(user_id=user.user_id, provider="password", address=address))
        return user, known

    def remember(self, user: User, browser: KnownBrowser | None) -> KnownBrowser:
        """What the browser shows next time, so that strangers' failures do not count for it."""
        if browser is not None and browser.user_id == user.user_id:
            return browser
        return KnownBrowser(user_id=user.user_id, browser_id=self._ambient.identifier())


class ProviderSignIn:
    def __init__(
        self,
        providers: Mapping[str, Provider],
        admission: Admission,
        used_once: UsedOnceStore,
        state_seal: Seal,
        cookie_seal: Seal,
        ambient: Ambient,
    ) -> None:
        self._providers, self._admission, self._used_once = providers, admission, used_once
        self._state_seal, self._cookie_seal, self._ambient = state_seal, cookie_seal, ambient
        # Those on their way back now; the ones that succeeded are kept on disk.
        self._seen: OrderedDict[str, None] = OrderedDict()
        # Each one that comes back makes us ask the provider.
        self._arrivals = RateLimit(MOST_ARRIVALS, WINDOW)

    def depart(self, provider_id: str, request: str, *, setup_code_hash: str = "") -> Departure:
        """Send the browser to the provider. Nothing is stored here. Raises PageError for an unknown one."""
        provider = self._providers.get(provider_id)
        if provider is None:
            raise PageError(404, "There is no such way to sign in", "Go back and choose another one.")
        pending = PendingSignIn(
            nonce=self._ambient.identifier(),
            provider=provider_id,
            code_verifier=self._ambient.secret(),
            request=request,
            setup_code_hash=setup_code_hash,
        )
        state = self._state_seal.seal(State(nonce=pending.nonce))
        url = provider.authorization_url(state, pkce.challenge_of(pending.code_verifier))
        return Departure(url, cookie_suffix(pending.nonce), self._cookie_seal.seal(pending), self._cookie_seal.ttl)

    def cookie_of(self, state: str) -> str:
        """The name's end of the cookie that belongs to ``state``. Raises PageError."""
        known = self._state_seal.unseal(state, State)
        if known is None:
            raise _lost()
        return cookie_suffix(known.nonce)

    async def arrive(self, state: str, cookie: str, code: str, error: str, address: str) -> Arrival:
        """The browser came back with ``code``, or with the provider's ``error``. Raises PageError."""
        now = self._ambient.now()
        if wait := self._arrivals.wait(address, now):
            raise PageError(429, "Too many attempts", f"Try again in {-(-wait // 60)} minutes.")
        self._arrivals.add(address, now)
        known = self._state_seal.unseal(state, State)
        pending = self._cookie_seal.unseal(cookie, PendingSignIn)
        if known is None or pending is None or known.nonce != pending.nonce:
            raise _lost()
        self._use(pending.nonce)
        provider = self._providers[pending.provider]
        if error or not code:
            logger.info("sign_in_denied", extra=log.bounded(provider=provider.id, error=error[:60]))
            raise PageError(403, f"{provider.name} did not sign you in", "Start again if that was a mistake.")
        try:
            identity = await provider.identify(code, pending.code_verifier)
        except IdentityError as failure:
            logger.warning("sign_in_failed", extra=log.bounded(provider.id, provider=provider.id, reason=str(failure)))
            raise PageError(502, f"Signing in with {provider.name} did not work", failure.hint) from None
        user = await self._admission.admit(identity, pending.setup_code_hash)
        if not await self._used_once.use(fingerprint(pending.nonce), self._ambient.now() + self._state_seal.ttl):
            raise _lost()
        logger.info("signed_in", extra=log.fields(user_id=user.user_id, provider=provider.id))
        return Arrival(user, pending.request)

    def _use(self, nonce: str) -> None:
        if nonce in self._seen:
            raise _lost()
        self._seen[nonce] = None
        if len(self._seen) > MOST_REMEMBERED:
            self._seen.popitem(last=False)


def _lost() -> PageError:
    return PageError(
        400,
        "This sign-in cannot be finished",
        "It took too long, was finished already, or was started in another browser. "
        "Start again from the app that you want to connect.",
    )
