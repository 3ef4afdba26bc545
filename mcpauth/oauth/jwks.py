"""The public keys of clients (RFC 7517): which are good enough, and which one an assertion is signed with."""

import binascii
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..errors import DocumentError, InvalidClientMetadata

MOST_KEYS = 20
LONGEST_MEMBER = 8192
WEAKEST_RSA, LARGEST_RSA = 2048, 8192
# What a signature is checked with (RFC 7517 §4, RFC 7518 §6); the rest of a key may be anything, and is left out.
NEEDED = ("kty", "use", "alg", "kid", "crv", "x", "y", "n", "e")
PRIVATE = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
JWK = Mapping[str, Any]


def read(given: Any) -> list[JWK]:
    """The keys of the JWK set ``given``. Raises InvalidClientMetadata."""
    keys = given.get("keys") if isinstance(given, dict) else None
    if not isinstance(keys, list) or not 0 < len(keys) <= MOST_KEYS:
        raise InvalidClientMetadata(f"jwks must be a JWK set of 1 to {MOST_KEYS} keys")
    return [_read_key(position, key) for position, key in enumerate(keys)]


def _read_key(position: int, key: Any) -> JWK:
    if not isinstance(key, dict):
        raise InvalidClientMetadata(f"jwks.keys[{position}] is not a JWK")
    if PRIVATE & key.keys():
        raise InvalidClientMetadata(f"jwks.keys[{position}] is not a public key: replace it, it is not secret now")
    needed = {name: key[name] for name in NEEDED if name in key}
    if not all(isinstance(one, str) and one.isprintable() and len(one) <= LONGEST_MEMBER for one in needed.values()):
        raise InvalidClientMetadata(f"jwks.keys[{position}] is not a JWK")
    return needed


def read_published(uri: str, given: Any) -> list[JWK]:
    """The keys that were fetched from ``uri``. Raises DocumentError."""
    try:
        return read(given)
    except InvalidClientMetadata as error:
        raise DocumentError(error.description) from None


def fitting(keys: Sequence[JWK], kid: str | None, algorithm: str) -> list[Key]:
    """The keys that may have made a signature by ``algorithm``; all that fit where it names none."""
    return [
        key
        for jwk in keys
        if (kid is None or jwk.get("kid") == kid)
        and jwk.get("alg", algorithm) == algorithm
        and jwk.get("use", "sig") == "sig"
        and (key := _load(jwk, algorithm)) is not None
    ]


def _load(jwk: JWK, algorithm: str) -> Key | None:
    """The key, when it is one for ``algorithm`` and not a weak one."""
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError, binascii.Error):
        return None
    if algorithm == "RS256" and isinstance(key, rsa.RSAPublicKey):
        return key if WEAKEST_RSA <= key.key_size <= LARGEST_RSA else None
    if algorithm == "ES256" and isinstance(key, ec.EllipticCurvePublicKey):
        return key if isinstance(key.curve, ec.SECP256R1) else None
    if algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey):
        return key
    return None
