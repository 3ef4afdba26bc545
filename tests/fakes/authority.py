"""Plays a certificate authority: its certificates count for whoever has the context it makes, and for nobody else."""

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

DAY = timedelta(days=1)


class Authority:
    """``folder`` is for the files that the ssl module wants."""

    def __init__(self, folder: Path, name: str = "Let's Pretend") -> None:
        self._folder, self._key = folder, ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)])
        self.certificate = self._sign(self._name, self._key, 365 * DAY).sign(self._key, hashes.SHA256())

    @property
    def trusted(self) -> ssl.SSLContext:
        """For a client that takes what this authority has signed."""
        pem = self.certificate.public_bytes(serialization.Encoding.PEM).decode()
        return ssl.create_default_context(cadata=pem)

    def write(self) -> Path:
        """A file for SSL_CERT_FILE: whoever has that trusts this authority alone."""
        pem = self._folder / "authority.pem"
        pem.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return pem

    def server(self, host: str, good_for: timedelta = 60 * DAY + timedelta(hours=1)) -> ssl.SSLContext:
        """For a server that has a certificate for ``host``."""
        key = ec.generate_private_key(ec.SECP256R1())
        about = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
        names = x509.SubjectAlternativeName([x509.DNSName(host)])
        made = self._sign(about, key, good_for).add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        pem = self._folder / f"{host}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pem)
        return context

    def _sign(self, about: x509.Name, key: ec.EllipticCurvePrivateKey, good_for: timedelta) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        is_own = about == self._name
        own_id = x509.SubjectKeyIdentifier.from_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(about)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - 400 * DAY)
            .not_valid_after(now + good_for)
            .add_extension(x509.BasicConstraints(ca=is_own, path_length=None), critical=True)
            .add_extension(
                own_id if is_own else x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own_id),
                critical=False,
            )
            .add_extension(_USAGE if is_own else _LEAF_USAGE, critical=True)
        )


def _usage(**allowed: bool) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: allowed.get(name, False) for name in every})


_USAGE, _LEAF_USAGE = _usage(key_cert_sign=True, crl_sign=True), _usage(digital_signature=True)
