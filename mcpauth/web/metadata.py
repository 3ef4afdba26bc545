"""The documents that clients find everything by (RFC 8414, RFC 9728, RFC 7517)."""

from typing import Any

from tornado import web

from ..oauth import resource_metadata, server_metadata
from ..oauth.issuer import Issuer
from ..oauth.resource import Resources
from ..oauth.signing_keys import SigningKeys
from .base import JSONHandler


class DocumentHandler(JSONHandler):
    """A public document: for any origin, and for five minutes of any cache."""

    cors = True
    step = "discovery"

    def document(self, *args: str) -> dict[str, Any]:
        raise NotImplementedError

    def get(self, *args: str) -> None:
        body = self.document(*args)
        self.set_header("Cache-Control", "public, max-age=300")
        self.write_json(body)

    def head(self, *args: str) -> None:
        self.get(*args)


class ServerMetadataHandler(DocumentHandler):
    def initialize(self, issuer: Issuer, resources: Resources) -> None:
        self._issuer, self._resources = issuer, resources

    def document(self, *args: str) -> dict[str, Any]:
        return server_metadata.describe(self._issuer, self._resources).model_dump()


class ResourceMetadataHandler(DocumentHandler):
    def initialize(self, resources: Resources) -> None:
        self._resources = resources

    def document(self, *args: str) -> dict[str, Any]:
        backend = args[0] if args else None
        if backend is not None and backend not in self._resources.backends():
            raise web.HTTPError(404)
        return resource_metadata.describe(self._resources, self._resources.of(backend), backend).model_dump()


class SseMetadataHandler(ResourceMetadataHandler):
    """Clients hold the resource against the address that they were given."""

    def document(self, *args: str) -> dict[str, Any]:
        return resource_metadata.describe(self._resources, self._resources.sse).model_dump()


class JWKSHandler(DocumentHandler):
    def initialize(self, signing_keys: SigningKeys) -> None:
        self._signing_keys = signing_keys

    def document(self, *args: str) -> dict[str, Any]:
        return self._signing_keys.jwks()


class NoDocumentHandler(DocumentHandler):
    """A well-known name that some clients try first: a clean 404 sends them on, and is nothing for the log."""

    def get(self, *args: str) -> None:
        self.send_error(404)
