"""Who may come in at an MCP endpoint: the bearer check, its challenge, and the Origin check."""

from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

from ..errors import AccessDenied, InsufficientScope, InvalidToken, MissingToken
from ..models.principal import Principal
from ..oauth import redirect_uri, resource_metadata
from ..oauth.access_token import AccessTokens, challenge
from ..oauth.client_registration import ClientRegistration
from ..oauth.resource import Resources


class Gate:
    """``nobody`` makes the principal of every request when authorization is switched off."""

    def __init__(
        self,
        access_tokens: AccessTokens,
        registration: ClientRegistration,
        resources: Resources,
        allowed_origins: Sequence[str],
        nobody: Callable[[], Principal] | None,
    ) -> None:
        self._access_tokens, self._registration, self._resources = access_tokens, registration, resources
        self._allowed_origins = frozenset(one.rstrip("/").lower() for one in allowed_origins)
        self._nobody = nobody

    def admit(self, request: HTTPServerRequest, backend: str | None) -> Principal:
        """Who asks, at ``/mcp`` (None) or at one backend. Raises InvalidToken, InsufficientScope and AccessDenied."""
        if self._nobody is not None:
            # tailscaled sets it, and takes it away from all that does not come through Funnel.
            if "Tailscale-Funnel-Request" in request.headers:
                raise AccessDenied(
                    "authorization is off here, so nothing is taken from the internet (Tailscale Funnel)"
                )
            return self._nobody()
        token = _bearer(request)
        if not token:
            raise MissingToken("an access token is needed")
        return self._access_tokens.admit(token, self._resources.of(backend))

    def session_of(self, request: HTTPServerRequest) -> str | None:
        """The session that the token names, for the trace: it is ours, but it may have expired or ended."""
        claims = self._access_tokens.read(_bearer(request))
        return claims.sid if claims is not None else None

    def challenge(
        self, request: HTTPServerRequest, error: InvalidToken | InsufficientScope, backend: str | None
    ) -> str:
        """The WWW-Authenticate header. It names the error only when a token came (RFC 6750 §3.1)."""
        url = resource_metadata.url(self._resources, self._resource(backend))
        scope = error.scope if isinstance(error, InsufficientScope) else "mcp"
        return challenge(error if _bearer(request) else None, url, scope)

    def _resource(self, backend: str | None) -> str:
        """What clients of this endpoint have to name when they ask for a token."""
        known = backend if backend is None or backend in self._resources.backends() else None
        return self._resources.of(known)

    def allows_everybody(self, origin: str) -> bool:
        """Whether pages of ``origin`` may ask, whoever they ask for: ours, this computer's, the owner's choice."""
        origin = origin.lower()
        if origin == self._resources.origin or origin in self._allowed_origins:
            return True
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        return parts.scheme in ("http", "https") and parts.hostname in redirect_uri.LOOPBACK

    async def allows(self, origin: str, principal: Principal) -> bool:
        """The same, or where the client itself lives: the https origins of its redirect URIs."""
        if self.allows_everybody(origin):
            return True
        return origin.lower() in await self._registration.origins(principal.client_id)


class SseGate(Gate):
    """In front of HTTP+SSE: what is good at ``/mcp`` is good here, but these clients ask for it by this address."""

    def _resource(self, backend: str | None) -> str:
        return self._resources.sse


def _bearer(request: HTTPServerRequest) -> str:
    """The token that came; empty when there is none (RFC 6750 §2.1)."""
    given = request.headers.get("Authorization", "")
    return given[7:].strip() if given[:7].lower() == "bearer " else ""
