"""Dynamic client registration and its management (RFC 7591, RFC 7592)."""

import hmac
import logging
from collections.abc import Mapping
from typing import Any

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import InvalidRequest, InvalidToken, TemporarilyUnavailable, TooManyRequests
from ..models.messages import Registration
from ..models.records import Client, ClientMetadata
from ..store.clients import ClientStore
from ..store.grants import GrantStore
from .client_authentication import PAUSED
from .client_metadata import read_metadata
from .issuer import Issuer
from .pairing import Pairing
from .rate_limit import RateLimit

logger = logging.getLogger(__name__)

MOST_UNUSED = 10_000
MOST_AN_HOUR = 20


class ClientRegistration:
    def __init__(self, clients: ClientStore, grants: GrantStore, pairing: Pairing, ambient: Ambient) -> None:
        self._clients, self._grants, self._pairing, self._ambient = clients, grants, pairing, ambient
        self._limit = RateLimit(MOST_AN_HOUR, 3600)

    async def register(self, issuer: Issuer, given: Mapping[str, Any], address: str) -> Registration:
        """RFC 7591 §3. Raises TooManyRequests, InvalidRedirectURI, InvalidClientMetadata."""
        now = self._ambient.now()
        if wait := self._limit.wait(address, now):
            raise TooManyRequests("too many registrations from this address; try again later", wait)
        metadata = read_metadata(given)
        self._pairing.check_registration(metadata)
        self._limit.add(address, now)
        client, secret, token = await self.add(metadata, preregistered=False)
        about = log.bounded(client_id=client.client_id, name=client.name, address=address)
        logger.info("client_registered", extra=about)
        return self._answer(issuer, client, secret, token)

    async def add(self, metadata: ClientMetadata, *, preregistered: bool) -> tuple[Client, str | None, str]:
        """A new client, its secret when it has one, and its registration access token."""
        secret = self._secret_for(metadata)
        token = self._ambient.secret()
        milliseconds = int(self._ambient.instant() * 1000)
        client = Client(
            client_id=f"mcp_client_{milliseconds}_{self._ambient.hex_secret()[:16]}",
            metadata=metadata,
            secret_hash=fingerprint(secret) if secret else None,
            registration_token_hash=fingerprint(token),
            preregistered=preregistered,
            created_at=self._ambient.now(),
            used_at=None,
        )
        await self._clients.add(client, MOST_UNUSED)
        return client, secret, token

    async def read(self, issuer: Issuer, client_id: str, token: str) -> Registration:
        """RFC 7592 §2.1. Raises InvalidToken."""
        # RFC 7592 §3 wants the token in the answer; the one that came is all there is of it.
        return self._answer(issuer, await self._authenticate(client_id, token), None, token)

    async def update(self, issuer: Issuer, client_id: str, token: str, given: Mapping[str, Any]) -> Registration:
        """RFC 7592 §2.2: what is not given is removed. Raises InvalidToken and the errors of register."""
        client = await self._authenticate(client_id, token)
        if given.get("client_id") != client_id:
            raise InvalidRequest("client_id must be that of the registration")
        shown = given.get("client_secret")
        if shown and (client.secret_hash is None or fingerprint(str(shown)) != client.secret_hash):
            raise InvalidRequest("client_secret must be that of the registration, or be left out")
        metadata = read_metadata(given)
        self._pairing.check_registration(metadata)
        secret = None
        secret_hash = client.secret_hash
        if not _has_secret(metadata):
            secret_hash = None
        elif secret_hash is None:
            secret = self._secret_for(metadata)
            secret_hash = fingerprint(secret or "")
        updated = client.model_copy(update={"metadata": metadata, "secret_hash": secret_hash})
        await self._clients.replace(updated)
        logger.info("client_updated", extra=log.bounded(client_id=client_id))
        return self._answer(issuer, updated, secret, token)

    async def remove(self, client_id: str, token: str) -> None:
        """RFC 7592 §2.3: everything that was issued to it ends. Raises InvalidToken."""
        await self._authenticate(client_id, token)
        await self._grants.end(self._ambient.now(), "client_removed", client_id=client_id)
        await self._clients.remove(client_id)
        logger.info("client_removed", extra=log.bounded(client_id=client_id))

    async def origins(self, client_id: str) -> frozenset[str]:
        """The https origins that the client's redirect URIs are at."""
        client = await self._clients.find(client_id)
        uris = client.metadata.redirect_uris if client else ()
        return frozenset("/".join(uri.split("/")[:3]).lower() for uri in uris if uri.startswith("https://"))

    async def _authenticate(self, client_id: str, token: str) -> Client:
        client = await self._clients.find(client_id)
        known = client.registration_token_hash if client else None
        if client is None or known is None or not hmac.compare_digest(fingerprint(token), known):
            raise InvalidToken("the registration access token is not valid for this client")
        if client.paused_at is not None:
            raise TemporarilyUnavailable(PAUSED)
        return client

    def _secret_for(self, metadata: ClientMetadata) -> str | None:
        return self._ambient.hex_secret() if _has_secret(metadata) else None

    @staticmethod
    def _answer(issuer: Issuer, client: Client, secret: str | None, token: str | None) -> Registration:
        return Registration(
            client_id=client.client_id,
            client_secret=secret,
            client_id_issued_at=client.created_at,
            client_secret_expires_at=None if client.secret_hash is None else 0,
            registration_access_token=token,
            registration_client_uri=f"{issuer.url(issuer.registration_path)}/{client.client_id}",
            metadata=client.metadata.model_dump(mode="json", exclude_none=True),
        )


def _has_secret(metadata: ClientMetadata) -> bool:
    return metadata.token_endpoint_auth_method.startswith("client_secret_")
