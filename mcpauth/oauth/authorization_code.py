"""A code becomes tokens, once (RFC 6749 §4.1.3, RFC 7636 §4.6)."""

import logging

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import InvalidGrant, InvalidRequest, InvalidTarget
from ..models.messages import TokenRequest, TokenResponse
from ..models.records import AuthorizationCode, Client, Session
from ..store.codes import CodeStore
from ..store.grants import GrantStore
from ..store.refresh_tokens import NewToken
from . import pkce
from .access_token import AccessTokens
from .client_authentication import Caller
from .issuer import Issuer
from .resource import Resources

logger = logging.getLogger(__name__)


class AuthorizationCodeGrant:
    grant_type = "authorization_code"

    def __init__(
        self,
        codes: CodeStore,
        grants: GrantStore,
        access_tokens: AccessTokens,
        resources: Resources,
        refresh_ttl: int,
        ambient: Ambient,
    ) -> None:
        self._codes, self._grants, self._access_tokens = codes, grants, access_tokens
        self._resources, self._refresh_ttl, self._ambient = resources, refresh_ttl, ambient

    async def exchange(self, issuer: Issuer, caller: Caller, request: TokenRequest) -> TokenResponse:
        client = caller.client
        if not (request.code and request.code_verifier):
            raise InvalidRequest("code and code_verifier are required")
        code = await self._codes.find(fingerprint(request.code))
        if code is None:
            raise InvalidGrant("the code is not known: it is wrong, or it has long expired")
        self._check(code, client, request)
        now = self._ambient.now()
        if code.redeemed_at is None and code.expires_at <= now:
            raise InvalidGrant("the code has expired")
        refresh_token = self._ambient.secret()
        redeemed = await self._codes.redeem(
            code.code_hash,
            NewToken(fingerprint(refresh_token), code.grant_id, 0, now, now + self._refresh_ttl),
            self._session(code, client, now),
            asserted=caller.asserted,
        )
        about = log.bounded(client_id=client.client_id, grant_id=code.grant_id)
        if redeemed is None:
            # RFC 6749 §4.1.2: a second use revokes what the first one got.
            await self._grants.end(now, "code_replayed", grant_id=code.grant_id)
            logger.warning("code_replayed", extra=about)
            raise InvalidGrant("the code was already used")
        logger.info("code_redeemed", extra=about)
        grant = redeemed.grant
        session_id = redeemed.opened.session.session_id
        lifetime = self._access_tokens.lifetime(client)
        return TokenResponse(
            client_id=grant.client_id,
            session_id=session_id,
            access_token=self._access_tokens.issue(issuer.identifier, grant, session_id, grant.scope, 0, lifetime),
            expires_in=lifetime,
            refresh_token=refresh_token,
            scope=grant.scope,
        )

    def _check(self, code: AuthorizationCode, client: Client, request: TokenRequest) -> None:
        """That the code is this client's and for this request; the code is still unused after a failure."""
        if code.client_id != client.client_id:
            raise InvalidGrant("the code was not issued to this client")
        if request.redirect_uri != code.redirect_uri:
            raise InvalidGrant("redirect_uri differs from the authorization request")
        if not pkce.matches(request.code_verifier, code.code_challenge):
            raise InvalidGrant("code_verifier does not match code_challenge")
        if request.resource and self._resources.canonical(request.resource) != code.resource:
            raise InvalidTarget("resource differs from the authorization request")

    def _session(self, code: AuthorizationCode, client: Client, now: int) -> Session:
        return Session(
            session_id=self._ambient.identifier(),
            user_id=code.user_id,
            grant_id=code.grant_id,
            cookie_hash=None,
            opened_at=now,
            last_used_at=now,
            access_expires_at=now + self._access_tokens.lifetime(client),
            generation=0,
            kept_until=self._access_tokens.kept_until(client, now),
        )
