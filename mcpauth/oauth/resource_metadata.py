"""Protected resource metadata (RFC 9728 §2)."""

from ..models.messages import ResourceMetadata
from .resource import Resources
from .scope import RESOURCE_SCOPES


def describe(resources: Resources, resource: str, backend: str | None = None) -> ResourceMetadata:
    """``resource`` is all backends, or ``backend`` alone."""
    return ResourceMetadata(
        resource=resource,
        authorization_servers=[resources.origin],
        scopes_supported=list(RESOURCE_SCOPES),
        resource_name="mcpauth" if backend is None else f"mcpauth: {backend}",
    )


def url(resources: Resources, resource: str) -> str:
    """Where that document is: the path of the resource after the well-known name (RFC 9728 §3.1)."""
    return f"{resources.origin}/.well-known/oauth-protected-resource{resource.removeprefix(resources.origin)}"
