"""What the handlers for people share: who is signed in, by which cookie."""

from tornado import web

from ..errors import PageError
from ..models.records import User
from ..oauth.browser_session import BrowserSessions
from .base import BaseHandler


class PageHandler(BaseHandler):
    """A handler for people."""

    def set_default_headers(self) -> None:
        self.set_page_headers()

    async def prepare(self) -> None:
        super().prepare()
        # Beside the XSRF token: a browser says itself when another site made it send the form.
        sent_by = self.request.headers.get("Sec-Fetch-Site", "same-origin")
        if self.request.method == "POST" and sent_by not in ("same-origin", "none"):
            raise web.HTTPError(403)
        cookie = self.read_cookie("session")
        if cookie:
            self.user = await self.browser_sessions.find(cookie)
        if self.user is not None:
            self.banners = await self.settings["banners"](self.user)

    @property
    def browser_sessions(self) -> BrowserSessions:
        found: BrowserSessions = self.settings["browser_sessions"]
        return found

    def read_cookie(self, name: str) -> str:
        return self.get_cookie(self.site.cookie_name(name)) or ""

    def write_cookie(self, name: str, value: str, ttl: int) -> None:
        self.set_cookie(
            self.site.cookie_name(name),
            value,
            max_age=ttl,
            path="/",
            httponly=True,
            secure=self.site.secure_cookies,
            samesite="lax",
        )

    def drop_cookie(self, name: str) -> None:
        # A __Host- cookie is only overwritten by one with the same attributes.
        self.clear_cookie(
            self.site.cookie_name(name), path="/", httponly=True, secure=self.site.secure_cookies, samesite="lax"
        )

    async def sign_in(self, user: User, password_hash: str | None = None) -> None:
        """Open a browser session for ``user``, with a new cookie whatever the browser came with.

        Raises PageError when the user, or the password that was checked, is not good any more.
        """
        cookie = await self.browser_sessions.open(user, self.read_cookie("session") or None, password_hash)
        if cookie is None:
            raise PageError(403, "You cannot sign in", "Your account was changed a moment ago. Try again.")
        self.write_cookie("session", cookie, self.site.session_ttl)
        self.user = user

    def write_failure(self, status: int, title: str, hint: str, error: str) -> None:
        if not self.accepts_html():
            super().write_failure(status, title, hint, error)
            return
        self.error_page(status, title, hint, error)
