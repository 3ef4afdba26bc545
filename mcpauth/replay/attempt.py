"""One attempt of one client to connect: what it is told to do, and what it has learnt so far."""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from ..ambient import Ambient
from .sequence import Client, Era, Run
from .wire import Exchange, Wire

PLACEHOLDER = re.compile(r"\{(\w+)\}")
DEFAULT_PORTS = {"http": 80, "https": 443}


class Person(Protocol):
    """Who signs in, and decides. Both give the address to which the browser is sent in the end."""

    async def allow(self, url: str) -> str: ...

    async def deny(self, url: str) -> str: ...


class Attempt:
    """``url`` is what a person would have entered. ``idle`` lets time pass; without it a token is spoilt instead.

    ``sign`` makes the parameters with which the client proves itself to the token endpoint by a key of its own.
    """

    last: Exchange

    def __init__(
        self,
        client: Client,
        run: Run,
        url: str,
        wire: Wire,
        person: Person,
        ambient: Ambient,
        *,
        idle: Callable[[int], Awaitable[None]] | None = None,
        sign: Callable[[str, str], dict[str, str]] | None = None,
    ) -> None:
        self.client, self.run, self.url = client.going(run), run, url
        self.wire, self.person, self.ambient, self.idle, self.sign = wire, person, ambient, idle, sign
        self.challenge: dict[str, str] = {}
        self.resource: dict[str, Any] = {}
        self.server: dict[str, Any] = {}
        self.registration: dict[str, Any] = {}
        self.answer: dict[str, str] = {}
        self.tokens: dict[str, Any] = {}
        self.earlier: dict[str, Any] = {}  # the tokens before the last refresh
        self.result: dict[str, Any] = {}  # of the last MCP request
        self.era: Era = self.client.eras[0]
        self.session_id = self.revision = ""  # of the MCP session, once there is one
        self.last_id = 0
        self.verifier, self.state = "", ""
        self.spoilt = False

    @property
    def by_document(self) -> bool:
        """Whether the client is who its document says: it has one, and the server reads such documents."""
        return bool(self.run.client_id) and self.server.get("client_id_metadata_document_supported") is True

    @property
    def client_id(self) -> str:
        return self.fill(self.run.client_id) if self.by_document else str(self.registration.get("client_id", ""))

    @property
    def redirect_uri(self) -> str:
        return self.fill(self.run.redirect_uri)

    @property
    def redirect_uris(self) -> list[str]:
        return [self.fill(uri) for uri in self.run.redirect_uris or (self.run.redirect_uri,)]

    @property
    def issuer(self) -> str:
        """As the resource names it; of clients that do not ask the resource, as the server names itself."""
        servers = self.resource.get("authorization_servers")
        named = servers[0] if isinstance(servers, list) and servers else self.server.get("issuer", "")
        return str(named)

    @property
    def auth_method(self) -> str:
        """The method the client asks for when it registers."""
        offered = self.server.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
        return next((one for one in self.client.prefers if one in offered), str(offered[0]))

    @property
    def scope(self) -> str:
        rule = self.client.scope
        known = {
            "challenge": self.challenge.get("scope", ""),
            "resource": " ".join(self.resource.get("scopes_supported") or ()),
            "registration": str(self.registration.get("scope", "")),
            "server": " ".join(self.server.get("scopes_supported") or ()),
        }
        scopes = next((known[source] for source in rule.sources if known[source]), rule.otherwise).split()
        if rule.offline_access and "offline_access" in known["server"].split() and "offline_access" not in scopes:
            scopes.append("offline_access")
        return " ".join(scopes)

    @property
    def canonical_url(self) -> str:
        """Lower case, without a slash at the end, a default port or a fragment."""
        parts = urlsplit(self.url)
        port = "" if parts.port in (None, DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
        return f"{parts.scheme}://{parts.hostname}{port}{parts.path.rstrip('/')}"

    @property
    def access_token(self) -> str:
        token = str(self.tokens.get("access_token", ""))
        return token[:-4] + token[-4:].swapcase() + "x" if self.spoilt else token

    def renew(self) -> None:
        """What is new for every authorization request."""
        self.verifier = self.ambient.secret() + self.ambient.secret()
        self.state = self.fill(self.client.state)

    def authorization_url(self, more: Mapping[str, Any]) -> str:
        digest = hashlib.sha256(self.verifier.encode()).digest()
        query = {
            "response_type": "code",
            "client_id": self.client_id,
            "redirect_uri": self.redirect_uri,
            "state": self.state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
            **self.fill_all(more),
        }
        endpoint = str(self.server["authorization_endpoint"])
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query, doseq=True)}"

    def values(self) -> dict[str, str]:
        """What ``{name}`` stands for in the data of a client; empty where it is not known yet."""
        mcp, issuer = urlsplit(self.url), urlsplit(self.issuer)
        digest = hashlib.sha256(self.url.encode()).digest()
        return {
            "mcp": self.url,
            "origin": f"{mcp.scheme}://{mcp.netloc}",
            "path": mcp.path.rstrip("/"),
            "query": f"?{mcp.query}" if mcp.query else "",
            "canonical": self.canonical_url,
            "challenged": self.challenge.get("resource_metadata", ""),
            "resource": str(self.resource.get("resource", "")),
            "issuer": self.issuer.rstrip("/"),
            "issuer_origin": f"{issuer.scheme}://{issuer.netloc}" if issuer.netloc else "",
            "issuer_path": issuer.path.rstrip("/"),
            **{name: str(self.server.get(name, "")) for name in ("registration_endpoint", "token_endpoint")},
            "scope": self.scope,
            "auth_method": self.auth_method,
            "callback_id": base64.urlsafe_b64encode(digest[:9]).decode(),
            "random": self.ambient.identifier(),
        }

    def fill(self, text: str) -> str:
        return PLACEHOLDER.sub(lambda found: self.values().get(found[1], found[0]), text)

    def fill_all(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Left out is a text that comes to nothing; one that was empty to begin with is sent so."""
        filled = {name: self._filled(value) for name, value in values.items()}
        return {name: value for name, value in filled.items() if value is not None}

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.fill(value) or (None if value else "")
        if isinstance(value, dict):
            return self.fill_all(value)
        if isinstance(value, list | tuple):
            return [self._filled(one) for one in value]
        return value

    def headers(self, kind: str, more: Mapping[str, str]) -> dict[str, str]:
        """``kind`` is oauth or mcp."""
        own = self.client.headers.oauth if kind == "oauth" else self.client.headers.mcp
        page = {"Origin": self.client.origin} if self.client.origin else {}
        return {**page, **self.fill_all(own), **self.fill_all(more)}
