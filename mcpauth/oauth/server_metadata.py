"""Authorization server metadata (RFC 8414 §2)."""

from ..models.messages import ServerMetadata
from . import scope
from .issuer import Issuer
from .resource import Resources


def describe(issuer: Issuer, resources: Resources) -> ServerMetadata:
    return ServerMetadata(
        issuer=issuer.identifier,
        authorization_endpoint=issuer.url(issuer.authorization_path),
        token_endpoint=issuer.url(issuer.token_path),
        registration_endpoint=issuer.url(issuer.registration_path),
        revocation_endpoint=issuer.url(issuer.revocation_path),
        introspection_endpoint=issuer.url(issuer.introspection_path),
        jwks_uri=issuer.url("/jwks"),
        scopes_supported=scope.all_of(resources.backends()),
        service_documentation=f"{issuer.origin}/",
    )
