"""Protected resource metadata (RFC 9728 §2)."""

from ..models.messages import ResourceMetadata
from .resource import Resources
from .scope import RESOURCE_SCOPES


def describe(resources: Resources, backend: str | None) -> ResourceMetadata:
    """Of all backends (None), or of one."""
    return ResourceMetadata(
        resource=resources.of(backend),
        authorization_servers=[resources.origin],
        scopes_supported=list(RESOURCE_SCOPES),
        resource_name="mcpauth" if backend is None else f"mcpauth: {backend}",
    )


def url(resources: Resources, backend: str | None) -> str:
    """Where that document is: the path of the resource after the well-known name (RFC 9728 §3.1)."""
    path = resources.of(backend).removeprefix(resources.origin)
    return f"{resources.origin}/.well-known/oauth-protected-resource{path}"
