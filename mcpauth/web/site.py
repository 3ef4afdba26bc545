"""What every handler knows of the place it serves: names, cookies, and whom to believe."""

import ipaddress
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from tornado.httputil import HTTPServerRequest

AF_UNIX = getattr(socket, "AF_UNIX", -1)  # Windows has none.

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

# Of what was found out of addresses; the zone behind an IPv6 address may be as long as a header.
KEPT, LONGEST = 1000, 64
LONGEST_HOST = 300  # a name and its port (RFC 1035 §2.3.4)

# Where every device of a tailnet has one address: its neighbours are other people's.
TAILNET = ipaddress.IPv6Network("fd7a:115c:a1e0::/48")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Addresses whose X-Forwarded-* headers count. What was found out of one is kept: it is asked for every request."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}

    def __contains__(self, address: str) -> bool:
        known = self._known.get(address)
        return self._find_out(address) if known is None else known

    def _find_out(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address.split("%", 1)[0])
        except ValueError:
            return False
        trusted = any(parsed in network for network in self._networks)
        if len(self._known) >= KEPT:
            self._known.clear()
        if len(address) <= LONGEST:
            self._known[address] = trusted
        return trusted


class Site(NamedTuple):
    origin: str
    base_path: str
    version: str
    secure_cookies: bool
    session_ttl: int
    trusted_proxies: "TrustedProxies"

    @property
    def host(self) -> str:
        return urlsplit(self.origin).hostname or ""

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK_NAMES

    def path(self, name: str) -> str:
        """The path of one of the pages beneath the base path."""
        return f"{self.base_path}/{name}"

    def cookie_name(self, name: str) -> str:
        """``__Host-`` keeps other hosts of the domain from planting the cookie; it needs https."""
        return f"__Host-mcpauth_{name}" if self.secure_cookies else f"mcpauth_{name}"

    def believes(self, request: HTTPServerRequest) -> bool:
        """Whether the X-Forwarded-* headers of this request count."""
        return over_unix_socket(request) or (request.remote_ip or "") in self.trusted_proxies

    def serves(self, request: HTTPServerRequest) -> bool:
        """Whether we are who the client meant, by Host and, where it counts, X-Forwarded-Host.

        Both have to fit: a page whose own name leads to this computer comes from loopback too, and it can set
        X-Forwarded-Host, but not Host.
        """
        if not self._is_ours(request.headers.get("Host", "")):
            return False
        forwarded = request.headers.get("X-Forwarded-Host")
        return forwarded is None or not self.believes(request) or self._is_ours(forwarded)

    def _is_ours(self, host: str) -> bool:
        name = _name(host) if len(host) <= LONGEST_HOST else ""
        return name in LOOPBACK_NAMES or name == self.host

    def address_of(self, request: HTTPServerRequest) -> str:
        """Where the request came from: the last address that no trusted proxy vouches for."""
        address = request.remote_ip or ""
        if self.believes(request):
            for hop in reversed(request.headers.get("X-Forwarded-For", "").split(",")):
                if hop.strip():
                    address = hop.strip()
                if address not in self.trusted_proxies:
                    break
        return address

    def party_of(self, request: HTTPServerRequest) -> str:
        """What limits count by: the address, or the network that one IPv6 customer commonly has."""
        return _party(self.address_of(request).partition("%")[0][:LONGEST])


def over_unix_socket(request: HTTPServerRequest) -> bool:
    context = getattr(request.connection, "context", None)
    return getattr(context, "address_family", None) == AF_UNIX


@lru_cache(KEPT)
def _party(address: str) -> str:
    """Kept, because the trace asks for it with every request."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if parsed.version == 4 or parsed in TAILNET:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))


@lru_cache(KEPT)
def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host.strip()}").hostname or ""
    except ValueError:
        return ""


def networks(texts: Iterable[str]) -> TrustedProxies:
    """Raises ValueError for what is neither an address nor a network."""
    return TrustedProxies(ipaddress.ip_network(text, strict=False) for text in texts)
