"""One GET to a host that a stranger chose: every address is judged, and only a judged one is connected to."""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
from yarl import URL

from .. import __version__
from ..errors import DocumentError
from ..models.documents import Fetched
from .freshness import freshness
from .pinned import Pinned
from .public_address import canonical, is_address, is_loopback, is_near, is_public

TIMEOUT = 5.0
LARGEST = 64 * 1024
MOST_AT_ONCE = 32

HEADERS = {
    "Accept": "application/json",
    # Nothing to unpack: a small answer that becomes a large one.
    "Accept-Encoding": "identity",
    "User-Agent": f"mcpauth/{__version__}",
}

NOT_LOOKED_UP = (
    "the name of its host cannot be looked up: is this machine on the internet, and do its name servers answer?"
)

# Strangers hear the same of a host without a certificate and of one that is not there: nobody looks around from here.
UNREACHABLE = "its host cannot be reached, or has no valid certificate"

Resolve = Callable[[str], Awaitable[list[str]]]


class Fetcher:
    """``loopback``: from this computer instead of the internet, plain http too; for tests and development.

    ``resolve`` gives the addresses of a name; ``tls`` says whose certificates count, by default the system's.
    """

    def __init__(
        self,
        own_origin: str,
        *,
        loopback: bool = False,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._own, self._loopback = URL(own_origin), loopback
        # Not the loop's own threads: a stranger's slow name servers would hold up everybody who uses those.
        self._threads = ThreadPoolExecutor(16, "resolve")
        self._resolve = resolve or self._look_up
        self._tls = tls or True
        self._running = 0

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(self, uri: str) -> Fetched:
        """The JSON text at ``uri``, of a 200 without redirect. Raises DocumentError."""
        if self._running >= MOST_AT_ONCE:
            raise DocumentError("too many documents are being fetched at the moment; try again in a minute", 503)
        self._running += 1
        try:
            url = self._judge(uri)
            async with asyncio.timeout(TIMEOUT):
                return await self._get(url, await self._addresses(url.host or ""))
        except TimeoutError:
            raise DocumentError(f"it did not come within {TIMEOUT:.0f} seconds") from None
        except aiohttp.ClientConnectorCertificateError:
            raise DocumentError(UNREACHABLE, for_owner="its host has no valid certificate") from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise DocumentError(UNREACHABLE, for_owner="its host cannot be reached") from None
        finally:
            self._running -= 1

    def _judge(self, uri: str) -> URL:
        url = URL(uri, encoded=True)
        host = url.host or ""
        if url.scheme != "https" and not (self._loopback and url.scheme == "http"):
            raise DocumentError("it is not at an https address")
        if self._loopback:
            if not (is_loopback(host) or host == "localhost" or host.endswith(".localhost")):
                raise DocumentError("this server is set to fetch from its own computer only")
            own = url.origin() == self._own
        else:
            own = host.lower().rstrip(".") == self._own.host
        if own:
            raise DocumentError("it is at this server's own address")
        if not self._loopback and url.port != 443:
            # Nobody looks for open ports from here.
            raise DocumentError("it is not at port 443")
        return url

    async def _addresses(self, host: str) -> list[str]:
        """All addresses of ``host``, when every one of them may be connected to."""
        try:
            addresses = [host] if is_address(host) else await self._resolve(host)
        except (OSError, UnicodeError):
            addresses = []
        allowed = is_loopback if self._loopback else is_public
        if not addresses:
            for_owner = NOT_LOOKED_UP
        elif not all(map(allowed, addresses)):
            for_owner = "its host leads to a private address"
        elif not self._loopback and await self._lead_home(addresses):
            for_owner = "its host leads to this server, to this machine, or into its network"
        else:
            return addresses
        # Strangers hear the same in all cases, so that nobody learns which names our own network knows.
        raise DocumentError(
            "its host is not on the public internet, or cannot be looked up from here", for_owner=for_owner
        )

    async def _lead_home(self, addresses: list[str]) -> bool:
        """Whether one of them is where this server's own name leads, or is near: another name of ours is ours too."""
        try:
            own = {canonical(address) for address in await self._resolve(self._own.host or "")}
        except (OSError, UnicodeError, ValueError):
            own = set()
        return any(canonical(address) in own or is_near(address) for address in addresses)

    async def _look_up(self, host: str) -> list[str]:
        def look_up() -> list[str]:
            return [str(found[4][0]) for found in socket.getaddrinfo(host, 443, type=socket.SOCK_STREAM)]

        return await asyncio.get_running_loop().run_in_executor(self._threads, look_up)

    async def _get(self, url: URL, addresses: list[str]) -> Fetched:
        # A connection of its own: nothing that was opened for another name is used again.
        connector = aiohttp.TCPConnector(
            resolver=Pinned(addresses), use_dns_cache=False, force_close=True, ssl=self._tls
        )
        async with (
            aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=HEADERS,
                auto_decompress=False,
                trust_env=False,
            ) as http,
            http.get(url, allow_redirects=False) as response,
        ):
            if 300 <= response.status < 400:
                raise DocumentError("its host redirects, which is not followed")
            if response.status != 200:
                raise DocumentError(f"its host answers with status {response.status}")
            if (
                not _is_json(response.content_type)
                or response.headers.get("Content-Encoding", "identity") != "identity"
            ):
                raise DocumentError("its host does not send it as plain JSON")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > LARGEST:
                    raise DocumentError(f"it is larger than {LARGEST // 1024} KiB")
            try:
                return Fetched(body.decode(), freshness(response.headers))
            except UnicodeDecodeError:
                raise DocumentError("it is not JSON") from None


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or (
        content_type.startswith("application/") and content_type.endswith("+json")
    )
