"""Plays github.com and its API, as far as signing in goes.

Codes are for once, PKCE is checked, errors of the token endpoint come with status 200, and answers are
form-encoded unless JSON is asked for. ``GITHUB_URL`` and ``GITHUB_API_URL`` are both its ``url``.
"""

import asyncio
import base64
import hashlib
import html
import json
import secrets
from collections import Counter
from typing import Any
from urllib.parse import urlencode

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

CLIENT_ID, CLIENT_SECRET = "Iv1.0123456789abcdef", "github-client-secret-for-tests"

DESCRIPTIONS = {
    "incorrect_client_credentials": "The client_id and/or client_secret passed are incorrect.",
    "redirect_uri_mismatch": "The redirect_uri MUST match the registered callback URL for this application.",
    "bad_verification_code": "The code passed is incorrect or expired.",
    "unverified_user_email": "The user must have a verified primary email.",
}

PAGE = """<!doctype html><title>Authorize</title><h1>Authorize mcpauth as {login}</h1>
<form method="get" action="/login/oauth/authorize">{fields}<button name="authorized" value="1">Authorize</button></form>
"""


class FakeGitHub:
    """``login`` and ``id`` are who sits at the browser. A test changes what it wants to be different."""

    def __init__(self) -> None:
        self.login, self.id = "octocat", 583231
        self.email: str | None = "octocat@github.example"
        # What is different from how it should be.
        self.shows_a_page = False
        self.denies: str | None = None  # an error of the authorization page
        self.refuses: str | None = None  # an error of the token endpoint
        self.token_status = self.user_status = 200
        self.user: Any = None  # in place of what /user answers: a str is sent as it is
        self.token: Any = None  # in place of what the token endpoint answers
        self.held: asyncio.Event | None = None  # answers wait for it
        self.in_pieces = False  # answers come in two
        # What happened.
        self.requests: Counter[str] = Counter()
        self.seen: list[dict[str, str]] = []  # the parameters of each authorization request
        self.issued: list[str] = []  # every access token
        self.user_agents: set[str] = set()
        self.codes: dict[str, dict[str, str]] = {}
        self.tokens: dict[str, dict[str, Any]] = {}
        self._server: HTTPServer | None = None
        self.url = ""

    def start(self) -> None:
        about = {"github": self}
        app = web.Application(
            [
                ("/login/oauth/authorize", _Authorize, about),
                ("/login/oauth/access_token", _AccessToken, about),
                ("/user", _User, about),
            ],
            log_function=lambda handler: None,
        )
        socket, port = bind_unused_port()
        self._server = HTTPServer(app)
        self._server.add_socket(socket)
        self.url = f"http://127.0.0.1:{port}"

    async def stop(self) -> None:
        if self.held is not None:
            self.held.set()
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()

    @property
    def environment(self) -> dict[str, str]:
        """The settings of a server that signs in here."""
        return {
            "MCP_OAUTH_GITHUB_CLIENT_ID": CLIENT_ID,
            "MCP_OAUTH_GITHUB_CLIENT_SECRET": CLIENT_SECRET,
            "MCP_OAUTH_GITHUB_URL": self.url,
            "MCP_OAUTH_GITHUB_API_URL": self.url,
        }


class _Handler(web.RequestHandler):
    def initialize(self, github: FakeGitHub) -> None:
        self.github = github

    async def prepare(self) -> None:
        self.github.requests[self.request.path] += 1
        if self.github.held is not None:
            await self.github.held.wait()

    async def send(self, body: str | dict[str, Any]) -> None:
        text = json.dumps(body) if isinstance(body, dict) else body
        if self.github.in_pieces:
            half = len(text) // 2
            self.write(text[:half])
            await self.flush()
            # Turns of the client's, which runs on this loop too: it has the first piece before the second is sent.
            for _ in range(20):
                await asyncio.sleep(0)
            text = text[half:]
        await self.finish(text)


class _Authorize(_Handler):
    def get(self) -> None:
        given = {name: self.get_query_argument(name) for name in self.request.query_arguments}
        github = self.github
        if github.shows_a_page and given.pop("authorized", "") != "1":
            fields = "".join(
                f'<input type="hidden" name="{html.escape(name)}" value="{html.escape(value)}">'
                for name, value in given.items()
            )
            self.finish(PAGE.format(login=html.escape(github.login), fields=fields))
            return
        github.seen.append(given)
        if given.get("client_id") != CLIENT_ID:
            self.send_error(404)
            return
        if given.get("code_challenge_method", "S256") != "S256" or len(given.get("code_challenge", "x" * 43)) != 43:
            self.send_error(400)
            return
        code = secrets.token_hex(10)
        user = {"id": github.id, "login": github.login, "email": github.email, "avatar_url": "https://a.example/1"}
        github.codes[code] = {
            "challenge": given.get("code_challenge", ""),
            "redirect_uri": given["redirect_uri"],
            "user": json.dumps(user),
        }
        answer = {"error": github.denies, "error_description": "No."} if github.denies else {"code": code}
        self.redirect(f"{given['redirect_uri']}?{urlencode({**answer, 'state': given.get('state', '')})}")


class _AccessToken(_Handler):
    async def post(self) -> None:
        github = self.github
        given = {name: self.get_body_argument(name) for name in self.request.body_arguments}
        if github.token is not None:
            await self.send(github.token)
            return
        self.set_status(github.token_status)
        known = github.codes.pop(given.get("code", ""), None)
        if github.refuses:
            await self.answer(self.error(github.refuses))
        elif (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            await self.answer(self.error("incorrect_client_credentials"))
        elif known is None or not self.proves(given.get("code_verifier", ""), known["challenge"]):
            await self.answer(self.error("bad_verification_code"))
        elif given.get("redirect_uri", known["redirect_uri"]) != known["redirect_uri"]:
            await self.answer(self.error("redirect_uri_mismatch"))
        else:
            token = f"gho_{secrets.token_hex(18)}"
            github.issued.append(token)
            github.tokens[token] = json.loads(known["user"])
            await self.answer({"access_token": token, "scope": "", "token_type": "bearer"})

    @staticmethod
    def error(code: str) -> dict[str, str]:
        uri = "https://docs.github.com/apps/managing-oauth-apps/troubleshooting"
        return {"error": code, "error_description": DESCRIPTIONS.get(code, code), "error_uri": uri}

    @staticmethod
    def proves(verifier: str, challenge: str) -> bool:
        digest = hashlib.sha256(verifier.encode()).digest()
        return not challenge or base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge

    async def answer(self, values: dict[str, str]) -> None:
        if "application/json" in self.request.headers.get("Accept", ""):
            self.set_header("Content-Type", "application/json; charset=utf-8")
            await self.send(values)
        else:
            self.set_header("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
            await self.send(urlencode(values))


class _User(_Handler):
    async def get(self) -> None:
        github = self.github
        agent = self.request.headers.get("User-Agent", "")
        github.user_agents.add(agent)
        scheme, _, token = self.request.headers.get("Authorization", "").partition(" ")
        if not agent:
            self.set_status(403)
            self.finish("Request forbidden by administrative rules. Please make sure your request has a User-Agent")
        elif scheme.lower() not in ("bearer", "token") or token not in github.tokens:
            self.set_status(401)
            self.finish({"message": "Bad credentials"})
        else:
            self.set_status(github.user_status)
            known = {**github.tokens[token], "type": "User", "site_admin": False}
            await self.send(known if github.user is None else github.user)
