"""Who a client is at the token endpoint: none, basic, post (RFC 6749 §2.3) or an assertion (RFC 7523)."""

import base64
import binascii
import hmac
from typing import NamedTuple, TypeGuard
from urllib.parse import unquote_plus

from ..ambient import fingerprint
from ..errors import InvalidClient, InvalidRequest, OAuthError
from ..models.messages import ClientCredentials
from ..models.records import Client
from .client_assertion import Assertion, ClientAssertions
from .clients import Clients

UNPROVEN = "this access was given to a client with a client_assertion: nothing weaker is taken for it"

PAUSED = "the owner of this server has paused this client; it can go on when it is resumed"


class Caller(NamedTuple):
    """A client at one of our endpoints; ``asserted``: it has proven itself with a key of its own."""

    client: Client
    asserted: bool


class ClientAuthentication:
    def __init__(self, clients: Clients, assertions: ClientAssertions) -> None:
        self._clients, self._assertions = clients, assertions

    async def authenticate(self, authorization: str | None, body: ClientCredentials) -> Caller:
        """The client that ``authorization`` (the header) or ``body`` prove.

        Raises InvalidClient, and TemporarilyUnavailable. A client with a secret may send it either way, whichever
        way it registered: several do.
        """
        if body.client_assertion or body.client_assertion_type:
            return await self._by_assertion(authorization, body)
        # RFC 6749 §2.3.1 wants the two values form-encoded; many clients send them as they are.
        offers = [(body.client_id, body.client_secret)]
        if _is_basic(authorization):
            name, secret = _basic(authorization)
            if body.client_secret:
                raise InvalidRequest("the client must authenticate in one way only")
            if body.client_id and body.client_id not in (name, unquote_plus(name)):
                raise InvalidRequest("client_id differs from the Authorization header")
            offers = list(dict.fromkeys([(name, secret), (unquote_plus(name), unquote_plus(secret))]))
        if not offers[0][0]:
            raise InvalidClient("client_id is missing")
        for client_id, secret in offers:
            client = await self._clients.find_approved(client_id)
            if client is not None and _proves(client, secret):
                return Caller(client, asserted=False)
        raise InvalidClient("unknown client, or a wrong or missing client_secret or client_assertion")

    async def _by_assertion(self, authorization: str | None, body: ClientCredentials) -> Caller:
        if body.client_secret or authorization is not None:
            raise InvalidRequest("the client must authenticate in one way only")
        assertion = Assertion(body.client_assertion, body.client_assertion_type)
        if body.client_id and body.client_id != assertion.client_id:
            raise InvalidRequest("client_id differs from the client_assertion")
        client = await self._clients.find_approved(assertion.client_id)
        if client is None or client.used_at is None:
            # It holds nothing yet, so there is nothing to fetch its keys for.
            raise InvalidClient("unknown client, or nobody has approved it")
        if "private_key_jwt" not in client.metadata.auth_methods:
            raise InvalidClient("this client does not authenticate with private_key_jwt")
        await self._assertions.verify(assertion, client)
        return Caller(client, asserted=True)


def claimed(authorization: str | None, body: ClientCredentials) -> str | None:
    """Who the client says it is, which nothing has proven yet; for the trace alone."""
    if body.client_id:
        return body.client_id
    try:
        if body.client_assertion:
            return Assertion(body.client_assertion, body.client_assertion_type).client_id
        if _is_basic(authorization):
            return unquote_plus(_basic(authorization)[0]) or None
    except OAuthError:
        pass
    return None


def _is_basic(authorization: str | None) -> TypeGuard[str]:
    return authorization is not None and authorization[:6].lower() == "basic "


def _basic(authorization: str) -> tuple[str, str]:
    try:
        text = base64.b64decode(authorization[6:].strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidClient("the Authorization header cannot be read") from None
    name, colon, secret = text.partition(":")
    if not colon:
        raise InvalidClient("the Authorization header cannot be read")
    return name, secret


def _proves(client: Client, secret: str) -> bool:
    if client.secret_hash is None:
        # A public client has nothing to prove; PKCE binds its codes to it.
        return "none" in client.metadata.auth_methods
    return bool(secret) and hmac.compare_digest(fingerprint(secret), client.secret_hash)
