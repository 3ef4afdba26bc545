"""Redirect URIs: which may be registered, and when one is the registered one (RFC 8252 §7, RFC 9700 §2.1)."""

from collections.abc import Iterable
from urllib.parse import SplitResult, urlencode, urlsplit

from .client_profiles import is_private_use

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
LONGEST = 2000


def _split(uri: str) -> SplitResult | None:
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return None
    return parts


def problem(uri: str) -> str | None:
    """Why ``uri`` may not be registered, in words that do not repeat it; None when it may."""
    if len(uri) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not uri.isascii() or not uri.isprintable() or any(c in uri for c in ' \\"<>^`{|}'):
        return "has characters that a URI does not have"
    parts = _split(uri)
    if parts is None or not parts.scheme:
        return "is not an absolute URI"
    if "#" in uri:
        return "must not have a fragment"
    if "@" in parts.netloc:
        return "must not have a user name"
    if any(segment in (".", "..") for segment in parts.path.replace("%2e", ".").replace("%2E", ".").split("/")):
        return "must not have dot segments"
    if parts.scheme == "https":
        return None if parts.hostname else "has no host"
    if parts.scheme == "http":
        return None if parts.hostname in LOOPBACK else "must be https: plain http is for loopback addresses only"
    return None if is_private_use(uri) else "has a scheme that is not allowed"


def is_loopback(uri: str) -> bool:
    parts = _split(uri)
    return parts is not None and parts.scheme == "http" and parts.hostname in LOOPBACK


def is_registered(uri: str, registered: Iterable[str]) -> bool:
    """Whether ``uri`` is one of ``registered``: exactly, but for host and port of loopback addresses.

    A program on the person's own machine listens where it can, and some swap one loopback name for another.
    """
    if uri in (registered := tuple(registered)):
        return problem(uri) is None
    if problem(uri) is not None or not is_loopback(uri):
        return False
    return any(is_loopback(one) and _after_port(one) == _after_port(uri) for one in registered)


def _after_port(uri: str) -> tuple[str, str]:
    parts = urlsplit(uri)
    return parts.path or "/", parts.query


def host(uri: str) -> str:
    """The host that gets the code, for a person to read."""
    parts = urlsplit(uri)
    return parts.hostname or parts.netloc or parts.scheme


def is_web(uri: str) -> bool:
    """Whether a browser follows a redirect there without help: not so for private-use schemes."""
    return uri.startswith(("https:", "http:"))


def with_parameters(uri: str, parameters: dict[str, str]) -> str:
    """``uri`` with ``parameters`` added; the query it was registered with stays (RFC 6749 §3.1.2)."""
    separator = "&" if urlsplit(uri).query else "?"
    if uri.endswith("?"):
        separator = ""
    return f"{uri}{separator}{urlencode(parameters)}"
