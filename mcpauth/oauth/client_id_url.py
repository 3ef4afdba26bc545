"""Client ids that are URLs: what such a URL looks like (draft-ietf-oauth-client-id-metadata-document, §3)."""

from urllib.parse import urlsplit

from .redirect_uri import LOOPBACK

LONGEST = 512


def is_url(client_id: str) -> bool:
    """Whether a client says by its id that it publishes a document; ids that are made here never do."""
    return client_id.startswith(("https://", "http://"))


def problem(uri: str) -> str | None:
    """Why nothing is fetched from ``uri``, in words that do not repeat it; None when it may be."""
    if len(uri) > LONGEST:
        return f"is longer than {LONGEST} characters"
    if not uri.isascii() or not uri.isprintable() or any(c in uri for c in ' \\"<>^`{|}'):
        return "has characters that a URL does not have"
    try:
        parts = urlsplit(uri)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme not in ("https", "http") or not parts.hostname:
        return "is not an https URL"
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        return "must be https"
    if "@" in parts.netloc:
        return "must not have a user name"
    if "#" in uri:
        return "must not have a fragment"
    if parts.path in ("", "/"):
        return "must have a path"
    if any(segment in (".", "..") for segment in parts.path.lower().replace("%2e", ".").split("/")):
        return "must not have dot segments"
    return None


def host(client_id: str) -> str:
    """The host that speaks for the client, for a person to read."""
    return urlsplit(client_id).netloc
