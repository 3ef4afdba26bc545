"""Plays the proxy of tailscaled, as `tailscale serve --bg unix:/path` and `tailscale funnel` set it up, without TLS.

Of each request it takes away what the client says of itself (identity and forwarding headers, hop-by-hop ones), and
then sets what tailscaled knows: where the request came from, and, for a person's device of the tailnet, whose it is.
"""

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
    """Requests to the address of ``tailnet(peer)`` come from that node, those to ``funnel(peer)`` from the internet."""

    def __init__(self, tailscaled: FakeTailscaled, target: Path) -> None:
        self.tailscaled, self._target = tailscaled, target
        self._servers: list[HTTPServer] = []
        self._sessions: list[aiohttp.ClientSession] = []

    def tailnet(self, peer: str) -> str:
        return self._listen(peer, funnel=False)

    def funnel(self, peer: str = "203.0.113.50") -> str:
        return self._listen(peer, funnel=True)

    def _listen(self, peer: str, *, funnel: bool) -> str:
        http = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self._target)),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        )
        self._sessions.append(http)
        about = {"serve": self, "http": http, "peer": peer, "funnel": funnel}
        server = HTTPServer(web.Application([(".*", _Proxy, about)], log_function=lambda handler: None))
        socket, port = bind_unused_port()
        server.add_socket(socket)
        self._servers.append(server)
        return f"http://127.0.0.1:{port}"

    def identity(self, peer: str) -> dict[str, str]:
        """The headers that say whose device ``peer`` is: none for one that is tagged or unknown."""
        node = self.tailscaled.nodes.get(peer)
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

    def initialize(self, serve: FakeServe, http: aiohttp.ClientSession, peer: str, funnel: bool) -> None:
        self._serve, self._http, self._peer, self._funnel = serve, http, peer, funnel

    def compute_etag(self) -> None:
        return None

    async def _pass_on(self) -> None:
        sent: CIMultiDict[str] = CIMultiDict(
            (name, value) for name, value in self.request.headers.get_all() if name.lower() not in TAKEN_AWAY
        )
        sent["Host"] = "localhost"
        sent["X-Forwarded-Host"] = self.request.headers["Host"]
        sent["X-Forwarded-Proto"] = "https"
        sent["X-Forwarded-For"] = self._peer
        sent.update({"Tailscale-Funnel-Request": "?1"} if self._funnel else self._serve.identity(self._peer))
        async with self._http.request(
            self.request.method or "GET",
            f"http://localhost{self.request.uri}",
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
            body = await answer.read()
        if body or self.request.method != "HEAD":
            self.write(body)
        await self.finish()

    get = head = post = delete = put = options = _pass_on
