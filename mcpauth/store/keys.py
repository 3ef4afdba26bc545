"""Keys: files beside the database, so that a copy of the database alone lets nobody in."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..ambient import Ambient
from ..errors import SettingsError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyFiles:
    """Each key is made at its first use, with mode 0600.

    A signing key that was replaced stays for a while as ``NAME.UNTIL.key``, until that second.
    """

    def __init__(self, directory: Path, ambient: Ambient) -> None:
        self._directory, self._ambient = directory, ambient

    def secret(self, name: str) -> str:
        """256 random bits in hex, from the file ``name.key``."""
        text = self._read(name)
        if text is None:
            text = self._write(name, self._new_secret())
        value = text.decode("ascii", "replace").strip()
        if len(value) < 64:
            raise SettingsError(f"{self._path(name)} is damaged: put it back from a backup, or delete it")
        return value

    def private_key(self, algorithm: str) -> PrivateKey:
        """The signing key for RS256, ES256 or EdDSA, from the file ``signing-ALGORITHM.key``."""
        return self._private_key(_signing_name(algorithm), algorithm)

    def signing(self, algorithm: str) -> str | PrivateKey:
        """What access tokens are signed with: a secret for HS256, a private key for the others."""
        return self.secret("jwt") if algorithm == "HS256" else self.private_key(algorithm)

    def replace_signing(self, algorithm: str, until: int) -> None:
        """Another signing key. The one before can be found until then, whenever this is cut off."""
        self.signing(algorithm)
        name = _signing_name(algorithm)
        while self._path(f"{name}.{until}").exists():
            until += 1
        self._write(f"{name}.{until}", self._path(name).read_bytes())
        self._write(name, self._new_secret() if algorithm == "HS256" else _generate(algorithm))

    def replaced(self, algorithm: str) -> Iterator[tuple[int, str | PrivateKey]]:
        """The signing keys that were replaced, and until when each counts."""
        for until, name in self._replaced(_signing_name(algorithm)):
            yield until, self.secret(name) if algorithm == "HS256" else self._private_key(name, algorithm)

    def forget_replaced(self, now: int) -> None:
        for until, name in (*self._replaced("jwt"), *self._replaced("signing-*")):
            if until <= now:
                self._path(name).unlink(missing_ok=True)

    def _replaced(self, of: str) -> list[tuple[int, str]]:
        names = [path.name.removesuffix(".key") for path in self._directory.glob(f"{of}.*.key")]
        untils = {name: name.rpartition(".")[2] for name in names}
        return sorted((int(until), name) for name, until in untils.items() if until.isdecimal())

    def _private_key(self, name: str, algorithm: str) -> PrivateKey:
        pem = self._read(name)
        if pem is None:
            pem = self._write(name, _generate(algorithm))
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except ValueError:
            key = None
        if not isinstance(key, PrivateKey):
            raise SettingsError(f"{self._path(name)} is damaged: put it back from a backup, or delete it")
        return key

    def _new_secret(self) -> bytes:
        return self._ambient.hex_secret().encode() + b"\n"

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.key"

    def _read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, content: bytes) -> bytes:
        # Written beside and renamed: a crash must not leave half a key, nor take one back that was used.
        temporary = self._directory / f".{name}.key.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(name))
        if os.name == "posix":
            directory = os.open(self._directory, os.O_RDONLY)
            try:
                # Not every file system can: the key is there by now, and must count as that.
                with suppress(OSError):
                    os.fsync(directory)
            finally:
                os.close(directory)
        return content


def _signing_name(algorithm: str) -> str:
    return "jwt" if algorithm == "HS256" else f"signing-{algorithm.lower()}"


def _generate(algorithm: str) -> bytes:
    key: PrivateKey
    if algorithm == "RS256":
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    elif algorithm == "ES256":
        key = ec.generate_private_key(ec.SECP256R1())
    else:
        key = ed25519.Ed25519PrivateKey.generate()
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
