"""The connections to one remote server: kept alive, nothing taken from the environment, nothing kept of cookies."""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Mapping

import aiohttp
from yarl import URL

from .. import __version__, log
from ..errors import BackendUnavailable, GatewayError, NothingThere
from . import frames
from .frames import LIMIT
from .http_client import CONNECTING, FAILURES, HttpClient, Response
from .http_turns import LARGE, Turn, Turns
from .sse import Event, EventSource
from .stray import Stray

logger = logging.getLogger(__name__)

# A message of LIMIT with the ids that were exchanged in it, and some room.
MESSAGE_LIMIT = LIMIT + 64 * 1024

# Of what a server says when it broke.
SAID = 500

JSON, EVENT_STREAM = "application/json", "text/event-stream"


class Disconnected(BackendUnavailable):
    """There was no answer, or only a part of one: the next attempt may have more luck."""


class Upstream:
    """Every error is a BackendUnavailable that a client may read: it names the server, and no header or address."""

    def __init__(self, name: str, url: str, headers: Mapping[str, str], *, sse: bool = False) -> None:
        """``sse``: its owner says that it speaks HTTP+SSE of 2024-11-05."""
        self.name, self.url, self._sse = name, URL(url), sse
        self._headers = {"User-Agent": f"mcpauth/{__version__}", **headers}
        self._own = {name.lower() for name in self._headers}
        self._stray, self.turns = Stray(), Turns()

    def start(self) -> None:
        self._http = HttpClient(self.url, self._headers)

    async def close(self) -> None:
        await self._http.close()

    def abort(self) -> None:
        """Every connection is cut, in the next turn of the loop."""
        self._http.abort()

    async def send(
        self, method: str, headers: Mapping[str, str], body: bytes | None = None, url: URL | None = None
    ) -> Response:
        """The response, whatever its status; of another address at the same server, when there is a ``url``."""
        try:
            return await self._http.send(method, (url or self.url).raw_path_qs, headers, body)
        except FAILURES as error:
            raise self._disconnected(error) from None

    def without_own(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Those of a client that may go with a request: none that the owner has set for this server."""
        return {name: value for name, value in headers.items() if name.lower() not in self._own}

    async def body(self, response: Response, turn: Turn) -> bytes:
        chunks, size = [], 0
        try:
            while chunk := await response.content.readany():
                chunks.append(chunk)
                size += len(chunk)
                if size > MESSAGE_LIMIT:
                    raise self._too_large()
                if size > LARGE:
                    await turn.take()
        except FAILURES as error:
            raise self._disconnected(error) from None
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def events(self, response: Response, source: EventSource, turn: Turn | None = None) -> "Events":
        """``turn`` is that of the request that the stream is the answer to."""
        source.restart()
        return Events(response, source, self._stray, turn or self.turns.of(None), self._too_large())

    def refusal(self, response: Response) -> BackendUnavailable:
        """Why this response, whose body says nothing, is not the one that was asked for."""
        status = response.status
        match status:
            case 401 | 403:
                why = f"refuses our credentials (HTTP {status}); its owner should look at its headers in mcp.json"
            case _ if 300 <= status < 400:
                where = self._elsewhere(response)
                why = f"is at {where} (HTTP {status}), and redirects are not followed; see its url in mcp.json"
            case 404 | 405:
                wrong_type = not self._sse and self.url.path.rstrip("/").endswith("/sse")
                fix = 'set "type": "sse" for it' if wrong_type else "see its url and type"
                why = f"is not at this address (HTTP {status}); {fix} in mcp.json"
            case _ if 200 <= status < 300:
                kind = "nothing" if status == 202 else f"{media_type(response) or 'something'}, which is not MCP"
                why = f"answered with {kind}; see its url in mcp.json"
            case _:
                why = f"answered with HTTP {status}"
        nothing = 400 <= status < 500 and status not in (401, 403, 408, 429)
        return NothingThere(f"the server {self.name} {why}") if nothing else self.unavailable(why)

    def _elsewhere(self, response: Response) -> str:
        """Where a redirect leads to. It is said without any path, which may be as secret as a query."""
        here = self.url
        try:
            there = here.join(URL(response.headers.get("Location", "")))
            path = there.raw_path if there.origin() == here.origin() else ""
        except ValueError:
            path = ""
        if path == f"{here.raw_path}/":
            return "its url with a / added to the path"
        if f"{path}/" == here.raw_path != "/":
            return "its url without the / that ends the path"
        return "another address"

    async def failure(self, response: Response, turn: Turn) -> BackendUnavailable:
        """The same of one to a request: a server that broke over it may say so by a JSON-RPC error."""
        refusal = self.refusal(response)
        if response.status < 500 or media_type(response) != JSON:
            return refusal
        try:
            error = frames.members(frames.decode(await self.body(response, turn)).get("error"))
        except GatewayError:
            return refusal
        said = log.printable(frames.text(error.get("message")) or "", SAID)
        return BackendUnavailable(f"{refusal.message}: {said}") if said else refusal

    def unavailable(self, why: str) -> BackendUnavailable:
        return BackendUnavailable(f"the server {self.name} {why}")

    def _disconnected(self, error: Exception) -> Disconnected:
        logger.debug("backend_not_reached", extra=log.fields(backend=self.name, reason=type(error).__name__))
        return Disconnected(f"the server {self.name} did not answer ({_why(error)})")

    def _too_large(self) -> BackendUnavailable:
        return self.unavailable(f"sent a message of more than {LIMIT // 1024**2} MiB")


class Events:
    """The events of one stream, to its end or to where it was cut. What is not taken is not read either."""

    def __init__(
        self, response: Response, source: EventSource, stray: Stray, turn: Turn, too_large: BackendUnavailable
    ) -> None:
        self._content, self._source = response.content, source
        self._stray, self._turn, self._too_large = stray, turn, too_large
        self._ready: deque[Event] = deque()

    def __aiter__(self) -> "Events":
        return self

    @property
    def complete(self) -> bool:
        """Whether nothing more will come: the end has come too."""
        return not self._ready and self._content.at_eof()

    async def __anext__(self) -> Event:
        self._turn.leave()
        while not self._ready:
            try:
                chunk = await self._content.readany()
            except FAILURES:
                raise StopAsyncIteration from None
            if not chunk:
                raise StopAsyncIteration
            self._ready.extend(self._source.feed(chunk))
            if self._source.size > MESSAGE_LIMIT:
                raise self._too_large
            if self._source.size > LARGE:
                await self._turn.take()
            if silent := self._source.take_silent():
                await self.breathe(silent)
        return self._ready.popleft()

    async def breathe(self, stray: int) -> None:
        """Read no more for a moment, when there was much of what nobody waits for."""
        if (pause := self._stray.heard(stray)) is not None:
            await asyncio.sleep(pause)


def is_stream(response: Response) -> bool:
    return response.status == 200 and media_type(response) == EVENT_STREAM


def media_type(response: Response) -> str:
    given = response.headers.get("Content-Type", "")
    if given not in (JSON, EVENT_STREAM):
        given = given.partition(";")[0].strip().lower()
    return given if given.isascii() and len(given) < 100 else ""


def _why(error: Exception) -> str:
    """In our own words: aiohttp's have the address in them."""
    if isinstance(error, TimeoutError):
        return f"no connection in {CONNECTING:.0f} seconds"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "its name is not known; see its url in mcp.json"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted"
    if isinstance(error, aiohttp.ClientSSLError):
        return "no TLS there; see its url in mcp.json"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"{os.strerror(error.errno).lower() if error.errno else 'no connection'}; see its url in mcp.json"
    return "the connection was closed"
