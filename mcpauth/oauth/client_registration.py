"""Dynamic client registration and its management (RFC 7591, RFC 7592)."""

import hmac
import logging
from collections.abc import Mapping
from typing import Any

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import InvalidClientMetadata, InvalidRedirectURI, InvalidRequest, InvalidToken, TooManyRequests
from ..models.messages import Registration
from ..models.records import Client, ClientMetadata
from ..store.clients import ClientStore
from ..store.grants import GrantStore
from . import redirect_uri
from .issuer import Issuer
from .rate_limit import RateLimit

logger = logging.getLogger(__name__)

MOST_UNUSED = 10_000
MOST_AN_HOUR = 20
MOST_REDIRECT_URIS = 20
GRANT_TYPES = ("authorization_code", "refresh_token")
AUTH_METHODS = ("client_secret_basic", "client_secret_post", "none")
TEXTS = {"client_name": 200, "scope": 2000, "software_id": 200, "software_version": 200}
URLS = ("client_uri", "logo_uri", "tos_uri", "policy_uri")


def read_metadata(given: Mapping[str, Any]) -> ClientMetadata:
    """What of ``given`` can be registered: unknown members are ignored, empty ones are as good as absent.

    Raises InvalidRedirectURI and InvalidClientMetadata, which name the member and the position, not the value.
    """
    given = {name: value for name, value in given.items() if value not in (None, "", [])}
    values: dict[str, Any] = {"redirect_uris": _redirect_uris(given.get("redirect_uris"))}
    for name, longest in TEXTS.items():
        if name in given:
            values[name] = _text(name, given[name], longest)
    for name in URLS:
        if name in given:
            values[name] = _text(name, given[name], 2000)
            if not values[name].startswith(("https://", "http://")):
                raise InvalidClientMetadata(f"{name} must be an http or https URL")
    if "contacts" in given:
        values["contacts"] = _texts("contacts", given["contacts"])
    if "grant_types" in given:
        asked = _texts("grant_types", given["grant_types"])
        values["grant_types"] = tuple(one for one in asked if one in GRANT_TYPES)
        if "authorization_code" not in values["grant_types"]:
            raise InvalidClientMetadata("grant_types must include authorization_code")
    if "response_types" in given:
        if "code" not in _texts("response_types", given["response_types"]):
            raise InvalidClientMetadata("response_types must include code")
        values["response_types"] = ("code",)
    if "token_endpoint_auth_method" in given:
        if given["token_endpoint_auth_method"] not in AUTH_METHODS:
            raise InvalidClientMetadata(f"token_endpoint_auth_method must be one of {', '.join(AUTH_METHODS)}")
        values["token_endpoint_auth_method"] = given["token_endpoint_auth_method"]
    if given.get("application_type") in ("web", "native"):
        values["application_type"] = given["application_type"]
    return ClientMetadata(**values)


def _redirect_uris(given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or not given:
        raise InvalidRedirectURI("redirect_uris is required: a list of at least one URI")
    if len(given) > MOST_REDIRECT_URIS:
        raise InvalidRedirectURI(f"redirect_uris has more than {MOST_REDIRECT_URIS} entries")
    for position, uri in enumerate(given):
        reason = redirect_uri.problem(uri) if isinstance(uri, str) else "is not a string"
        if reason is not None:
            raise InvalidRedirectURI(f"redirect_uris[{position}] {reason}")
    return tuple(given)


def _text(name: str, given: Any, longest: int) -> str:
    if not isinstance(given, str) or not given.isprintable():
        raise InvalidClientMetadata(f"{name} must be a string of printable characters")
    if len(given) > longest:
        raise InvalidClientMetadata(f"{name} is longer than {longest} characters")
    return given


def _texts(name: str, given: Any) -> tuple[str, ...]:
    if not isinstance(given, list) or len(given) > 20:
        raise InvalidClientMetadata(f"{name} must be a list of at most 20 strings")
    return tuple(_text(f"{name}[{position}]", one, 200) for position, one in enumerate(given))


class ClientRegistration:
    def __init__(self, clients: ClientStore, grants: GrantStore, ambient: Ambient) -> None:
        self._clients, self._grants, self._ambient = clients, grants, ambient
        self._limit = RateLimit(MOST_AN_HOUR, 3600)

    async def register(self, issuer: Issuer, given: Mapping[str, Any], address: str) -> Registration:
        """RFC 7591 §3. Raises TooManyRequests, InvalidRedirectURI, InvalidClientMetadata."""
        now = self._ambient.now()
        if wait := self._limit.wait(address, now):
            raise TooManyRequests("too many registrations from this address; try again later", wait)
        metadata = read_metadata(given)
        self._limit.add(address, now)
        client, secret, token = await self.add(metadata, preregistered=False)
        about = log.fields(client_id=client.client_id, name=client.name, address=address)
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
        secret = None
        secret_hash = client.secret_hash
        if metadata.token_endpoint_auth_method == "none":
            secret_hash = None
        elif secret_hash is None:
            secret = self._secret_for(metadata)
            secret_hash = fingerprint(secret or "")
        updated = client.model_copy(update={"metadata": metadata, "secret_hash": secret_hash})
        await self._clients.replace(updated)
        logger.info("client_updated", extra=log.fields(client_id=client_id))
        return self._answer(issuer, updated, secret, token)

    async def remove(self, client_id: str, token: str) -> None:
        """RFC 7592 §2.3: everything that was issued to it ends. Raises InvalidToken."""
        await self._authenticate(client_id, token)
        await self._grants.end(self._ambient.now(), "client_removed", client_id=client_id)
        await self._clients.remove(client_id)
        logger.info("client_removed", extra=log.fields(client_id=client_id))

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
        return client

    def _secret_for(self, metadata: ClientMetadata) -> str | None:
        return None if metadata.token_endpoint_auth_method == "none" else self._ambient.hex_secret()

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
