"""Access tokens: signed, and good only while the session they name lives (RFC 9068, RFC 6750)."""

from collections import OrderedDict
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ..ambient import Ambient
from ..errors import InsufficientScope, InvalidToken, TemporarilyUnavailable
from ..models.principal import Principal
from ..models.records import Client, Grant
from ..store.sessions import LiveSession, SessionStore
from . import client_profiles
from .client_authentication import PAUSED
from .scope import covers, is_mcp
from .signing_keys import SigningKeys

CACHED = 4096
# A token is signed a moment after its session was told when it expires.
SIGNED_WITHIN = 60


class Claims(BaseModel):
    """RFC 9068 §2.2. ``jti`` begins with the generation of the refresh token that came beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    iss: str
    sub: str
    aud: str
    client_id: str
    scope: str
    sid: str
    jti: str
    iat: int
    exp: int

    @property
    def generation(self) -> int:
        return int(self.jti.split(".", 1)[0])


class _Verified:
    """A token whose signature was checked, and the principal it stands for; spares both on the next request."""

    __slots__ = ("claims", "generation", "principal")

    def __init__(self, claims: Claims, principal: Principal) -> None:
        self.claims, self.principal = claims, principal
        self.generation = claims.generation


class AccessTokens:
    def __init__(
        self, keys: SigningKeys, issuers: frozenset[str], sessions: SessionStore, ttl: int, ambient: Ambient
    ) -> None:
        self._keys, self._issuers, self._sessions, self.ttl, self._ambient = keys, issuers, sessions, ttl, ambient
        self._verified: OrderedDict[str, _Verified] = OrderedDict()

    def lifetime(self, client: Client) -> int:
        """Seconds that an access token of ``client`` is good: longer for one that would not refresh it."""
        if client.access_token_ttl is not None:
            return client.access_token_ttl
        profile = client_profiles.of(client.client_id, client.metadata.redirect_uris)
        refreshes = profile is None or profile.refreshes
        return self.ttl if refreshes else max(self.ttl, client_profiles.LONG_ACCESS_TOKEN_TTL)

    def kept_until(self, client: Client, now: int) -> int:
        """How long its session lives unused: as long as its access token, where that is longer than is usual."""
        lifetime = self.lifetime(client)
        return now + lifetime if lifetime > self.ttl else 0

    def issue(self, issuer: str, grant: Grant, session_id: str, scope: str, generation: int, lifetime: int) -> str:
        now = self._ambient.now()
        claims = Claims(
            iss=issuer,
            sub=grant.user_id,
            aud=grant.resource,
            client_id=grant.client_id,
            scope=scope,
            sid=session_id,
            jti=f"{generation}.{self._ambient.identifier()}",
            iat=now,
            exp=now + lifetime,
        )
        return self._keys.sign(claims.model_dump())

    def rotate_keys(self) -> int:
        """Sign with a new key from now on; until when the one before counts: all that it has signed has expired then.

        Raises OperationError.
        """
        now = self._ambient.now()
        last = max((live.access_expires_at for live in self._sessions.list_live(now)), default=0)
        until = max(now + self.ttl, last) + SIGNED_WITHIN
        self._keys.rotate(until)
        # What was signed with the old key, and lasts longer than it, must not be remembered either.
        self._verified.clear()
        return until

    def admit(self, token: str, resource: str) -> Principal:
        """Whose token this is, for a request to ``resource``; counts as a use of its session.

        Raises InvalidToken, and InsufficientScope when it has no ``mcp…`` scope.
        """
        verified, live = self._check(token)
        if verified.claims.aud != resource:
            raise InvalidToken("the access token is for another resource")
        self._use(verified, live)
        if not any(map(is_mcp, verified.principal.scopes)):
            raise InsufficientScope("the access token has no mcp scope", "mcp")
        if _is_paused(live):
            return verified.principal.model_copy(update={"paused": True})
        return verified.principal

    def identify(self, token: str) -> tuple[Claims, LiveSession]:
        """What a live token says, whatever resource it is for; counts as a use.

        Raises InvalidToken, and TemporarilyUnavailable while its client is paused.
        """
        verified, live = self._check(token)
        if _is_paused(live):
            raise TemporarilyUnavailable(PAUSED)
        self._use(verified, live)
        return verified.claims, live

    def inspect(self, token: str) -> Claims | None:
        """What a live token says, without using it; None for any other, and while its client is paused."""
        try:
            verified, live = self._check(token)
        except InvalidToken:
            return None
        return None if _is_paused(live) else verified.claims

    def read(self, token: str) -> Claims | None:
        """What a token of ours says, live or not; None for any other."""
        try:
            return Claims.model_validate(self._keys.verify(token))
        except (InvalidToken, ValidationError):
            return None

    def _check(self, token: str) -> tuple[_Verified, LiveSession]:
        now = self._ambient.instant()
        verified = self._verified.get(token)
        if verified is None:
            claims = self.read(token)
            if claims is None:
                raise InvalidToken("the access token is not valid")
        else:
            claims = verified.claims
        if claims.exp <= now:
            self._verified.pop(token, None)
            raise InvalidToken("the access token has expired")
        live = self._sessions.find(claims.sid, now)
        if live is None or live.grant is None:
            self._verified.pop(token, None)
            raise InvalidToken("the session of this access token has ended")
        if verified is None:
            verified = self._verify(claims, live.grant)
            self._verified[token] = verified
            if len(self._verified) > CACHED:
                self._verified.popitem(last=False)
        return verified, live

    def _verify(self, claims: Claims, grant: Grant) -> _Verified:
        scopes = claims.scope.split()
        agrees = (
            claims.iss in self._issuers
            and claims.sub == grant.user_id
            and claims.client_id == grant.client_id
            and claims.aud == grant.resource
            and covers(grant.scope, scopes)
        )
        if not agrees:
            raise InvalidToken("the access token does not agree with its session")
        return _Verified(
            claims,
            Principal(
                subject=grant.user_id,
                client_id=grant.client_id,
                grant_id=grant.grant_id,
                session_id=claims.sid,
                scopes=frozenset(scopes),
                servers=grant.servers,
            ),
        )

    def _use(self, verified: _Verified, live: LiveSession) -> None:
        now = self._ambient.instant()
        self._sessions.touch(live, now)
        if verified.generation > live.generation:
            self._sessions.confirm(live, verified.generation, now)


def _is_paused(live: LiveSession) -> bool:
    return live.grant is not None and live.grant.paused_at is not None


def challenge(error: InvalidToken | InsufficientScope | None, metadata_url: str, scope: str) -> str:
    """The WWW-Authenticate header (RFC 6750 §3, RFC 9728 §5.1); ``error`` only when a token came."""
    values: dict[str, Any] = {"resource_metadata": metadata_url, "scope": scope}
    if error is not None:
        values = {**values, "error": error.error, "error_description": error.description}
    return "Bearer " + ", ".join(f'{name}="{value}"' for name, value in values.items())
