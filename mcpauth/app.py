"""The composition root: builds every part, knows the order of starting and stopping."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from . import __version__
from .ambient import Ambient
from .errors import SettingsError
from .fetch.fetcher import Fetcher, Resolve
from .gateway import build as gateway_build
from .gateway.configuration_file import ConfigurationFile
from .gateway.gateway import Gateway
from .gateway.sse_connections import SseConnections
from .host.doctor import at_start
from .host.tailscale import LocalAPI
from .identity.github import GitHub
from .identity.password import Passwords
from .identity.provider import Provider
from .identity.tailscale import Tailscale
from .models.records import ClientMetadata
from .oauth import client_metadata_document, jwks
from .oauth.access_token import AccessTokens
from .oauth.admission import Admission
from .oauth.authorization import Authorization
from .oauth.authorization_code import AuthorizationCodeGrant
from .oauth.browser_session import BrowserSessions
from .oauth.client_assertion import STALE_TTL, ClientAssertions
from .oauth.client_authentication import ClientAuthentication
from .oauth.client_registration import ClientRegistration
from .oauth.clients import Clients
from .oauth.issuer import issuers
from .oauth.pairing import Pairing
from .oauth.profile import Profiles
from .oauth.refresh_token import RefreshTokenGrant
from .oauth.remote_documents import RemoteDocuments
from .oauth.resource import Resources
from .oauth.revocation import Revocation
from .oauth.seal import Seal
from .oauth.setup import CODE_TTL, Setup
from .oauth.sign_in import PasswordSignIn, ProviderSignIn
from .oauth.signing_keys import SigningKeys
from .oauth.tailnet_sign_in import TailnetSignIn
from .oauth.token import TokenEndpoint
from .oauth.trace import Trace
from .oauth.ways_in import WaysIn
from .operations.clients import ClientOperations
from .operations.operations import Operations
from .operations.sessions import SessionOperations
from .operations.users import UserOperations
from .presence import Presence
from .settings import DATABASE, Settings
from .store.client_approvals import ClientApprovalStore
from .store.clients import ClientStore
from .store.codes import CodeStore
from .store.database import Database
from .store.fetched_documents import FetchedDocumentStore
from .store.grants import GrantStore
from .store.keys import KeyFiles
from .store.notices import NoticeStore
from .store.refresh_tokens import RefreshTokenStore
from .store.sessions import Limits, SessionStore
from .store.stories import StoryStore
from .store.sweep import Sweep
from .store.used_once import UsedOnceStore
from .store.users import UserStore

logger = logging.getLogger(__name__)

REQUEST_TTL = 3600
KNOWN_BROWSER_TTL = 400 * 86400
FLUSH, SWEEP = 60, 3600


class Services(NamedTuple):
    """Every part, wired. ``close`` them in reverse."""

    settings: Settings
    ambient: Ambient
    database: Database
    users: UserStore
    clients: ClientStore
    client_approvals: ClientApprovalStore
    grants: GrantStore
    sessions: SessionStore
    sweep: Sweep
    resources: Resources
    signing_keys: SigningKeys
    access_tokens: AccessTokens
    registration: ClientRegistration
    authorization: Authorization
    token_endpoint: TokenEndpoint
    revocation: Revocation
    browser_sessions: BrowserSessions
    known_browsers: Seal
    password_sign_in: PasswordSignIn
    provider_sign_in: ProviderSignIn
    tailscale: Tailscale | None
    tailnet_sign_in: TailnetSignIn
    ways_in: WaysIn
    setup: Setup
    profiles: Profiles
    gateway: Gateway
    sse_connections: SseConnections
    configuration_file: ConfigurationFile
    trace: Trace
    presence: Presence
    operations: Operations
    passwords: Passwords
    http: aiohttp.ClientSession
    client_documents: RemoteDocuments[ClientMetadata]
    client_keys: RemoteDocuments[list[jwks.JWK]]
    fetchers: tuple[Fetcher, ...]

    async def start(self) -> None:
        """Memory is filled from the disk, and the backends are asked what they offer."""
        await self.sessions.load()
        await self.users.load()
        await self.trace.load()
        await self.look_for_tailscale()
        await self.gateway.start()
        self.configuration_file.start()

    async def look_for_tailscale(self) -> None:
        """Until it was found: this machine may start it later than us."""
        if self.tailscale is not None and not self.tailscale.available:
            await self.tailscale.look()

    async def keep_house(self) -> None:
        """Until cancelled: last uses go to the disk, what has expired goes away."""
        swept_at = 0
        while True:
            now = self.ambient.now()
            try:
                await self.sessions.close_idle(now)
                await self.grants.end_expired(now)
                self.signing_keys.forget_replaced(now)
                self.sessions.flush()
                self.gateway.flush()
                await self.look_for_tailscale()
                if now - swept_at >= SWEEP:
                    swept_at = now
                    await self.sweep.run(now)
            except Exception:
                logger.exception("housekeeping_failed")
            await asyncio.sleep(FLUSH)

    async def close(self) -> None:
        """Children first, what they said last is still delivered; the database last of all, whatever happens."""
        try:
            await self.configuration_file.close()
            await self.gateway.close()
            self.passwords.close()
            await self.http.close()
            await self.client_documents.close()
            await self.client_keys.close()
            for fetcher in self.fetchers:
                fetcher.close()
        finally:
            self.sessions.flush()
            await self.trace.save()
            await self.database.close()


async def build_services(
    settings: Settings,
    ambient: Ambient,
    environ: Mapping[str, str] = os.environ,
    *,
    resolve: Resolve | None = None,
) -> Services:
    """Open the data directory and wire every part. Raises SettingsError.

    ``resolve`` is asked for the addresses of hosts that clients name.
    """
    data_dir = prepare_data_dir(settings.data_dir)
    configuration = gateway_build.read_configuration(data_dir)
    keys = KeyFiles(data_dir, ambient)
    signing_keys = SigningKeys(keys, settings.jwt_algorithm, settings.jwt_secret.get_secret_value(), ambient)
    seal_key, refresh_key = keys.secret("seal"), keys.secret("refresh")

    def seal(purpose: str, ttl: int) -> Seal:
        return Seal(seal_key, purpose, ttl, ambient)

    database = await Database.open(data_dir / DATABASE)
    try:
        gateway, configuration_file = gateway_build.build(
            configuration, data_dir=data_dir, database=database, ambient=ambient, environ=environ
        )
    except BaseException:
        await database.close()
        raise
    sessions = SessionStore(database, Limits(settings.max_sessions_per_user, settings.session_timeout))
    users, clients = UserStore(database, sessions), ClientStore(database)
    grants, codes = GrantStore(database, sessions), CodeStore(database, sessions)
    refresh_tokens, used_once = RefreshTokenStore(database, sessions), UsedOnceStore(database)
    ending: set[asyncio.Task[None]] = set()

    def in_gateway(stopping: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(stopping)
        ending.add(task)
        task.add_done_callback(ending.discard)

    sessions.on_closed(lambda grant: in_gateway(gateway.end_grant(grant.grant_id)))
    sessions.on_paused(lambda grant: in_gateway(gateway.pause_grant(grant.grant_id)))

    http = aiohttp.ClientSession()
    passwords = Passwords()
    providers: dict[str, Provider] = {}
    if "github" in settings.enabled_providers:
        providers["github"] = GitHub(
            settings.github_client_id,
            settings.github_client_secret.get_secret_value(),
            settings.github_url,
            settings.github_api_url,
            settings.callback_uri,
            http,
        )
    tailscaled = LocalAPI(settings.tailscale_socket)
    # On a TCP port everybody on this computer could send the headers that it is known by.
    tailscale = Tailscale(tailscaled) if settings.unix_socket is not None else None
    ways_in = WaysIn(users, providers, tailscale, settings.trusted_providers)
    both = issuers(settings.origin, settings.base_path)
    resources = Resources(settings.origin, gateway.names, legacy_sse=settings.legacy_sse)
    access_tokens = AccessTokens(
        signing_keys,
        frozenset(issuer.identifier for issuer in both),
        sessions,
        settings.access_token_expiry,
        ambient,
    )
    client_approvals = ClientApprovalStore(database)
    pairing = Pairing(settings.registration, client_approvals, ambient)
    registration = ClientRegistration(clients, grants, pairing, ambient)
    # One for each, so that slow hosts of documents keep nobody from their keys.
    fetcher, key_fetcher = (
        Fetcher(settings.origin, loopback=settings.cimd_loopback, resolve=resolve) for _ in range(2)
    )
    client_documents = RemoteDocuments(
        client_metadata_document.read, fetcher, FetchedDocumentStore(database, "client"), ambient
    )
    client_keys = RemoteDocuments(
        jwks.read_published, key_fetcher, FetchedDocumentStore(database, "keys"), ambient, stale_ttl=STALE_TTL
    )
    audiences = frozenset(name for one in both for name in (one.identifier, one.url(one.token_path)))
    known_clients = Clients(clients, client_documents, ambient)
    authentication = ClientAuthentication(known_clients, ClientAssertions(client_keys, used_once, audiences, ambient))
    refresh_ttl = settings.refresh_token_expiry
    setup = Setup(users, passwords, seal("setup", CODE_TTL), ambient)
    admission = Admission(users, setup, settings.allowed_users, settings.auto_create_users, ambient)
    trace, presence = Trace(StoryStore(database), ambient), Presence(ambient)
    return Services(
        settings=settings,
        ambient=ambient,
        database=database,
        users=users,
        clients=clients,
        client_approvals=client_approvals,
        grants=grants,
        sessions=sessions,
        sweep=Sweep(database),
        resources=resources,
        signing_keys=signing_keys,
        access_tokens=access_tokens,
        registration=registration,
        authorization=Authorization(
            known_clients,
            grants,
            sessions,
            pairing,
            resources,
            seal("request", REQUEST_TTL),
            settings.code_expiry,
            ambient,
        ),
        token_endpoint=TokenEndpoint(
            authentication,
            [
                AuthorizationCodeGrant(codes, grants, access_tokens, resources, refresh_ttl, ambient),
                RefreshTokenGrant(refresh_tokens, access_tokens, resources, refresh_key, refresh_ttl, ambient),
            ],
        ),
        revocation=Revocation(authentication, access_tokens, refresh_tokens, grants, sessions, ambient),
        browser_sessions=BrowserSessions(sessions, users, ambient),
        known_browsers=seal("known browser", KNOWN_BROWSER_TTL),
        password_sign_in=PasswordSignIn(users, passwords, ambient),
        provider_sign_in=ProviderSignIn(
            {one.id: one for one in ways_in.providers},
            admission,
            used_once,
            seal("state", settings.state_timeout),
            seal("sign-in", settings.state_timeout),
            ambient,
        ),
        tailscale=tailscale,
        tailnet_sign_in=TailnetSignIn(tailscale, ways_in, admission, setup, ambient),
        ways_in=ways_in,
        setup=setup,
        profiles=Profiles(users),
        gateway=gateway,
        sse_connections=SseConnections(gateway, ambient),
        configuration_file=configuration_file,
        trace=trace,
        presence=presence,
        operations=Operations(
            users=users,
            clients=clients,
            sessions=sessions,
            of_users=UserOperations(
                users=users, sessions=sessions, passwords=passwords, admission=admission, ambient=ambient
            ),
            of_clients=ClientOperations(
                users=users,
                clients=clients,
                approvals=client_approvals,
                grants=grants,
                sessions=sessions,
                registration=registration,
                ambient=ambient,
            ),
            of_sessions=SessionOperations(
                users=users, clients=clients, grants=grants, sessions=sessions, ambient=ambient
            ),
            notices=NoticeStore(database),
            ways_in=ways_in,
            trace=trace,
            presence=presence,
            access_tokens=access_tokens,
            signing_keys=signing_keys,
            look=lambda: at_start.look(settings, Path.cwd(), tailscaled),
            summary=lambda: settings.summary(ways_in.available(), ways_in.usable()),
            situation=lambda: situation(settings, gateway, configuration_file, setup, tailscale),
            ambient=ambient,
        ),
        passwords=passwords,
        http=http,
        client_documents=client_documents,
        client_keys=client_keys,
        fetchers=(fetcher, key_fetcher),
    )


def prepare_data_dir(path: Path) -> Path:
    """The data directory, made when it is not there, for the owner's eyes only. Raises SettingsError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            path.chmod(0o700)
    except OSError as error:
        raise SettingsError(f"MCP_OAUTH_DATA_DIR: {path} cannot be used ({error.strerror})") from None
    return path.resolve()


def situation(
    settings: Settings,
    gateway: Gateway,
    configuration_file: ConfigurationFile,
    setup: Setup,
    tailscale: Tailscale | None,
) -> dict[str, Any]:
    """What ``status`` says of the process: where it is reached, and how its backends are."""
    return {
        "version": __version__,
        "mcpUrl": f"{settings.origin}/mcp",
        "sseUrl": f"{settings.origin}/sse" if settings.legacy_sse else None,
        "publicUrl": settings.origin,
        "listensOn": settings.listens_on,
        "registration": settings.registration,
        "dataDir": str(settings.data_dir.resolve()),
        "ownerNeeded": setup.needed,
        "tailscale": tailscale.found if tailscale is not None else None,
        "servers": [
            {
                "name": one.name,
                "state": one.state,
                "reason": one.reason,
                "lastLine": one.last_line or None,
                "tools": [tool.name for tool in one.tools],
            }
            for one in gateway.backends()
        ],
        "switchedOff": list(configuration_file.switched_off),
        "processes": {"running": gateway.processes, "most": configuration_file.limits.processes},
        "configurationProblem": configuration_file.problem,
        "configurationNotes": list(configuration_file.notes),
    }
