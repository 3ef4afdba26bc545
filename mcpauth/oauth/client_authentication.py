"""Who a client is at the token endpoint: none, basic or post (RFC 6749 §2.3)."""

import base64
import binascii
import hmac
from urllib.parse import unquote_plus

from ..ambient import fingerprint
from ..errors import InvalidClient, InvalidRequest
from ..models.messages import ClientCredentials
from ..models.records import Client
from ..store.clients import ClientStore


class ClientAuthentication:
    def __init__(self, clients: ClientStore) -> None:
        self._clients = clients

    async def authenticate(self, authorization: str | None, body: ClientCredentials) -> Client:
        """The client that ``authorization`` (the header) or ``body`` prove. Raises InvalidClient.

        A client with a secret may send it either way, whichever way it registered: several do.
        """
        # RFC 6749 §2.3.1 wants the two values form-encoded; many clients send them as they are.
        offers = [(body.client_id, body.client_secret)]
        if authorization is not None and authorization[:6].lower() == "basic ":
            name, secret = _basic(authorization)
            if body.client_secret:
                raise InvalidRequest("the client must authenticate in one way only")
            if body.client_id and body.client_id not in (name, unquote_plus(name)):
                raise InvalidRequest("client_id differs from the Authorization header")
            offers = list(dict.fromkeys([(name, secret), (unquote_plus(name), unquote_plus(secret))]))
        if not offers[0][0]:
            raise InvalidClient("client_id is missing")
        for client_id, secret in offers:
            client = await self._clients.find(client_id)
            if client is not None and _proves(client, secret):
                return client
        raise InvalidClient("unknown client, or a wrong or missing client_secret")


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
        return True
    return bool(secret) and hmac.compare_digest(fingerprint(secret), client.secret_hash)
