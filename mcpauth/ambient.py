"""The clock and the random source, passed in so that tests can hold them still."""

import hashlib
import secrets
import time
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache


class Ambient:
    def now(self) -> int:
        """Epoch seconds."""
        return int(time.time())

    def instant(self) -> float:
        """Epoch seconds with their fraction, for the order of uses."""
        return time.time()

    def secret(self) -> str:
        """256 random bits, URL-safe."""
        return secrets.token_urlsafe(32)

    def hex_secret(self) -> str:
        """256 random bits as 64 hex digits."""
        return secrets.token_hex(32)

    def identifier(self) -> str:
        """Random and URL-safe: for ids that need not be secret but must not be guessed.

        It does not begin with a dash, so that it is never taken for an option on the command line.
        """
        while (made := secrets.token_urlsafe(16)).startswith("-"):
            pass
        return made


def fingerprint(secret: str) -> str:
    """What is stored in place of a secret of 128 bits or more: its SHA-256, in hex."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def iso(instant: float | None) -> str | None:
    """``instant`` for a person or a program to read, in UTC."""
    return None if instant is None else datetime.fromtimestamp(int(instant), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant() -> float:
    """As ``Ambient.instant``, for what only measures how long it took."""
    return time.time()


def http_date() -> str:
    """The time now, for a Date header (RFC 9110 §6.6.1)."""
    return _http_date(int(time.time()))


@lru_cache(1)
def _http_date(second: int) -> str:
    return formatdate(second, usegmt=True)
