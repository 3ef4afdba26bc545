"""Settings: one frozen model, read from the environment and from `.env`."""

import difflib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails

from .errors import SettingsError

DATABASE = "mcpauth.sqlite3"
PREFIXES = ("MCP_OAUTH_", "OAUTH_")  # the first one that is set wins

# Names that the manual keeps for later: refused as such, never ignored.
NOT_BUILT_YET = {
    "GITHUB_ALLOWED_ORGS",
    "GOOGLE_CLIENT_ID",
    "GOOGLE_CLIENT_SECRET",
    "METRICS_PORT",
    "OIDC_CLIENT_ID",
    "OIDC_CLIENT_SECRET",
    "OIDC_ISSUER",
}

IN_OUR_WORDS = {"bool_parsing": "must be true or false", "int_parsing": "must be a whole number"}

PROVIDERS = ("github", "tailscale", "password")

LOOPBACK_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def split_commas(value: Any) -> Any:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def origin_of(url: str) -> str:
    """``scheme://host[:port]`` of ``url``: lower case, without a default port.

    Raises ValueError when there is no http(s) host, or when there is userinfo.
    """
    try:
        parts = urlsplit(url)
        host, number = parts.hostname, parts.port
    except ValueError:
        # What urllib says of it quotes it.
        raise ValueError("must be an http or https URL with a host and, if any, a numeric port") from None
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
        raise ValueError("must be an http or https URL with a host")
    default = {"http": 80, "https": 443}[parts.scheme]
    port = "" if number in (None, default) else f":{number}"
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def public_origin(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = urlsplit(value)
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("must be an origin such as https://host.tailnet.ts.net, without a path")
    return origin_of(value)


def callback_url(value: Any) -> Any:
    if isinstance(value, str):
        origin_of(value)
        parts = urlsplit(value)
        if len(parts.path) < 2 or parts.query or parts.fragment:
            raise ValueError("must have a path, and neither query nor fragment")
    return value


def api_url(value: Any) -> Any:
    if isinstance(value, str):
        origin_of(value)
        if urlsplit(value).query or urlsplit(value).fragment:
            raise ValueError("must have neither query nor fragment")
        return value.rstrip("/")
    return value


def path_prefix(value: Any) -> Any:
    if isinstance(value, str):
        value = "/" + value.strip("/")
        if value == "/" or any(not (c.isalnum() or c in "/-_.") for c in value) or "//" in value:
            raise ValueError("must be a path such as /auth/oauth")
        if value.split("/")[1] in ("mcp", ".well-known", "admin", "static"):
            raise ValueError("must not begin with a path that the server needs for something else")
    return value


CommaSeparated = Annotated[tuple[str, ...], BeforeValidator(split_commas)]
Seconds = Annotated[int, Field(ge=1)]


class Settings(BaseModel):
    """One field per variable; the description is the manual's text for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false switches authorization off; only with UNIX_SOCKET.")
    public_url: Annotated[str, BeforeValidator(public_origin)] = Field(
        "", description="The public origin, such as https://host.tailnet.ts.net."
    )
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(3210, ge=0, le=65535, description="Port to listen on.")
    unix_socket: Path | None = Field(None, description="Listen on this Unix socket instead (mode 0600).")
    data_dir: Path = Field(Path("data"), description="Where the database, keys and mcp.json are.")
    base_path: Annotated[str, BeforeValidator(path_prefix)] = Field(
        "/auth/oauth",
        description="Prefix of the sign-in and consent pages and of the second issuer's endpoints.",
    )
    redirect_uri: Annotated[str, BeforeValidator(callback_url)] = Field(
        "", description="Where sign-in providers send the browser back to."
    )
    github_client_id: str = Field("", description="Client id of your GitHub OAuth app; enables GitHub.")
    github_client_secret: SecretStr = Field(SecretStr(""), description="Its client secret.")
    github_url: Annotated[str, BeforeValidator(public_origin)] = Field(
        "https://github.com", description="GitHub Enterprise: its origin."
    )
    github_api_url: Annotated[str, BeforeValidator(api_url)] = Field(
        "https://api.github.com", description="GitHub Enterprise: its API."
    )
    trusted_providers: CommaSeparated = Field((), description="Of the enabled providers, those that count.")
    auto_create_users: bool = Field(True, description="A stranger who signs in becomes a pending user.")
    allowed_users: CommaSeparated = Field(
        (),
        description="Who needs no approval, such as github:octocat; globs. An exact first entry is the owner.",
    )
    jwt_secret: SecretStr = Field(SecretStr(""), description="HS256 signing secret; generated when not set.")
    jwt_algorithm: Literal["HS256", "RS256", "ES256", "EdDSA"] = Field(
        "HS256", description="How access tokens are signed."
    )
    access_token_expiry: Seconds = Field(3600, description="Life of an access token, in seconds.")
    refresh_token_expiry: Seconds = Field(2592000, description="Life of a refresh token since its last use.")
    code_expiry: int = Field(300, ge=10, le=600, description="Life of an authorization code, in seconds.")
    state_timeout: int = Field(600, ge=60, le=3600, description="How long a sign-in may take, in seconds.")
    session_timeout: Seconds = Field(86400, description="A session ends this long after its last use.")
    max_sessions_per_user: int = Field(5, ge=1, description="Browser sessions, and client sessions, per user.")
    secure_cookies: bool | None = Field(None, description="By default as the scheme of PUBLIC_URL says.")
    same_site_policy: Literal["lax"] = Field("lax", description="Only lax works with sign-in providers.")
    trusted_proxies: CommaSeparated = Field(
        ("127.0.0.0/8", "::1"), description="Addresses and networks whose X-Forwarded-* headers count."
    )
    tailscale_socket: Path | None = Field(
        None, description="Where tailscaled listens, when that is not where it usually does."
    )
    cimd_loopback: bool = Field(
        False, description="Fetch clients' documents from this computer instead of the internet; for tests."
    )
    allowed_origins: CommaSeparated = Field((), description="More browser origins that may call /mcp.")
    registration: Literal["open", "known", "approve"] = Field(
        "open", description="Which clients may be connected: all, known ones, or those that you approved."
    )
    legacy_sse: bool = Field(False, description="Serve /sse and /messages, for clients of MCP 2024-11-05.")
    log_format: Literal["console", "json"] | None = Field(None, description="console on a terminal, else json.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="How much to log.")

    @property
    def origin(self) -> str:
        """The public origin, without a trailing slash: never derived from a request."""
        if self.public_url:
            return self.public_url
        if self.redirect_uri:
            return origin_of(self.redirect_uri)
        return f"http://localhost:{self.port}" if self.port != 80 else "http://localhost"

    @property
    def callback_uri(self) -> str:
        return self.redirect_uri or f"{self.origin}{self.base_path}/callback"

    @property
    def callback_paths(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((f"{self.base_path}/callback", urlsplit(self.callback_uri).path)))

    @property
    def loopback(self) -> bool:
        """Whether the public origin is this computer only."""
        return public_host(self.origin) in LOOPBACK_HOSTS

    @property
    def listens_on(self) -> str:
        """The socket, or address and port, that a proxy in front has to know."""
        if self.unix_socket is not None:
            return str(self.unix_socket)
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def cookies_are_secure(self) -> bool:
        return self.origin.startswith("https:") if self.secure_cookies is None else self.secure_cookies

    @property
    def enabled_providers(self) -> tuple[str, ...]:
        """The providers that settings alone enable: Tailscale has to be there, and somebody has to have a password."""
        return ("github",) if self.github_client_id else ()

    def trusts(self, provider: str) -> bool:
        return not self.trusted_providers or provider in self.trusted_providers

    def summary(self, available: Sequence[str], trusted: Sequence[str]) -> dict[str, Any]:
        """What ``health`` and ``config`` tell: no secrets. The providers are those of this moment."""
        return {
            "providers": {
                "available": list(available),
                "trusted": list(trusted),
                "redirectUri": self.callback_uri,
            },
            "tokens": {
                "accessTokenExpiry": self.access_token_expiry,
                "refreshTokenExpiry": self.refresh_token_expiry,
                "algorithm": self.jwt_algorithm,
            },
            "sessions": {
                "timeout": self.session_timeout,
                "maxPerUser": self.max_sessions_per_user,
                "autoCreateUsers": self.auto_create_users,
            },
            "http": {
                "basePath": self.base_path,
                "secureCookies": self.cookies_are_secure,
                "sameSitePolicy": self.same_site_policy,
            },
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Raises SettingsError, naming the variable and never its value."""
        for key in sorted(environ):
            if key.startswith(PREFIXES[0]):
                _check_name(key, cls.model_fields)
            elif key.startswith(PREFIXES[1]) and key.removeprefix(PREFIXES[1]) in NOT_BUILT_YET and environ[key]:
                raise SettingsError(f"{key} is not built yet: remove it")
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            given = (environ.get(prefix + name.upper()) for prefix in PREFIXES)
            if value := next(filter(None, given), None):
                values[name] = value
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            name = str(first["loc"][0])
            raise SettingsError(f"{variable(name, environ)}: {_reason(name, first)}") from None
        _check_together(settings, environ)
        return settings


def variable(name: str, environ: Mapping[str, str]) -> str:
    """The variable that the field ``name`` was read from, or would be."""
    for prefix in PREFIXES:
        if environ.get(prefix + name.upper()):
            return prefix + name.upper()
    return PREFIXES[0] + name.upper()


def public_host(origin: str) -> str:
    """The host of an origin, without its port; IPv6 in brackets."""
    host = urlsplit(origin).hostname or ""
    return f"[{host}]" if ":" in host else host


def _check_name(key: str, known: Mapping[str, Any]) -> None:
    name = key.removeprefix(PREFIXES[0])
    if name in NOT_BUILT_YET:
        raise SettingsError(f"{key} is not built yet: remove it")
    if name.lower() not in known or name != name.upper():
        # Without the prefix: it is the same in all of them, and would make everything alike.
        close = difflib.get_close_matches(name.upper(), [field.upper() for field in known], n=1, cutoff=0.4)
        hint = f"; did you mean {PREFIXES[0]}{close[0]}?" if close else ""
        raise SettingsError(f"unknown setting: {key}{hint}")


def _reason(name: str, error: ErrorDetails) -> str:
    if name == "same_site_policy":
        return (
            "only lax works: with strict a sign-in that comes back from a provider would loop, "
            "and none would let other sites use the owner's session"
        )
    return IN_OUR_WORDS.get(error["type"]) or error["msg"].removeprefix("Value error, ")


def _check_together(settings: Settings, environ: Mapping[str, str]) -> None:
    """What no single field can know. Raises SettingsError."""

    def refuse(name: str, reason: str) -> None:
        raise SettingsError(f"{variable(name, environ)}: {reason}")

    if not settings.enabled and settings.unix_socket is None:
        refuse(
            "enabled",
            "authorization can be switched off only together with MCP_OAUTH_UNIX_SOCKET: behind "
            "tailscale serve every request comes from loopback, so a loopback address proves nothing",
        )
    secret = settings.jwt_secret.get_secret_value()
    if secret and settings.jwt_algorithm == "HS256" and len(secret.encode()) < 32:
        refuse("jwt_secret", "must be at least 32 bytes long, for example: openssl rand -hex 32")
    if secret and settings.jwt_algorithm != "HS256":
        refuse(
            "jwt_secret",
            f"is for HS256 only; the {settings.jwt_algorithm} key is generated in the data directory",
        )
    if bool(settings.github_client_id) != bool(settings.github_client_secret.get_secret_value()):
        missing = "github_client_secret" if settings.github_client_id else "github_client_id"
        refuse(missing, "is missing: GitHub needs both the client id and the client secret")
    for name, url in (("github_url", settings.github_url), ("github_api_url", settings.github_api_url)):
        if url.startswith("http:") and public_host(url) not in LOOPBACK_HOSTS:
            refuse(name, "must be https: the client secret goes there")
    for provider in settings.trusted_providers:
        if provider not in PROVIDERS:
            refuse("trusted_providers", f"there are only these providers: {', '.join(PROVIDERS)}")
        if provider == "tailscale" and settings.unix_socket is None:
            refuse("trusted_providers", "tailscale needs MCP_OAUTH_UNIX_SOCKET: its headers could be forged elsewhere")
        if provider == "github" and provider not in settings.enabled_providers:
            refuse("trusted_providers", f"{provider} is not enabled: set its client id and secret")
    if not settings.origin.startswith("https:") and not settings.loopback:
        name = "public_url" if settings.public_url else "redirect_uri"
        refuse(name, "must be https: only a loopback address may be plain http")
    if settings.cimd_loopback and not settings.loopback:
        refuse("cimd_loopback", "is for tests: only with a public URL that is a loopback address")
    if settings.redirect_uri and origin_of(settings.redirect_uri) != settings.origin:
        refuse("redirect_uri", "must be at the origin that MCP_OAUTH_PUBLIC_URL names")
    if settings.cookies_are_secure and settings.origin.startswith("http:"):
        refuse("secure_cookies", "secure cookies need an https public URL")
    if not settings.cookies_are_secure and settings.origin.startswith("https:"):
        refuse("secure_cookies", "cookies must be secure when the public URL is https")
    reserved = {"/", "/authorize", "/token", "/register", "/revoke", "/introspect", "/jwks", "/setup"}
    reserved |= {"/mcp", "/sse", "/messages"}
    for path in settings.callback_paths:
        if path.rstrip("/") in reserved or path.startswith(("/mcp/", "/.well-known/", "/admin", "/static/")):
            refuse("redirect_uri", "its path is one that the server needs for something else")
    if settings.port == 0 and not (settings.public_url or settings.redirect_uri):
        refuse("port", "0 needs MCP_OAUTH_PUBLIC_URL: the public URL must be known")


def read_environment(directory: Path) -> dict[str, str]:
    """The process environment over the ``.env`` of ``directory``."""
    values = dotenv_values(directory / ".env", interpolate=False)
    for name, value in values.items():
        if value is None:
            raise SettingsError(f".env: {name} has no value: expected NAME=value")
    return {**{name: value for name, value in values.items() if value is not None}, **os.environ}
