"""The two issuers, one server: each names its own endpoints, so that each document is self-consistent."""

from typing import NamedTuple


class Issuer(NamedTuple):
    """``identifier`` is what ``iss`` says; the paths are where its endpoints are mounted."""

    identifier: str
    origin: str
    authorization_path: str
    token_path: str
    registration_path: str
    revocation_path: str
    introspection_path: str

    def url(self, path: str) -> str:
        return self.origin + path


def issuers(origin: str, base_path: str) -> tuple[Issuer, Issuer]:
    """The issuer ``{origin}``, and ``{origin}/mcp``, the layout that this project started from."""
    return (
        Issuer(origin, origin, "/authorize", "/token", "/register", "/revoke", "/introspect"),
        Issuer(
            f"{origin}/mcp",
            origin,
            f"{base_path}/login",
            f"{base_path}/token",
            "/.well-known/oauth-registration/mcp",
            f"{base_path}/revoke",
            f"{base_path}/introspect",
        ),
    )
