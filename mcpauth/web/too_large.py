"""What answers in place of the handler when the body is too large."""

from typing import NoReturn

from tornado import web

from ..errors import PageError
from .base import BaseHandler
from .page import PageHandler

HINT = (
    "What was sent is more than this address takes. Go back and send less; where there are very many tools to tick, "
    "untick a whole server."
)


@web.stream_request_body  # Nothing of it is waited for, or taken apart.
class TooLargeHandler(PageHandler):
    """JSON, or a page for a browser."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Connection", "close")

    def check_xsrf_cookie(self) -> None:
        pass

    async def prepare(self) -> NoReturn:
        BaseHandler.prepare(self)
        raise PageError(413, "That is too much at once", HINT, "invalid_request")

    def data_received(self, chunk: bytes) -> None:
        pass
