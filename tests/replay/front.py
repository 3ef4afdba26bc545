"""Something in front of the server that gets one thing wrong."""

import ssl
from collections.abc import Callable
from typing import Any

from tornado import web
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from tornado.testing import bind_unused_port


class Passing:
    """A request on its way in, and, once it was forwarded, its answer. Anything may be changed; ``status`` answers."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self.method, self.path, self.uri = request.method or "", request.path, request.uri or ""
        self.sent, self.asked = HTTPHeaders(request.headers), request.body
        self.status, self.headers, self.body = 0, HTTPHeaders(), b""


Change = Callable[[Passing], None]


class Front:
    """``before`` sees a request before it is forwarded, ``after`` with its answer."""

    def __init__(self, target: str, tls: ssl.SSLContext | None = None) -> None:
        self.target = target
        self.before: Change | None = None
        self.after: Change | None = None
        listener, self.port = bind_unused_port()
        self.origin = f"http://localhost:{self.port}"
        app = web.Application([(".*", _Forward, {"front": self})], log_function=lambda _: None)
        self._server = HTTPServer(app, ssl_options=tls)
        self._server.add_socket(listener)

    async def stop(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()


class _Forward(web.RequestHandler):
    def initialize(self, front: Front) -> None:
        self._front = front

    async def _forward(self) -> None:
        front, passing = self._front, Passing(self.request)
        if front.before is not None:
            front.before(passing)
        if not passing.status:
            await self._ask(passing)
            if front.after is not None:
                front.after(passing)
        self.clear()
        self.set_status(passing.status)
        self.clear_header("Content-Type")
        for name, value in passing.headers.get_all():
            if name not in ("Content-Length", "Transfer-Encoding", "Connection", "Date", "Server"):
                self.add_header(name, value)
        if passing.status not in (204, 304):
            self.write(passing.body)

    async def _ask(self, passing: Passing) -> None:
        request = HTTPRequest(
            self._front.target + passing.uri,
            passing.method,
            headers=passing.sent,
            body=passing.asked if passing.method in ("POST", "PUT") else None,
            follow_redirects=False,
            decompress_response=False,
        )
        answer = await AsyncHTTPClient().fetch(request, raise_error=False)
        passing.status, passing.headers, passing.body = answer.code, answer.headers, answer.body

    def compute_etag(self) -> Any:
        return None

    get = post = head = options = delete = put = _forward
