"""Clients that prove themselves with a key of theirs: private_key_jwt (RFC 7523 §3, OpenID Connect Core §9)."""

from collections.abc import Sequence
from typing import Any

import jwt

from ..ambient import Ambient, fingerprint
from ..errors import DocumentError, InvalidClient, InvalidRequest, TemporarilyUnavailable
from ..models.messages import SIGNING_ALGORITHMS
from ..models.records import Client
from ..store.used_once import UsedOnceStore
from . import jwks
from .remote_documents import SHORTEST, RemoteDocuments

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
LONGEST = 16 * 1024
SKEW = 60
LONGEST_LIFE = 3600
STALE_TTL = 7 * 86400


class Assertion:
    """An assertion as it came; nothing in it is to be believed before ``ClientAssertions.verify``."""

    def __init__(self, text: str, assertion_type: str) -> None:
        """Raises InvalidRequest and InvalidClient."""
        if assertion_type != ASSERTION_TYPE:
            raise InvalidRequest(f"client_assertion_type must be {ASSERTION_TYPE}")
        if len(text) > LONGEST:
            raise InvalidClient("the client_assertion is too long")
        try:
            decoded = jwt.decode_complete(text, options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _refused("cannot be read") from None
        self.text, self.header, self.claims = text, decoded["header"], decoded["payload"]
        if "crit" in self.header:
            raise _refused("has headers that are not understood here")
        algorithm = self.header.get("alg")
        if algorithm not in SIGNING_ALGORITHMS:
            raise _refused(f"must be signed with one of {', '.join(SIGNING_ALGORITHMS)}")
        self.algorithm: str = algorithm
        kid = self.header.get("kid")
        self.kid = kid if isinstance(kid, str) else None
        subject = self.claims.get("sub")
        if not isinstance(subject, str) or not subject.isprintable() or self.claims.get("iss") != subject:
            raise _refused("must have the client_id as iss and as sub")
        self.client_id = subject


class ClientAssertions:
    """``audiences``: what an assertion may be made out to, the issuers and their token endpoints."""

    def __init__(
        self,
        keys: RemoteDocuments[list[jwks.JWK]],
        used_once: UsedOnceStore,
        audiences: frozenset[str],
        ambient: Ambient,
    ) -> None:
        self._keys, self._used_once, self._audiences, self._ambient = keys, used_once, audiences, ambient

    async def verify(self, assertion: Assertion, client: Client) -> None:
        """That ``client`` made the assertion, for us, now and for once.

        Raises InvalidClient; TemporarilyUnavailable when its keys cannot be had, on which nobody forgets a client.
        """
        metadata = client.metadata
        if metadata.token_endpoint_auth_signing_alg not in (None, assertion.algorithm):
            raise _refused("is not signed with the algorithm that the client names")
        self._check_claims(assertion.claims)
        if metadata.jwks is not None:
            keys: Sequence[jwks.JWK] = metadata.jwks["keys"]
            fits = jwks.fitting(keys, assertion.kid, assertion.algorithm)
        elif metadata.jwks_uri is not None:
            fits = await self._published(metadata.jwks_uri, assertion)
        else:
            raise _refused("cannot be checked: the client has no keys")
        if not any(_signed(assertion, key) for key in fits):
            raise _refused("is not signed with a key of the client")
        jti, expires_at = assertion.claims["jti"], int(assertion.claims["exp"]) + SKEW + 1
        if not await self._used_once.use(fingerprint(f"assertion {client.client_id} {jti}"), expires_at):
            raise _refused("was used before")

    async def _published(self, uri: str, assertion: Assertion) -> list[jwks.Key]:
        """The client's keys that fit; where none does it may be new, so they are fetched again, if not too soon."""
        try:
            document = await self._keys.get(uri)
            fits = jwks.fitting(document.content, assertion.kid, assertion.algorithm)
            if fits:
                return fits
            document = await self._keys.get(uri, max_age=SHORTEST)
        except DocumentError as error:
            raise TemporarilyUnavailable(f"the keys at the client's jwks_uri cannot be had: {error.reason}") from None
        fits = jwks.fitting(document.content, assertion.kid, assertion.algorithm)
        if not fits and document.fetched_at < self._ambient.now():
            raise TemporarilyUnavailable("the client's keys may have changed, and cannot be fetched again yet")
        return fits

    def _check_claims(self, claims: dict[str, Any]) -> None:
        now = self._ambient.now()
        audience = claims.get("aud")
        if isinstance(audience, list) and len(audience) == 1:
            # More than one would let the other one use it here.
            audience = audience[0]
        if not isinstance(audience, str) or audience not in self._audiences:
            raise _refused("must have this issuer, or its token endpoint, as its one aud")
        jti = claims.get("jti")
        if not isinstance(jti, str) or not jti.isprintable() or not 0 < len(jti) <= 500:
            raise _refused("must have a jti")
        times = {name: claims[name] for name in ("exp", "iat", "nbf") if name in claims}
        if any(not isinstance(time, int | float) or not abs(time) < 2**53 for time in times.values()):
            raise _refused("has times that are not numbers")
        if "exp" not in times or times["exp"] + SKEW <= now:
            raise _refused("has expired, or does not say when")
        if times["exp"] > now + LONGEST_LIFE + SKEW:
            raise _refused(f"must expire within {LONGEST_LIFE} seconds")
        if max(times.get("iat", 0), times.get("nbf", 0)) > now + SKEW:
            raise _refused("is from the future: compare the clocks")


def _signed(assertion: Assertion, key: jwks.Key) -> bool:
    try:
        jwt.decode(
            assertion.text,
            key,
            algorithms=[assertion.algorithm],
            # Its times are judged by our clock, and its audience by our names, in _check_claims.
            options={
                "verify_exp": False,
                "verify_iat": False,
                "verify_nbf": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except (jwt.PyJWTError, ValueError):
        return False
    return True


def _refused(reason: str) -> InvalidClient:
    return InvalidClient(f"the client_assertion {reason}")
