"""Keys: files beside the database, so that a copy of the database alone lets nobody in."""

import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from ..ambient import Ambient
from ..errors import SettingsError

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class KeyFiles:
    """Each key is made at its first use, with mode 0600."""

    def __init__(self, directory: Path, ambient: Ambient) -> None:
        self._directory, self._ambient = directory, ambient

    def secret(self, name: str) -> str:
        """256 random bits in hex, from the file ``name.key``."""
        text = self._read(name)
        if text is None:
            text = self._create(name, self._ambient.hex_secret().encode() + b"\n")
        value = text.decode("ascii", "replace").strip()
        if len(value) < 64:
            raise SettingsError(f"{self._path(name)} is damaged: put it back from a backup, or delete it")
        return value

    def private_key(self, algorithm: str) -> PrivateKey:
        """The signing key for RS256, ES256 or EdDSA, from the file ``signing-ALGORITHM.key``."""
        name = f"signing-{algorithm.lower()}"
        pem = self._read(name)
        if pem is None:
            pem = self._create(name, _generate(algorithm))
        try:
            key = serialization.load_pem_private_key(pem, password=None)
        except ValueError:
            key = None
        if not isinstance(key, PrivateKey):
            raise SettingsError(f"{self._path(name)} is damaged: put it back from a backup, or delete it")
        return key

    def _path(self, name: str) -> Path:
        return self._directory / f"{name}.key"

    def _read(self, name: str) -> bytes | None:
        try:
            return self._path(name).read_bytes()
        except FileNotFoundError:
            return None

    def _create(self, name: str, content: bytes) -> bytes:
        # Written beside and renamed: a crash must not leave half a key.
        temporary = self._directory / f".{name}.key.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path(name))
        return content


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
