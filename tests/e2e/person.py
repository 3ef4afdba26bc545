"""A person without a picture: follows the link that a client shows, signs in, allows, and ends at the client."""

from urllib.parse import urlsplit

from tornado.httpclient import AsyncHTTPClient

from tests.browser import Browser
from tests.live import LiveServer

PASSWORD = "correct horse battery staple"


async def allow(server: LiveServer, link: str) -> None:
    """To the end: the client's own page at its callback."""
    browser = Browser(server.origin, server.origin)
    parts = urlsplit(link)
    assert link.startswith(server.origin + "/"), link
    page = await browser.get(f"{parts.path}?{parts.query}")
    if any(field == "password" for form in page.forms for field, _ in form.fields):
        page = await browser.sign_in(page, "ada", PASSWORD)
    page = await browser.decide(page)
    assert page.status == 303, page.text[:500]
    done = await AsyncHTTPClient().fetch(page.location, raise_error=False, request_timeout=30)
    assert done.code < 400, done.body
