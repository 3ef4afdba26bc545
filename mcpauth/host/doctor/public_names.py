"""Addresses of a name as the internet knows it: asked at public name servers, not at this system's own.

This system may know names of its own: within a tailnet, a name leads to an address that only the tailnet reaches.
"""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import urlsplit

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.resolver

from ...errors import SettingsError

RESOLVERS = ("1.1.1.1", "8.8.8.8", "9.9.9.9")
EACH, ALL = 1.5, 5.0  # seconds


class Addresses(NamedTuple):
    v4: list[str]
    v6: list[str]


class PublicNames:
    """``resolvers`` are asked one after the other: ADDRESS or ADDRESS:PORT. Raises SettingsError for others."""

    def __init__(self, resolvers: Sequence[str] = ()) -> None:
        self._resolver = dns.asyncresolver.Resolver(configure=False)
        self._resolver.timeout, self._resolver.lifetime = EACH, ALL
        try:
            self._resolver.nameservers = [_server(one) for one in resolvers or RESOLVERS]
        except ValueError:
            raise SettingsError("--resolver must be an address of a name server, such as 1.1.1.1") from None

    async def addresses(self, host: str) -> Addresses | None:
        """Those that the internet knows; None when no name server can be asked."""
        try:
            return Addresses(*await asyncio.gather(self._ask(host, "A"), self._ask(host, "AAAA")))
        except dns.resolver.NXDOMAIN:
            return Addresses([], [])
        except (dns.exception.DNSException, OSError):
            return None

    async def _ask(self, host: str, kind: str) -> list[str]:
        answer = await self._resolver.resolve(f"{host}.", kind, raise_on_no_answer=False)
        return [] if answer.rrset is None else [str(one) for one in answer.rrset]


def _server(text: str) -> dns.nameserver.Nameserver:
    """Raises ValueError."""
    parts = urlsplit(f"//[{text}]" if text.count(":") > 1 and not text.startswith("[") else f"//{text}")
    return dns.nameserver.Do53Nameserver(str(ip_address(parts.hostname or "")), parts.port or 53)
