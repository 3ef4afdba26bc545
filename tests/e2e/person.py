"""A person without a picture: follows the link that a client shows, signs in, allows, and ends at the client."""

from urllib.parse import parse_qs, urlsplit

from tornado.httpclient import AsyncHTTPClient

from tests.browser import Browser
from tests.live import LiveServer

PASSWORD = "correct horse battery staple"


class PlainPerson:
    """Signs in as the owner and says yes, like the one at Chromium."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server

    async def allow(self, url: str, redirect_uri: str) -> dict[str, str]:
        """What arrives at ``redirect_uri``."""
        back = await answer(self._server, url)
        assert back.startswith(f"{redirect_uri}?"), back
        return {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}


async def allow(server: LiveServer, link: str) -> None:
    """To the end: the client's own page at its callback."""
    done = await AsyncHTTPClient().fetch(await answer(server, link), raise_error=False, request_timeout=30)
    assert done.code < 400, done.body


async def answer(server: LiveServer, link: str) -> str:
    """Where the person is sent after saying yes."""
    browser = Browser(server.origin, server.origin)
    parts = urlsplit(link)
    assert link.startswith(server.origin + "/"), link
    page = await browser.get(f"{parts.path}?{parts.query}")
    if any(field == "password" for form in page.forms for field, _ in form.fields):
        page = await browser.sign_in(page, "ada", PASSWORD)
    page = await browser.decide(page)
    assert page.status == 303, page.text[:500]
    return page.location
