"""A person's browser, as far as HTTP goes: cookies, redirects within the site, forms that it fills in."""

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import unescape
from html.parser import HTMLParser
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode, urljoin, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse


class Form:
    """A form of a page. ``fields`` are what it would send as it stands, ``buttons`` what can be pressed."""

    def __init__(self, action: str, method: str) -> None:
        self.action, self.method = action, method
        self.fields: list[tuple[str, str]] = []
        self.buttons: list[tuple[str, str]] = []


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.text = ""
        self._form: Form | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = Form(given.get("action", ""), given.get("method", "get").upper())
            self.forms.append(self._form)
        elif self._form is not None and tag == "input" and "name" in given:
            if given.get("type") not in ("checkbox", "radio") or "checked" in given:
                self._form.fields.append((given["name"], given.get("value", "on" if "checked" in given else "")))
        elif self._form is not None and tag == "button":
            self._form.buttons.append((given.get("name", ""), given.get("value", "")))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None

    def handle_data(self, data: str) -> None:
        self.text += data


class Page:
    """What came back: ``status``, ``headers``, the ``url`` it was at, and, of HTML, ``text`` and ``forms``."""

    def __init__(self, url: str, response: HTTPResponse) -> None:
        self.url, self.status, self.headers = url, response.code, response.headers
        self.body = response.body.decode() if response.body else ""
        reader = _Reader()
        reader.feed(self.body)
        self.forms = reader.forms
        self.text = re.sub(r"\s+", " ", reader.text)

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def link(self, attribute: str) -> str:
        """Where the link that has ``attribute`` goes, as the attribute says it."""
        found = re.search(rf'<a [^>]*{attribute}="([^"]*)"', self.body)
        assert found is not None, self.text[:500]
        return unescape(found[1])

    def form(self, field: str) -> Form:
        """The form that has an input or a button of this name."""
        for form in self.forms:
            if any(name == field for name, _ in [*form.fields, *form.buttons]):
                return form
        raise AssertionError(f"no form with {field} in: {self.text[:500]}")


class Browser:
    """``origin`` is the address in the address bar; the requests go to ``base_url``."""

    def __init__(self, origin: str, base_url: str, ca_certs: str | None = None) -> None:
        self.origin, self._base_url, self._ca_certs = origin, base_url, ca_certs
        self.cookies: dict[str, str] = {}
        self.set_cookie_lines: list[str] = []
        # What a proxy in front would say of the browser's address.
        self.address = "203.0.113.7"

    async def request(self, url: str, method: str = "GET", body: str | None = None, **headers: str) -> Page:
        """One request, no redirect followed."""
        parts = urlsplit(urljoin(self.origin, url))
        sent = {
            "Host": urlsplit(self.origin).netloc,
            "Accept": "text/html,application/xhtml+xml",
            "X-Forwarded-For": self.address,
            **headers,
        }
        if self.cookies:
            sent["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        target = self._base_url + parts.path + (f"?{parts.query}" if parts.query else "")
        response = await AsyncHTTPClient().fetch(
            HTTPRequest(
                target,
                method,
                headers=sent,
                body=body,
                follow_redirects=False,
                request_timeout=30,
                ca_certs=self._ca_certs,
            ),
            raise_error=False,
        )
        self._keep(response)
        return Page(parts.geturl(), response)

    async def get(self, url: str, **headers: str) -> Page:
        """As a person sees it: redirects within the site are followed, one that leaves it is the result."""
        return await self._follow(await self.request(url, **headers))

    async def submit(
        self, page: Page, form: Form, changes: dict[str, str], button: tuple[str, str] | None = None
    ) -> Page:
        """Fill in ``changes``, press ``button``."""
        fields = [(name, changes.get(name, value)) for name, value in form.fields]
        if button is not None:
            fields.append(button)
        sent = await self.request(
            urljoin(page.url, form.action), "POST", urlencode(fields), **{"Sec-Fetch-Site": "same-origin"}
        )
        return await self._follow(sent)

    async def sign_in(self, page: Page, name: str, password: str) -> Page:
        return await self.submit(page, page.form("password"), {"username": name, "password": password})

    async def decide(self, page: Page, decision: str = "allow") -> Page:
        return await self.submit(page, page.form("decision"), {}, ("decision", decision))

    async def _follow(self, page: Page) -> Page:
        for _ in range(10):
            if page.status not in (301, 302, 303) or not urljoin(page.url, page.location).startswith(self.origin + "/"):
                return page
            page = await self.request(urljoin(page.url, page.location))
        raise AssertionError("redirected in circles")

    def _keep(self, response: HTTPResponse) -> None:
        for line in response.headers.get_list("Set-Cookie"):
            self.set_cookie_lines.append(line)
            parsed: SimpleCookie = SimpleCookie(line)
            for name, morsel in parsed.items():
                gone = morsel["expires"] and parsedate_to_datetime(morsel["expires"]) < datetime.now(UTC)
                if gone or morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
