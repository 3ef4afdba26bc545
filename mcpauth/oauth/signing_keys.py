"""Signing with one key, and verifying with it and with those that it has replaced (RFC 7515, RFC 7517)."""

import contextlib
import hashlib
import hmac
import json
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ..ambient import Ambient
from ..errors import InvalidToken, OperationError
from ..store.keys import KeyFiles, PrivateKey


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

    def jwk(self) -> dict[str, Any] | None:
        """The public key; None for HS256, whose key is a secret."""
        if isinstance(self._private, str):
            return None
        if isinstance(self._public, rsa.RSAPublicKey):
            text = RSAAlgorithm.to_jwk(self._public)
        elif isinstance(self._public, ec.EllipticCurvePublicKey):
            text = ECAlgorithm.to_jwk(self._public)
        else:
            text = OKPAlgorithm.to_jwk(self._public)
        key = {name: value for name, value in json.loads(text).items() if name != "key_ops"}
        return {**key, "kid": self.kid, "alg": self.algorithm, "use": "sig"}


class SigningKeys:
    """``own_secret``, of the owner's settings, is used in place of a key in a file."""

    def __init__(self, files: KeyFiles, algorithm: str, own_secret: str, ambient: Ambient) -> None:
        self._files, self._algorithm, self._own_secret, self._ambient = files, algorithm, own_secret, ambient
        files.forget_replaced(ambient.now())
        self._read()

    def _read(self) -> None:
        self._current = SigningKey(self._algorithm, self._own_secret or self._files.signing(self._algorithm))
        self._replaced: list[tuple[int, SigningKey]] = []
        if not self._own_secret:
            before = [(until, SigningKey(self._algorithm, key)) for until, key in self._files.replaced(self._algorithm)]
            # The same as the current one: it was about to be replaced, and then came a crash.
            self._replaced = [(until, key) for until, key in before if key.kid != self._current.kid]

    @property
    def current(self) -> SigningKey:
        return self._current

    def sign(self, claims: dict[str, Any]) -> str:
        return self._current.sign(claims)

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a token of ours. Times are for the caller to judge. Raises InvalidToken."""
        try:
            return self._current.verify(token)
        except InvalidToken:
            now = self._ambient.now()
            for until, key in self._replaced:
                with contextlib.suppress(InvalidToken):
                    if until > now and _expires_by(until, claims := key.verify(token)):
                        return claims
            raise

    def jwks(self) -> dict[str, list[dict[str, Any]]]:
        now = self._ambient.now()
        keys = [self._current, *(key for until, key in self._replaced if until > now)]
        return {"keys": [one for one in (key.jwk() for key in keys) if one is not None]}

    def rotate(self, until: int) -> None:
        """Sign with a new key from now on. The one before counts until then. Raises OperationError."""
        if self._own_secret:
            raise OperationError(
                "MCP_OAUTH_JWT_SECRET is the key: put another secret there, and restart. Clients then refresh "
                "their access tokens by themselves; without that setting, the key is a file that this replaces"
            )
        try:
            self._files.replace_signing(self._algorithm, until)
        except OSError as error:
            raise OperationError(f"the new key could not be written ({error.strerror}); the old one goes on") from None
        self._read()

    def forget_replaced(self, now: int) -> None:
        """Those whose time is up."""
        if any(until <= now for until, _ in self._replaced):
            self._files.forget_replaced(now)
            self._replaced = [(until, key) for until, key in self._replaced if until > now]


def _expires_by(until: int, claims: dict[str, Any]) -> bool:
    """A key that was replaced has signed nothing that is good for longer; a thief of it may have."""
    expires_at = claims.get("exp")
    return isinstance(expires_at, int) and expires_at <= until


def _kid(key: str | PrivateKey) -> str:
    """A name for the key that gives nothing of it away."""
    if isinstance(key, str):
        return hmac.digest(key.encode(), b"kid", hashlib.sha256).hex()[:16]
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()[:16]
