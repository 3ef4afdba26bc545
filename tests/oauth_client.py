"""An MCP client as the authorization server sees it: registers, authorizes, redeems, refreshes."""

import base64
import hashlib
import json
import secrets
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from tests.browser import Browser, Page

REDIRECT_URI = "http://127.0.0.1:33418/callback"


class Endpoints(NamedTuple):
    """Where one of the two issuers answers. ``issuer`` follows the origin."""

    issuer: str
    metadata: str
    authorize: str
    token: str
    register: str
    revoke: str
    introspect: str


ROOT = Endpoints(
    "", "/.well-known/oauth-authorization-server", "/authorize", "/token", "/register", "/revoke", "/introspect"
)
SEED = Endpoints(
    "/mcp",
    "/.well-known/oauth-authorization-server/mcp",
    "/auth/oauth/login",
    "/auth/oauth/token",
    "/.well-known/oauth-registration/mcp",
    "/auth/oauth/revoke",
    "/auth/oauth/introspect",
)


class Reply:
    """An answer: ``status``, ``headers``, and ``json`` where there is a body."""

    def __init__(self, response: HTTPResponse) -> None:
        self.status, self.headers = response.code, response.headers
        self.body = response.body or b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        error: str = self.json["error"]
        return error

    @property
    def refusal(self) -> str:
        """What a JSON-RPC error says."""
        message: str = self.json["error"]["message"]
        return message


class OAuthClient:
    """Every method takes what a test wants to be different; what is None is left out."""

    def __init__(self, origin: str, base_url: str) -> None:
        self.origin, self._base_url = origin, base_url
        # What a proxy in front would say of the client's address.
        self.address = "198.51.100.9"
        self.user_agent = "test-client/1"
        self.redirect_uri = REDIRECT_URI
        self.client_id, self.client_secret = "", ""
        self.registration: dict[str, Any] = {}
        self.verifier = secrets.token_urlsafe(32)
        self.state = "state with +/=& and ü"
        self.tokens: dict[str, Any] = {}

    async def fetch(self, path: str, method: str = "GET", body: Any = None, **headers: str) -> Reply:
        """``body``: a dict is sent as JSON, a str as a form, bytes as they are."""
        sent = {"Host": urlsplit(self.origin).netloc, "X-Forwarded-For": self.address, "User-Agent": self.user_agent}
        if isinstance(body, dict):
            sent["Content-Type"], body = "application/json", json.dumps(body)
        elif isinstance(body, str):
            sent["Content-Type"] = "application/x-www-form-urlencoded"
        request = HTTPRequest(
            self._base_url + path,
            method,
            headers={**sent, **{name.replace("_", "-"): value for name, value in headers.items()}},
            body=body,
            allow_nonstandard_methods=True,
            follow_redirects=False,
            request_timeout=30,
        )
        return Reply(await AsyncHTTPClient().fetch(request, raise_error=False))

    async def register(self, path: str = "/register", **metadata: Any) -> Reply:
        """Public, with one loopback redirect URI, unless told otherwise."""
        given = {
            "client_name": "Test client",
            "redirect_uris": [self.redirect_uri],
            "token_endpoint_auth_method": "none",
            **metadata,
        }
        reply = await self.fetch(path, "POST", {name: value for name, value in given.items() if value is not None})
        if reply.status == 201:
            self.registration = reply.json
            self.client_id = reply.json["client_id"]
            self.client_secret = reply.json.get("client_secret", "")
            self.redirect_uri = reply.json["redirect_uris"][0]
        return reply

    @property
    def challenge(self) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def authorization_url(self, path: str = "/authorize", **changes: Any) -> str:
        """A list as a value repeats the parameter."""
        parameters = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": self.challenge,
            "code_challenge_method": "S256",
            **changes,
        }
        return f"{path}?" + urlencode({k: v for k, v in parameters.items() if v is not None}, doseq=True)

    async def token(self, path: str = "/token", headers: dict[str, str] | None = None, **form: str | None) -> Reply:
        """A token request with the client's id, and its secret when it has one."""
        given = {"client_id": self.client_id, "client_secret": self.client_secret or None, **form}
        body = urlencode({name: value for name, value in given.items() if value is not None})
        return await self.fetch(path, "POST", body, **(headers or {}))

    async def redeem(self, code: str, **changes: str | None) -> Reply:
        form: dict[str, str | None] = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self.redirect_uri,
            "code_verifier": self.verifier,
            **changes,
        }
        reply = await self.token(**form)  # type: ignore[arg-type]
        if reply.status == 200:
            self.tokens = reply.json
        return reply

    async def refresh(self, refresh_token: str | None = None, **changes: str | None) -> Reply:
        """With the newest refresh token; what comes is kept."""
        form = {
            "grant_type": "refresh_token",
            "refresh_token": refresh_token or self.tokens["refresh_token"],
            **changes,
        }
        reply = await self.token(**form)  # type: ignore[arg-type]
        if reply.status == 200:
            self.tokens = reply.json
        return reply

    async def code(self, browser: Browser, name: str, password: str, **changes: Any) -> str:
        """The person ``name`` signs in where that is needed, and allows; the code."""
        page = await self.consent_page(browser, name, password, **changes)
        return answer(await browser.decide(page))["code"]

    async def consent_page(self, browser: Browser, name: str, password: str, **changes: Any) -> Page:
        page = await browser.get(self.authorization_url(**changes))
        if any(form.fields and any(field == "password" for field, _ in form.fields) for form in page.forms):
            page = await browser.sign_in(page, name, password)
        return page

    async def connect(self, browser: Browser, name: str, password: str, **changes: Any) -> dict[str, Any]:
        """From nothing to tokens: registers unless it did, authorizes, redeems."""
        if not self.client_id:
            assert (await self.register()).status == 201
        reply = await self.redeem(await self.code(browser, name, password, **changes))
        assert reply.status == 200, reply.body
        return self.tokens

    async def mcp(self, message: Any, path: str = "/mcp", **headers: str) -> Reply:
        """POST ``message`` with the access token."""
        sent = {
            "Authorization": f"Bearer {self.tokens['access_token']}",
            "Accept": "application/json, text/event-stream",
            **headers,
        }
        return await self.fetch(path, "POST", message, **sent)

    async def initialize(self, path: str = "/mcp") -> Reply:
        """Begin an MCP session."""
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "0"}}
        return await self.mcp({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}, path)

    async def call(self, method: str, path: str = "/mcp", **params: Any) -> Reply:
        """One request in an MCP session of its own."""
        begun = await self.initialize(path)
        assert begun.status == 200, begun.body
        message = {"jsonrpc": "2.0", "id": 2, "method": method, "params": params}
        return await self.mcp(message, path, **{"Mcp-Session-Id": begun.headers["Mcp-Session-Id"]})

    async def tools(self, path: str = "/mcp") -> set[str]:
        listed = await self.call("tools/list", path)
        return {tool["name"] for tool in listed.json["result"]["tools"]}


def answer(page: Page) -> dict[str, str]:
    """The parameters of a redirect to the client."""
    assert page.status in (302, 303), page.text[:500]
    return {name: values[0] for name, values in parse_qs(urlsplit(page.location).query).items()}
