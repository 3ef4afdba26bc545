"""The short way of a request whose body is short: what Tornado asks of each is asked once, or not at all."""

import asyncio
from functools import lru_cache
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPMessageDelegate, HTTPServerRequest, RequestStartLine
from tornado.web import Application

from ..ambient import instant
from .guarded import GuardedHandler

# Of the requests that differ in nothing but their headers: how many are kept, and how long what they have in common.
KEPT, LONGEST = 256, 200


class Direct(HTTPMessageDelegate):
    """Begins the handler when the body has come."""

    def __init__(
        self,
        application: Application,
        request: HTTPServerRequest,
        handler_class: type[GuardedHandler],
        handler_kwargs: dict[str, Any] | None,
        path_kwargs: dict[str, bytes] | None,
    ) -> None:
        self._application, self._request, self._body = application, request, b""
        self._handler_class, self._handler_kwargs = handler_class, handler_kwargs or {}
        self._path_kwargs = path_kwargs or {}

    def headers_received(self, start_line: object, headers: HTTPHeaders) -> None:
        """They are in the request already."""

    def data_received(self, chunk: bytes) -> None:
        self._body += chunk

    def finish(self) -> None:
        self._request.body = self._body
        handler = self._handler_class(self._application, self._request, **self._handler_kwargs)
        task = asyncio.get_running_loop().create_task(handler.respond(**self._path_kwargs))
        task.add_done_callback(lambda done: done.cancelled() or done.result())


def request_of(
    connection: Any, server_connection: object, start_line: RequestStartLine, headers: HTTPHeaders
) -> HTTPServerRequest:
    """Raises HTTPInputError."""
    host, (method, uri, _) = headers.get("Host"), start_line
    if host is None or "?" in uri or len(method) + len(uri) + len(host) > LONGEST:
        return HTTPServerRequest(
            connection=connection, server_connection=server_connection, start_line=start_line, headers=headers
        )
    request = HTTPServerRequest.__new__(HTTPServerRequest)
    vars(request).update(
        vars(_alike(start_line, host)),
        headers=headers,
        remote_ip=connection.context.remote_ip,
        protocol=connection.context.protocol,
        connection=connection,
        server_connection=server_connection,
        _start_time=instant(),
        arguments={},
        query_arguments={},
        body_arguments={},
        files={},
    )
    return request


@lru_cache(KEPT)
def _alike(start_line: RequestStartLine, host: str) -> HTTPServerRequest:
    return HTTPServerRequest(start_line=start_line, headers=HTTPHeaders({"Host": host}))
