"""The bearer check in front of every MCP endpoint (RFC 6750, RFC 9728 §5.1)."""

from collections.abc import Callable

from tornado.httputil import HTTPServerRequest

from ..errors import InsufficientScope, InvalidToken
from ..models.principal import Principal
from ..oauth import resource_metadata
from ..oauth.access_token import AccessTokens, challenge
from ..oauth.resource import Resources


class Gate:
    """``nobody`` makes the principal of every request when authorization is switched off."""

    def __init__(
        self, access_tokens: AccessTokens, resources: Resources, nobody: Callable[[], Principal] | None
    ) -> None:
        self._access_tokens, self._resources, self._nobody = access_tokens, resources, nobody

    def admit(self, request: HTTPServerRequest, backend: str | None) -> Principal:
        """Who asks, at ``/mcp`` (None) or at one backend. Raises InvalidToken and InsufficientScope."""
        if self._nobody is not None:
            return self._nobody()
        given = request.headers.get("Authorization")
        if given is None or given[:7].lower() != "bearer ":
            raise InvalidToken("an access token is needed")
        return self._access_tokens.admit(given[7:].strip(), self._resources.of(backend))

    def challenge(
        self, request: HTTPServerRequest, error: InvalidToken | InsufficientScope, backend: str | None
    ) -> str:
        """The WWW-Authenticate header. It names the error only when a token came (RFC 6750 §3.1)."""
        if backend is not None and backend not in self._resources.backends():
            backend = None
        url = resource_metadata.url(self._resources, backend)
        scope = error.scope if isinstance(error, InsufficientScope) else "mcp"
        return challenge(error if "Authorization" in request.headers else None, url, scope)
