"""Everything that has no route."""

import re

from tornado import web

from .base import BaseHandler
from .page import PageHandler

# Of paths that exist, and of what is left of them.
OF_CLIENTS = re.compile(
    r"/(oauth-authorization-server|oauth-protected-resource|openid-configuration)(/|$)|/(token|register|authorize)$"
)


class NotFoundHandler(PageHandler):
    """JSON, or a page for a browser."""

    def check_xsrf_cookie(self) -> None:
        pass

    async def prepare(self) -> None:
        BaseHandler.prepare(self)
        if self._is_of_a_client:
            self.step = "lost"
        raise web.HTTPError(404)

    @property
    def _is_of_a_client(self) -> bool:
        """Whether a client asks: a proxy changes the path, or the address is misspelt. Scanners ask for the rest."""
        if OF_CLIENTS.search(self.request.path):
            return True
        return self.request.method == "POST" and self.sends_json()
