"""The token endpoint: the steps that every grant type shares (RFC 6749 §3.2)."""

from typing import Protocol

from ..errors import InvalidRequest, TemporarilyUnavailable, UnsupportedGrantType
from ..models.messages import ClientCredentials, TokenRequest, TokenResponse
from .client_authentication import PAUSED, Caller, ClientAuthentication
from .issuer import Issuer


class GrantType(Protocol):
    grant_type: str

    async def exchange(self, issuer: Issuer, caller: Caller, request: TokenRequest) -> TokenResponse: ...


class TokenEndpoint:
    """Grant types cannot forget a shared step, because they never run it themselves."""

    def __init__(self, authentication: ClientAuthentication, grant_types: list[GrantType]) -> None:
        self._authentication = authentication
        self._grant_types = {one.grant_type: one for one in grant_types}

    async def exchange(
        self, issuer: Issuer, authorization: str | None, credentials: ClientCredentials, request: TokenRequest
    ) -> TokenResponse:
        caller = await self._authentication.authenticate(authorization, credentials)
        if caller.client.paused_at is not None:
            # Not invalid_client, after which it would forget what it holds.
            raise TemporarilyUnavailable(PAUSED)
        if not request.grant_type:
            raise InvalidRequest("grant_type is missing")
        grant_type = self._grant_types.get(request.grant_type)
        if grant_type is None:
            raise UnsupportedGrantType("grant_type must be authorization_code or refresh_token")
        return await grant_type.exchange(issuer, caller, request)
