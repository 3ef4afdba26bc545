"""Asks the tailscaled of this machine, over its own Unix socket (Tailscale's LocalAPI). Changes nothing there."""

import asyncio
import ipaddress
import sys
from pathlib import Path
from typing import TypeVar

import aiohttp
from pydantic import ValidationError

from ..errors import TailscaledAbsent, TailscaledFailed, TailscaledForbids
from ..models.tailscale import Answer, ServeConfig, Status, Whois

A = TypeVar("A", bound=Answer)

# In folders where nobody but root could put another one.
SOCKETS = {
    "darwin": ("/var/run/tailscaled.socket",),
    "linux": ("/var/run/tailscale/tailscaled.sock", "/var/packages/Tailscale/var/tailscaled.sock"),
}

TIMEOUT = 2.0
LARGEST = 1024 * 1024
MOST_AT_ONCE = 8

# The only Host that it answers to. What has an Origin or Referer it refuses, for it comes from a web page.
API = "http://local-tailscaled.sock/localapi/v0"


class LocalAPI:
    """``socket`` is where tailscaled listens; None: where it usually does.

    What asks may raise a TailscaleError: TailscaledAbsent, TailscaledForbids or TailscaledFailed.
    """

    def __init__(self, socket: Path | None = None) -> None:
        self._sockets = [socket] if socket is not None else [Path(one) for one in SOCKETS.get(sys.platform, ())]
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    async def status(self) -> Status:
        return _read(Status, await self._ask("status", peers="false"))

    async def serve_config(self) -> ServeConfig:
        body = await self._ask("serve-config")
        # Where nothing was ever served it is null.
        return _read(ServeConfig, b"{}" if body is not None and body.strip() == b"null" else body)

    async def whois(self, address: str) -> Whois | None:
        """Whose node has this IP address; None when none of the tailnet has. Raises ValueError for no address."""
        parsed = ipaddress.ip_address(address)
        # With a port, which does not matter: older ones want it.
        body = await self._ask("whois", addr=f"[{parsed}]:0" if parsed.version == 6 else f"{parsed}:0")
        return None if body is None else _read(Whois, body)

    def uid(self) -> int:
        """The user that tailscaled runs as, whose socket it is."""
        socket = self._socket()
        try:
            return socket.stat().st_uid
        except OSError:
            raise _absent(socket) from None

    def _socket(self) -> Path:
        """The first that is there."""
        for socket in self._sockets:
            try:
                socket.stat()
            except PermissionError:
                raise _forbids(socket) from None
            except OSError:
                continue
            return socket
        if not self._sockets:
            raise TailscaledAbsent("it is not known where tailscaled listens on this platform")
        raise _absent(self._sockets[0])

    async def _ask(self, what: str, **query: str) -> bytes | None:
        """The body of its answer; None when it has none to give (404)."""
        socket = self._socket()
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._turns,
                aiohttp.ClientSession(
                    connector=aiohttp.UnixConnector(str(socket), force_close=True),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                ) as http,
                http.get(f"{API}/{what}", params=query, allow_redirects=False) as response,
            ):
                if response.status == 404:
                    return None
                if response.status == 403:
                    raise _forbids(socket)
                if response.status != 200:
                    raise TailscaledFailed(f"tailscaled answered {response.status}")
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > LARGEST:
                        raise TailscaledFailed("the answer of tailscaled is too long")
                return bytes(body)
        except TimeoutError:
            raise TailscaledFailed("tailscaled did not answer in time") from None
        except PermissionError:
            raise _forbids(socket) from None
        except aiohttp.ClientConnectorError as error:
            raise (_forbids if isinstance(error.os_error, PermissionError) else _absent)(socket) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TailscaledFailed(f"tailscaled broke off its answer ({type(error).__name__})") from None


def _read(model: type[A], body: bytes | None) -> A:
    try:
        return model.model_validate_json(body or b"")
    except ValidationError:
        raise TailscaledFailed("the answer of tailscaled is not what it should be") from None


def _absent(socket: Path) -> TailscaledAbsent:
    return TailscaledAbsent(f"no tailscaled answers at {socket}")


def _forbids(socket: Path) -> TailscaledForbids:
    return TailscaledForbids(f"tailscaled does not let this user ask it at {socket}")
