"""Refresh tokens: each use brings a successor (RFC 6749 §6, OAuth 2.1 §4.3)."""

import base64
import hashlib
import hmac
import logging

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import InvalidClient, InvalidGrant, InvalidRequest, InvalidTarget, TemporarilyUnavailable
from ..models.messages import TokenRequest, TokenResponse
from ..models.records import Client
from ..store.refresh_tokens import RefreshTokenStore, Refused, Rotation
from . import scope
from .access_token import AccessTokens
from .client_authentication import PAUSED, UNPROVEN, Caller
from .issuer import Issuer
from .resource import Resources

logger = logging.getLogger(__name__)

GRACE = 60

REASONS = {
    "unknown": "the refresh token is not known",
    "ended": "the access that this refresh token belongs to has ended",
    "expired": "the refresh token has expired",
    "reused": "the refresh token was used before; all access that came from it has ended",
}


class RefreshTokenGrant:
    """A successor is computed from the token it replaces, so that it can be given again without being stored."""

    grant_type = "refresh_token"

    def __init__(
        self,
        refresh_tokens: RefreshTokenStore,
        access_tokens: AccessTokens,
        resources: Resources,
        key: str,
        ttl: int,
        ambient: Ambient,
    ) -> None:
        self._refresh_tokens, self._access_tokens, self._resources = refresh_tokens, access_tokens, resources
        self._key, self._ttl, self._ambient = key.encode(), ttl, ambient

    def _successor(self, token: str) -> str:
        digest = hmac.digest(self._key, token.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    async def exchange(self, issuer: Issuer, caller: Caller, request: TokenRequest) -> TokenResponse:
        client = caller.client
        if not request.refresh_token:
            raise InvalidRequest("refresh_token is missing")
        token_hash = fingerprint(request.refresh_token)
        if request.resource:
            await self._check_resource(token_hash, client, request.resource)
        now, lifetime = self._ambient.now(), self._access_tokens.lifetime(client)
        successor = self._successor(request.refresh_token)
        outcome = await self._refresh_tokens.rotate(
            Rotation(
                token_hash=token_hash,
                successor_hash=fingerprint(successor),
                client_id=client.client_id,
                now=now,
                expires_at=now + self._ttl,
                access_expires_at=now + lifetime,
                grace=GRACE,
                session_id=self._ambient.identifier(),
                asserted=caller.asserted,
                kept_until=self._access_tokens.kept_until(client, now),
            )
        )
        if isinstance(outcome, Refused):
            about = {"client_id": client.client_id, "reason": outcome.reason}
            if outcome.reason == "reused":
                # Once for each grant, which has ended by that.
                logger.warning("refresh_refused", extra=log.fields(**about))
            else:
                logger.info("refresh_refused", extra=log.bounded(**about))
            if outcome.reason == "unproven":
                raise InvalidClient(UNPROVEN)
            if outcome.reason == "paused":
                raise TemporarilyUnavailable(PAUSED)
            raise InvalidGrant(REASONS[outcome.reason])
        grant, session_id = outcome.grant, outcome.session.session_id
        granted = scope.narrow(request.scope, grant.scope, self._resources.backends())
        logger.info("token_refreshed", extra=log.fields(client_id=client.client_id, grant_id=grant.grant_id))
        return TokenResponse(
            client_id=grant.client_id,
            session_id=session_id,
            access_token=self._access_tokens.issue(
                issuer.identifier, grant, session_id, granted, outcome.generation, lifetime
            ),
            expires_in=lifetime,
            refresh_token=successor,
            scope=granted,
        )

    async def _check_resource(self, token_hash: str, client: Client, resource: str) -> None:
        wanted = self._resources.canonical(resource)
        found = await self._refresh_tokens.find_grant(token_hash)
        if found is not None and found.grant.client_id == client.client_id and found.grant.resource != wanted:
            raise InvalidTarget("resource differs from what was granted")
