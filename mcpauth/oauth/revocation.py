"""Ending and inspecting tokens (RFC 7009, RFC 7662)."""

import logging
from typing import NamedTuple

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import InvalidClient, InvalidRequest
from ..models.messages import ClientCredentials, Introspection, RevocationRequest
from ..models.records import Client, Grant
from ..store.grants import GrantStore
from ..store.refresh_tokens import RefreshTokenStore
from ..store.sessions import SessionStore
from .access_token import AccessTokens
from .client_authentication import UNPROVEN, ClientAuthentication
from .refresh_token import GRACE

logger = logging.getLogger(__name__)

INACTIVE = Introspection(active=False)


class Revoked(NamedTuple):
    """Whose access has ended; ``session_id`` where there was a session."""

    client_id: str
    session_id: str | None


class Revocation:
    def __init__(
        self,
        authentication: ClientAuthentication,
        access_tokens: AccessTokens,
        refresh_tokens: RefreshTokenStore,
        grants: GrantStore,
        sessions: SessionStore,
        ambient: Ambient,
    ) -> None:
        self._authentication, self._access_tokens, self._refresh_tokens = authentication, access_tokens, refresh_tokens
        self._grants, self._sessions, self._ambient = grants, sessions, ambient

    async def revoke(
        self, authorization: str | None, credentials: ClientCredentials, request: RevocationRequest
    ) -> Revoked | None:
        """End the grant that the token belongs to, with everything that came from it (RFC 7009 §2.1).

        A token that is unknown, or another client's, changes nothing and looks the same to the client (§2.2): None.
        """
        client, asserted = await self._authentication.authenticate(authorization, credentials)
        if not request.token:
            raise InvalidRequest("token is missing")
        grant = await self._grant_of(request.token, client)
        if grant is None or grant.ended_at is not None:
            return None
        if grant.asserted and not asserted:
            raise InvalidClient(UNPROVEN)
        session_id = self._session_of(grant)
        await self._grants.end(self._ambient.now(), "revoked_by_client", grant_id=grant.grant_id)
        logger.info("grant_revoked", extra=log.fields(client_id=client.client_id, grant_id=grant.grant_id))
        return Revoked(client.client_id, session_id)

    def _session_of(self, grant: Grant) -> str | None:
        live = self._sessions.list_live(self._ambient.instant(), grant.user_id)
        return next((one.record.session_id for one in live if one.record.grant_id == grant.grant_id), None)

    async def _grant_of(self, token: str, client: Client) -> Grant | None:
        found = await self._refresh_tokens.find_grant(fingerprint(token))
        if found is not None:
            return found.grant if found.grant.client_id == client.client_id else None
        claims = self._access_tokens.read(token)
        if claims is None or claims.client_id != client.client_id:
            return None
        live = self._sessions.find(claims.sid, self._ambient.instant())
        return None if live is None else live.grant

    async def introspect(
        self, authorization: str | None, credentials: ClientCredentials, request: RevocationRequest
    ) -> Introspection:
        """What a live token of the asking client says (RFC 7662 §2); nothing of any other.

        Raises InvalidClient for a client that proves nothing: anybody could ask in its name.
        """
        client, asserted = await self._authentication.authenticate(authorization, credentials)
        if client.secret_hash is None and not asserted:
            raise InvalidClient("introspection needs a client with a secret or a key")
        if not request.token:
            raise InvalidRequest("token is missing")
        claims = self._access_tokens.inspect(request.token)
        if claims is not None:
            if claims.client_id != client.client_id:
                return INACTIVE
            return Introspection(active=True, token_type="Bearer", **claims.model_dump())
        found = await self._refresh_tokens.find_grant(fingerprint(request.token))
        if found is None:
            return INACTIVE
        grant, now = found.grant, self._ambient.now()
        replaced = found.superseded_at is not None and found.superseded_at + GRACE < now
        over = grant.ended_at is not None or grant.paused_at is not None or found.expires_at <= now or replaced
        if grant.client_id != client.client_id or over:
            return INACTIVE
        return Introspection(
            active=True,
            client_id=grant.client_id,
            sub=grant.user_id,
            aud=grant.resource,
            scope=grant.scope,
            exp=found.expires_at,
        )
