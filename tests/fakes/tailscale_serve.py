"""Plays the proxy of tailscaled, as `tailscale serve --bg unix:/path` and `tailscale funnel --bg PORT` set it up.

Of each request it takes away what the client says of itself (identity and forwarding headers, hop-by-hop ones), and
then sets what tailscaled knows: where the request came from, and, for a person's device of the tailnet, whose it is.
"""

import ssl
from pathlib import Path

import aiohttp
from multidict import CIMultiDict
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from tests.fakes.tailscaled import FakeTailscaled

TAKEN_AWAY = {
    *("tailscale-user-login", "tailscale-user-name", "tailscale-user-profile-pic", "tailscale-funnel-request"),
    *("tailscale-headers-info", "tailscale-app-capabilities"),
    *("forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"),
    *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host"),
    "content-length",
}


class FakeServe:
    """Requests to the address of ``tailnet(peer)`` come from that node, those to ``funnel(peer)`` from the internet.

    ``target`` is a Unix socket, or a port of this computer; ``tls`` has the certificate of the name localhost.
    """

    def __init__(
        self, tailscaled: FakeTailscaled | None, target: Path | int, tls: ssl.SSLContext | None = None
    ) -> None:
        self.tailscaled, self._target, self._tls = tailscaled, target, tls
        self._servers: list[HTTPServer] = []
        self._sessions: list[aiohttp.ClientSession] = []

    def tailnet(self, peer: str) -> str:
        return self._listen(peer, funnel=False)

    def funnel(self, peer: str = "203.0.113.50") -> str:
        return self._listen(peer, funnel=True)

    def _listen(self, peer: str, *, funnel: bool) -> str:
        over_socket = isinstance(self._target, Path)
        http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._target)) if over_socket else aiohttp.TCPConnector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._sessions.append(http)
        target = "http://localhost" if over_socket else f"http://127.0.0.1:{self._target}"
        about = {"serve": self, "http": http, "target": target, "peer": peer, "funnel": funnel}
        application = web.Application([(".*", _Proxy, about)], log_function=lambda handler: None)
        server = HTTPServer(application, ssl_options=self._tls)
        socket, port = bind_unused_port()
        server.add_socket(socket)
        self._servers.append(server)
        return f"https://localhost:{port}" if self._tls is not None else f"http://127.0.0.1:{port}"

    def identity(self, peer: str) -> dict[str, str]:
        """The headers that say whose device ``peer`` is: none for one that is tagged or unknown."""
        node = self.tailscaled.nodes.get(peer) if self.tailscaled is not None else None
        if node is None or node["Node"].get("Tags"):
            return {}
        profile = node["UserProfile"]
        return {
            "Tailscale-User-Login": encode(profile["LoginName"]),
            "Tailscale-User-Name": encode(profile["DisplayName"]),
            "Tailscale-User-Profile-Pic": profile["ProfilePicURL"],
            "Tailscale-Headers-Info": "https://tailscale.com/s/serve-headers",
        }

    async def stop(self) -> None:
        for server in self._servers:
            server.stop()
            await server.close_all_connections()
        for session in self._sessions:
            await session.close()


def encode(value: str) -> str:
    """As Go's mime.QEncoding does: what is ASCII stays."""
    if value.isascii():
        return value
    literal = "".join(
        chr(byte) if 32 < byte < 127 and chr(byte) not in "=?_" else "_" if byte == 32 else f"={byte:02X}"
        for byte in value.encode()
    )
    return f"=?utf-8?q?{literal}?="


class _Proxy(web.RequestHandler):
    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS")

    def initialize(self, serve: FakeServe, http: aiohttp.ClientSession, target: str, peer: str, funnel: bool) -> None:
        self._serve, self._http, self._target, self._peer, self._funnel = serve, http, target, peer, funnel

    def compute_etag(self) -> None:
        return None

    async def _pass_on(self) -> None:
        sent: CIMultiDict[str] = CIMultiDict(
            (name, value) for name, value in self.request.headers.get_all() if name.lower() not in TAKEN_AWAY
        )
        # A Unix socket has no name of its own; to a port the Host goes on as it came.
        sent["Host"] = "localhost" if self._target == "http://localhost" else self.request.headers["Host"]
        sent["X-Forwarded-Host"] = self.request.headers["Host"]
        sent["X-Forwarded-Proto"] = "https"
        sent["X-Forwarded-For"] = self._peer
        sent.update({"Tailscale-Funnel-Request": "?1"} if self._funnel else self._serve.identity(self._peer))
        async with self._http.request(
            self.request.method or "GET",
            f"{self._target}{self.request.uri}",
            headers=sent,
            data=self.request.body or None,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as answer:
            self.set_status(answer.status, answer.reason)
            self._headers.clear()
            for name, value in answer.headers.items():
                if name.lower() not in TAKEN_AWAY:
                    self.add_header(name, value)
            # As it comes: streams have no end.
            async for chunk in answer.content.iter_any():
                self.write(chunk)
                await self.flush()
        await self.finish()

    get = head = post = delete = put = options = _pass_on
