"""Signing and verifying with the one key that is configured (RFC 7515, RFC 7517)."""

import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ..errors import InvalidToken
from ..store.keys import PrivateKey


class SigningKey:
    """``key`` is a secret for HS256, otherwise a private key of the algorithm's kind."""

    def __init__(self, algorithm: str, key: str | PrivateKey) -> None:
        self.algorithm = algorithm
        self._private: Any = key
        self._public: Any = key if isinstance(key, str) else key.public_key()
        self.kid = _kid(key)

    def sign(self, claims: dict[str, Any]) -> str:
        # RFC 9068 §2.1: the type keeps other JWTs of ours from being taken for an access token.
        headers = {"typ": "at+jwt", "kid": self.kid}
        return jwt.encode(claims, self._private, algorithm=self.algorithm, headers=headers)

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token of ours. Times are for the caller to judge. Raises InvalidToken."""
        try:
            decoded = jwt.decode_complete(
                token,
                self._public,
                # Pinned: the token's own header never chooses the algorithm (RFC 8725 §3.1).
                algorithms=[self.algorithm],
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_aud": False},
            )
        except jwt.PyJWTError:
            raise InvalidToken("the access token is not valid") from None
        header = decoded["header"]
        if header.get("typ") != "at+jwt" or header.get("kid") != self.kid:
            raise InvalidToken("the access token is not valid")
        claims: dict[str, Any] = decoded["payload"]
        return claims

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        """The public key; empty for HS256, whose key is a secret."""
        if isinstance(self._private, str):
            return {"keys": []}
        if isinstance(self._public, rsa.RSAPublicKey):
            text = RSAAlgorithm.to_jwk(self._public)
        elif isinstance(self._public, ec.EllipticCurvePublicKey):
            text = ECAlgorithm.to_jwk(self._public)
        else:
            text = OKPAlgorithm.to_jwk(self._public)
        key = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
        return {"keys": [{**key, "kid": self.kid, "alg": self.algorithm, "use": "sig"}]}


def _kid(key: str | PrivateKey) -> str:
    """A name for the key that gives nothing of it away."""
    if isinstance(key, str):
        return hmac.digest(key.encode(), b"kid", hashlib.sha256).hex()[:16]
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:16]
