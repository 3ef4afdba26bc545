"""What to do about it: the fixes for what goes wrong between a client and a server, in words for its owner."""

from urllib.parse import urlsplit

import aiohttp

LOOPBACK = ("localhost", "127.0.0.1", "::1")

SOMETHING_IN_FRONT = (
    "Something in front of mcpauth answers in its place (a proxy, a login page, a bot filter): "
    "let these paths through to it as they are."
)
TOO_SLOW = "The client gives up after this time. Look at what is between it and the server, and at the server's load."
TOO_MUCH = "No client reads that much: something other than mcpauth answers."
START = "Start it with: python server.py"
NOT_REACHED = (
    "Start the server (python server.py), and see that what is in front of it, such as tailscale funnel, "
    "points at its port."
)
NO_NAME = "The name is not known. See that MCP_OAUTH_PUBLIC_URL is the name that tailscale status shows."
CERTIFICATE = "The certificate is not good: run `tailscale cert NAME`; if that succeeds, restart tailscaled."
REDIRECTED = (
    "Clients do not follow redirects with their tokens. Use the address it leads to as MCP_OAUTH_PUBLIC_URL, "
    "or stop what is in front from redirecting."
)
WRONG_HOST = "Set MCP_OAUTH_PUBLIC_URL to the address that clients use, and start the server again."
FILTERED = "A filter refuses this client. If mcpauth's log does not show the request, let its user agent through."
TOKEN_LOST = (
    "The token is good, so it did not arrive: something in front takes the Authorization header away, or sends the "
    "request to another server."
)
ELSEWHERE = (
    "There may be no MCP server of that name: `status` lists those that there are. "
    "Enter the URL of one of them, or the one that ends in /mcp, for all."
)
SERVER_LOG = "The server's log says why; it has a line for this request."
WAIT = "Too many registrations came from this address: wait an hour, or start the server again."


def not_found(mount: str) -> str:
    """``mount`` is the command that leads from the public name to the server."""
    return (
        f"The path does not reach mcpauth: mount it at / ({mount}); --set-path takes the beginning of the path away "
        "and hides /.well-known, /authorize and /token."
    )


def for_status(status: int, url: str, location: str, mount: str) -> str:
    if 300 <= status < 400:
        to = urlsplit(location)
        return f"{REDIRECTED} It leads to {to.netloc or urlsplit(url).netloc}{to.path}."
    if status >= 502:
        return NOT_REACHED
    fixes = {403: FILTERED, 404: not_found(mount), 405: not_found(mount), 421: WRONG_HOST, 429: WAIT}
    return fixes.get(status, SERVER_LOG)


def for_error(error: Exception, method: str, url: str) -> tuple[str, str]:
    """Why nothing came from there, and what to do about it."""
    parts = urlsplit(url)
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return f"no machine has the name {parts.hostname}", NO_NAME
    if isinstance(error, aiohttp.ClientSSLError):
        return f"the certificate of {parts.netloc} is not accepted", CERTIFICATE
    if isinstance(error, aiohttp.ClientConnectorError):
        fix = START if parts.hostname in LOOPBACK else NOT_REACHED
        return f"no server answers at {parts.scheme}://{parts.netloc}", fix
    return f"{method} {url.partition('?')[0]}: {type(error).__name__}", NOT_REACHED
