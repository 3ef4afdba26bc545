"""Addresses that were judged, in place of whatever a name leads to later."""

import socket

from aiohttp.abc import AbstractResolver, ResolveResult


class Pinned(AbstractResolver):
    """Knows these addresses and no others. ``port`` in place of the one of the URL."""

    def __init__(self, addresses: list[str], port: int | None = None) -> None:
        self._addresses, self._port = addresses, port

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port if self._port is None else self._port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in self._addresses
        ]

    async def close(self) -> None:
        pass
