"""Which MCP endpoint a token is for (RFC 8707 §2)."""

from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from ..errors import InvalidTarget

DEFAULT_PORTS = {"http": 80, "https": 443}


class Resources:
    """The canonical resources: ``{origin}/mcp`` for all backends, ``{origin}/mcp/{backend}`` for one.

    ``sse`` is the first of them for clients of HTTP+SSE, where ``legacy_sse`` says that it is served.
    """

    def __init__(self, origin: str, backends: Callable[[], Collection[str]], *, legacy_sse: bool) -> None:
        self.origin, self.backends = origin, backends
        self.sse = f"{origin}/sse"
        self._of_everything = {origin, self.default, *((self.sse,) if legacy_sse else ())}

    @property
    def default(self) -> str:
        return f"{self.origin}/mcp"

    def of(self, backend: str | None) -> str:
        return self.default if backend is None else f"{self.default}/{backend}"

    def canonical(self, resource: str) -> str:
        """The resource that is meant: a trailing slash and a default port make no difference.

        Nothing, the origin alone, or the address of HTTP+SSE means all backends.
        Raises InvalidTarget for anything else.
        """
        if not resource:
            return self.default
        try:
            parts = urlsplit(resource)
            port = parts.port
        except ValueError:
            raise InvalidTarget("resource is not a URL") from None
        if parts.fragment or parts.query or "@" in parts.netloc or "#" in resource:
            raise InvalidTarget("resource must have no fragment, query or user")
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        shown = "" if port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{port}"
        path = parts.path.rstrip("/")
        wanted = f"{parts.scheme}://{host}{shown}{path}"
        if wanted in self._of_everything:
            return self.default
        if wanted in (self.of(backend) for backend in self.backends()):
            return wanted
        raise InvalidTarget("resource is not one of this server's MCP endpoints")
