"""What is served where: the route table, and the application around it."""

import logging
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tornado import httputil, web

from . import __version__, log
from .app import Services
from .errors import SettingsError
from .models.principal import Principal
from .oauth import resource_metadata
from .oauth.issuer import issuers
from .settings import Settings
from .web import ticks
from .web.authorize import AuthorizeHandler
from .web.consent import ConsentHandler
from .web.gate import Gate, SseGate
from .web.information import HealthHandler, HomeHandler, MeHandler, ProvidersHandler, UserInfoHandler
from .web.limits import UNLIMITED, WITH_MESSAGES, LimitedApplication
from .web.mcp import JSON_WITHIN, McpHandler
from .web.metadata import (
    JWKSHandler,
    NoDocumentHandler,
    ResourceMetadataHandler,
    ServerMetadataHandler,
    SseMetadataHandler,
)
from .web.not_found import NotFoundHandler
from .web.overdue import Overdue
from .web.presence import PresenceHandler
from .web.registration import ClientConfigurationHandler, RegistrationHandler
from .web.server import LimitedServer
from .web.setup import SetupHandler
from .web.sign_in import CallbackHandler, SignInHandler, SignOutHandler
from .web.site import Site, networks
from .web.sse import MessagesHandler, SseHandler
from .web.static import AssetHandler
from .web.tailnet_sign_in import TailnetSignInHandler
from .web.token import IntrospectionHandler, RevocationHandler, TokenHandler

logger = logging.getLogger(__name__)

REQUEST = "%s %s %s %.1fms"


def make_app(services: Services) -> LimitedApplication:
    """The application; what it serves is on this page."""
    s, settings = services, services.settings
    origin, base = settings.origin, settings.base_path
    root, seed = issuers(origin, base)
    own = Principal(subject="", client_id="", grant_id="", session_id="", scopes=frozenset({"mcp"}))
    judged_by = (
        s.access_tokens,
        s.registration,
        s.resources,
        settings.allowed_origins,
        None if settings.enabled else lambda: own,
    )
    steps = {
        "ways_in": s.ways_in,
        "provider_sign_in": s.provider_sign_in,
        "tailnet_sign_in": s.tailnet_sign_in,
    }
    bearer = {
        "access_tokens": s.access_tokens,
        "profiles": s.profiles,
        "metadata_url": resource_metadata.url(s.resources, s.resources.default),
    }
    sign_in = {
        **steps,
        "authorization": s.authorization,
        "password_sign_in": s.password_sign_in,
        "known_browsers": s.known_browsers,
    }
    mcp = {"gateway": s.gateway, "gate": Gate(*judged_by), "slow": Overdue(JSON_WITHIN)}
    older = {"gateway": s.gateway, "gate": SseGate(*judged_by), "connections": s.sse_connections}
    documents, registration = {"resources": s.resources}, {"registration": s.registration}
    authorize = {**steps, "authorization": s.authorization}
    well_known = "/.well-known"
    registered = f"{well_known}/oauth-registration(?:/mcp)?"

    over_sse: list[Any] = [
        ("/sse/?", SseHandler, older),
        ("/messages", MessagesHandler, older),
        (f"{well_known}/oauth-protected-resource/sse/?", SseMetadataHandler, documents),
    ]
    routes: list[Any] = [
        # MCP. Routes are tried in this order, and most requests come here.
        ("/mcp/?", McpHandler, mcp),
        ("/mcp/(?P<backend>[a-z0-9-]{1,24})/?", McpHandler, mcp),
        *(over_sse if settings.legacy_sse else ()),
        # Who we are. Whoever was given an address with a slash at its end asks with one.
        (f"{well_known}/oauth-authorization-server/?", ServerMetadataHandler, {**documents, "issuer": root}),
        (f"{well_known}/oauth-authorization-server/mcp/?", ServerMetadataHandler, {**documents, "issuer": seed}),
        (f"/mcp{well_known}/oauth-authorization-server/?", ServerMetadataHandler, {**documents, "issuer": seed}),
        (f"{well_known}/oauth-protected-resource/?", ResourceMetadataHandler, documents),
        (f"{well_known}/oauth-protected-resource/mcp/?", ResourceMetadataHandler, documents),
        (f"{well_known}/oauth-protected-resource/mcp/([a-z0-9-]+)/?", ResourceMetadataHandler, documents),
        (f"(?:/mcp)?{well_known}/openid-configuration(?:/mcp)?/?", NoDocumentHandler, None),
        (f"/jwks|{well_known}/jwks\\.json", JWKSHandler, {"signing_keys": s.signing_keys}),
        # The registration of the seed is beneath a well-known name, and once more without the path.
        (registered, RegistrationHandler, {**registration, "issuer": seed}),
        (f"{registered}/(mcp_client_\\w+)", ClientConfigurationHandler, {**registration, "issuer": seed}),
        (root.registration_path, RegistrationHandler, {**registration, "issuer": root}),
        (f"{root.registration_path}/([^/]+)", ClientConfigurationHandler, {**registration, "issuer": root}),
        # The two issuers: the same handlers, mounted twice.
        *(
            route
            for issuer in (root, seed)
            for route in (
                (issuer.authorization_path, AuthorizeHandler, {**authorize, "issuer": issuer}),
                (issuer.token_path, TokenHandler, {"endpoint": s.token_endpoint, "issuer": issuer}),
                (issuer.revocation_path, RevocationHandler, {"revocation": s.revocation}),
                (issuer.introspection_path, IntrospectionHandler, {"revocation": s.revocation}),
            )
        ),
        # Pages.
        ("/", HomeHandler, None),
        ("/setup", SetupHandler, {**steps, "setup": s.setup}),
        (f"{base}/signin", SignInHandler, sign_in),
        (f"{base}/signin/tailscale", TailnetSignInHandler, sign_in),
        (f"{base}/consent", ConsentHandler, {"authorization": s.authorization, "gateway": s.gateway}),
        (f"{base}/logout", SignOutHandler, None),
        *((path, CallbackHandler, {"provider_sign_in": s.provider_sign_in}) for path in settings.callback_paths),
        # What anybody, or a bearer, may know.
        (
            f"{base}/health",
            HealthHandler,
            {
                "summary": s.operations.summary,
                "ambient": s.ambient,
                "enabled": settings.enabled,
            },
        ),
        (f"{base}/providers", ProvidersHandler, {"ways_in": s.ways_in, "ambient": s.ambient}),
        (f"{base}/me", MeHandler, bearer),
        (f"{base}/userinfo", UserInfoHandler, bearer),
        (f"{base}/presence/([A-Za-z0-9_-]{{43}})", PresenceHandler, {"presence": s.presence}),
    ]
    # A form may have a field for each tool; Tornado takes a thousand.
    fields = httputil.ParseUrlEncodedConfig(max_arguments=ticks.MOST + 1000)
    httputil.set_parse_body_config(httputil.ParseBodyConfig(urlencoded=fields))
    return LimitedApplication(
        routes,
        default_handler_class=NotFoundHandler,
        template_path=str(Path(__file__).parent / "templates"),
        static_path=static_dir(),
        static_handler_class=AssetHandler,
        log_function=log_request,
        unlimited=WITH_MESSAGES if settings.legacy_sse else UNLIMITED,
        large_form=f"{base}/consent",
        xsrf_cookies=True,
        xsrf_cookie_name="__Host-mcpauth_xsrf" if settings.cookies_are_secure else "mcpauth_xsrf",
        xsrf_cookie_kwargs={
            "httponly": True,
            "secure": settings.cookies_are_secure,
            "samesite": "lax",
            "path": "/",
        },
        site=make_site(settings),
        browser_sessions=s.browser_sessions,
        banners=s.operations.banners,
        trace=s.trace,
    )


def make_server(app: LimitedApplication, *, most: int) -> LimitedServer:
    """It takes at most ``most`` connections at a time."""
    return LimitedServer(app, most=most)


def make_site(settings: Settings) -> Site:
    try:
        proxies = networks(settings.trusted_proxies)
    except ValueError:
        raise SettingsError("MCP_OAUTH_TRUSTED_PROXIES: must be addresses or networks") from None
    return Site(
        origin=settings.origin,
        base_path=settings.base_path,
        version=__version__,
        secure_cookies=settings.cookies_are_secure,
        session_ttl=30 * 86400,
        trusted_proxies=proxies,
    )


def static_dir() -> str:
    """Beside the package in an installation from a wheel, above it in a checkout."""
    here = Path(__file__).parent
    return str(here / "static" if (here / "static").is_dir() else here.parent / "static")


def log_request(handler: web.RequestHandler) -> None:
    """One line for each request, without its query: that is where the secrets of OAuth travel."""
    status, request = handler.get_status(), handler.request
    if status < 500 and not logger.isEnabledFor(logging.DEBUG):
        return
    milliseconds = 1000 * request.request_time()
    about = status, request.method, urlsplit(request.path).path[:200], milliseconds
    if status >= 500:
        logger.error(REQUEST, *about, extra=log.bounded())
    else:
        logger.info(REQUEST, *about)
