"""The authorization endpoint and the decision of the person at it (RFC 6749 §4.1.1-2, RFC 9207)."""

import logging
from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from .. import log
from ..ambient import Ambient, fingerprint
from ..errors import (
    AccessDenied,
    DocumentError,
    InvalidRequest,
    InvalidTarget,
    OAuthError,
    PageError,
    UnsupportedResponseType,
)
from ..models.messages import AuthorizationParams
from ..models.records import AuthorizationCode, Client, Grant, User
from ..store.grants import GrantStore
from ..store.sessions import SessionStore
from . import client_id_url, client_profiles, pkce, redirect_uri, scope
from .client_name import display_name, posed_as, shown_name
from .client_profiles import ClientProfile
from .clients import Clients
from .issuer import Issuer
from .pairing import Pairing
from .resource import Resources
from .seal import Seal

logger = logging.getLogger(__name__)

PKCE_REQUIRED = "PKCE code_challenge and code_challenge_method=S256 are required"
# Through a provider a sealed request travels in a cookie, sealed once more; browsers drop those of more than 4 KiB.
LONGEST_SEALED = 3600


class AuthorizationRequest(BaseModel):
    """A request that was found good. The browser carries it, sealed, so that it costs us no disk."""

    model_config = ConfigDict(frozen=True)

    request_id: str
    issuer: str
    scope_added: bool
    client_id: str
    redirect_uri: str
    state: str | None = None
    code_challenge: str
    scope: str
    resource: str

    def redirect(self, parameters: Mapping[str, str]) -> str:
        """Where the answer goes, ``state`` as it came, ``iss`` as RFC 9207 wants it."""
        return _redirect(self.redirect_uri, parameters, self.state, self.issuer)


class RedirectedError(Exception):
    """``error`` goes to the client, at ``location``; only ever made for a redirect URI that was checked."""

    def __init__(self, error: OAuthError, location: str) -> None:
        super().__init__(str(error))
        self.error, self.location = error, location


class ConsentQuestion(BaseModel):
    """What the consent page asks. ``before`` is what this person allowed this client last, for the same resource.

    ``client_host`` is the host that publishes what the client is; None for one that registered. ``profile`` is who
    gets the code for certain; ``posed_as`` who the client's name suggests, when it is not them. ``approves``: the
    person is an owner, whose yes lets the client in for everybody.
    """

    model_config = ConfigDict(frozen=True)

    request: AuthorizationRequest
    client: Client
    client_name: str
    client_host: str | None
    profile: ClientProfile | None
    posed_as: ClientProfile | None
    approves: bool
    before: Grant | None
    signs_out: str | None
    scope_note: str | None


def _redirect(uri: str, parameters: Mapping[str, str], state: str | None, issuer: str) -> str:
    values = dict(parameters)
    if state is not None:
        values["state"] = state
    return redirect_uri.with_parameters(uri, {**values, "iss": issuer})


def _stale() -> PageError:
    hint = "Go back to the app that sent you here and connect it again."
    return PageError(400, "This request has expired", hint)


def _answered() -> PageError:
    return PageError(409, "You have answered this already", "If the app did not connect, start again there.")


class Authorization:
    def __init__(
        self,
        clients: Clients,
        grants: GrantStore,
        sessions: SessionStore,
        pairing: Pairing,
        resources: Resources,
        seal: Seal,
        code_ttl: int,
        ambient: Ambient,
    ) -> None:
        self._clients, self._grants, self._sessions = clients, grants, sessions
        self._pairing, self._resources, self._seal = pairing, resources, seal
        self._code_ttl, self._ambient = code_ttl, ambient

    async def begin(self, issuer: Issuer, query: Mapping[str, Sequence[str]], *, signed_in: bool, party: str) -> str:
        """Check the request and seal it. Nothing of it is stored, so it may come twice.

        Raises PageError until client and redirect URI are known to belong together. After that an error goes
        to the client (RedirectedError) where the address is trusted, so that a stranger cannot register a
        client and use this host as an open redirector; elsewhere it is an OAuthError.
        """
        params = AuthorizationParams(
            **{name: values[0] for name, values in query.items() if name in AuthorizationParams.model_fields}
        )
        for name in ("client_id", "redirect_uri"):
            if len(query.get(name, ())) > 1:
                raise PageError(400, "This link is broken", f"It names {name} more than once.")
        if not params.client_id:
            raise PageError(400, "This link is broken", "It lacks the client_id.")
        client = await self._find(params.client_id, party)
        if client is None:
            raise PageError(
                400,
                "This app is not known here",
                "Remove the connection in the app that sent you here, and add it again: it then registers anew.",
                "invalid_client",
            )
        uri = self._redirect_uri(client, params.redirect_uri)
        await self._pairing.check(client, uri)
        try:
            sealed = self._seal.seal(self._check(issuer, client, uri, params, query))
            if len(sealed) > LONGEST_SEALED:
                raise InvalidRequest("the request is too long: use a shorter state")
            return sealed
        except OAuthError as error:
            logger.info(
                "authorization_refused",
                extra=log.bounded(client_id=client.client_id, error=error.error, reason=error.description),
            )
            if not (signed_in or await self._is_trusted(client, uri)):
                raise
            state = params.state if len(query.get("state", ())) <= 1 else None
            location = _redirect(uri, error.body(), state, issuer.identifier)
            raise RedirectedError(error, location) from None

    async def _find(self, client_id: str, party: str | None = None) -> Client | None:
        try:
            return await self._clients.find(client_id, party)
        except DocumentError as error:
            code = "invalid_client" if error.status < 429 else "temporarily_unavailable"
            useless = "The document about this app cannot be used"
            raise PageError(
                error.status,
                f"{useless}: {error.reason}",
                "The client_id is the address of that document. Try again in a minute; "
                "if it stays so, it is for the maker of the app to mend.",
                code,
                for_owner=f"{useless}: {error.for_owner}",
            ) from None

    @staticmethod
    def _redirect_uri(client: Client, given: str) -> str:
        registered = client.metadata.redirect_uris
        if not given:
            # RFC 6749 §3.1.2.3: it may be left out where there is only one.
            if len(registered) == 1:
                return registered[0]
            raise PageError(400, "This link is broken", "It lacks the redirect_uri.")
        if not redirect_uri.is_registered(given, registered):
            raise PageError(
                400,
                "This link leads somewhere else",
                "The address that would get the answer is not one that this app registered. "
                "If you started this yourself, remove the connection there and add it again.",
            )
        return given

    async def _is_trusted(self, client: Client, uri: str) -> bool:
        return (
            redirect_uri.is_loopback(uri)
            or client_profiles.is_hosted(uri)
            or client_profiles.is_private_use(uri)
            or client.preregistered
            or uri in [grant.redirect_uri for grant in await self._grants.connected(client.client_id)]
        )

    def _check(
        self,
        issuer: Issuer,
        client: Client,
        uri: str,
        params: AuthorizationParams,
        query: Mapping[str, Sequence[str]],
    ) -> AuthorizationRequest:
        for name, values in query.items():
            if name == "resource" and len(set(values)) > 1:
                raise InvalidTarget("only one resource can be asked for at a time")
            if name != "resource" and len(values) > 1:
                raise InvalidRequest("a parameter is included more than once")
        if params.response_type != "code":
            if not params.response_type:
                raise InvalidRequest("response_type is missing: it must be code")
            raise UnsupportedResponseType("response_type must be code")
        if params.code_challenge_method != "S256" or not params.code_challenge:
            raise InvalidRequest(PKCE_REQUIRED)
        if not pkce.is_challenge(params.code_challenge):
            raise InvalidRequest("code_challenge must be 43 base64url characters, as S256 makes them")
        wanted = scope.resolve(params.scope, self._resources.backends())
        return AuthorizationRequest(
            request_id=self._ambient.identifier(),
            scope_added=bool(params.scope) and "mcp" in set(wanted.split()) - set(params.scope.split()),
            issuer=issuer.identifier,
            client_id=client.client_id,
            redirect_uri=uri,
            state=params.state,
            code_challenge=params.code_challenge,
            scope=wanted,
            resource=self._resources.canonical(params.resource),
        )

    async def client_of(self, sealed: str) -> str:
        """The name of the client that a sealed request is of, for the sign-in page. Raises PageError."""
        request = self._unseal(sealed)
        return shown_name(await self._client(request), request.redirect_uri)

    async def question(self, sealed: str, user: User) -> ConsentQuestion:
        """What to ask ``user``. Raises PageError."""
        request = self._unseal(sealed)
        client = await self._client(request)
        await self._pairing.check(client, request.redirect_uri)
        approves = await self._pairing.needs_approval(client, user)
        connected = await self._grants.connected(client.client_id, user.user_id)
        return ConsentQuestion(
            request=request,
            client=client,
            client_name=shown_name(client, request.redirect_uri),
            client_host=client_id_url.host(client.client_id) if client_id_url.is_url(client.client_id) else None,
            profile=client_profiles.identify(client.client_id, request.redirect_uri),
            posed_as=posed_as(client, request.redirect_uri),
            approves=approves,
            before=next((one for one in connected if one.ended_at is None and one.resource == request.resource), None),
            signs_out=await self._surplus(user),
            scope_note="It did not ask for mcp, which everything here needs, so mcp was added."
            if request.scope_added
            else None,
        )

    async def _surplus(self, user: User) -> str | None:
        live = self._sessions.surplus_for(user.user_id, self._ambient.now())
        if live is None or live.grant is None:
            return None
        client = await self._clients.find_approved(live.grant.client_id)
        return display_name(client) if client else None

    async def approve(self, sealed: str, user: User, servers: Mapping[str, frozenset[str] | None] | None) -> str:
        """The person said yes: where the code goes. Works once for each request. Raises PageError."""
        request = self._unseal(sealed)
        client = await self._client(request)
        await self._pairing.check(client, request.redirect_uri)
        await self._pairing.needs_approval(client, user)
        now = self._ambient.now()
        code = self._ambient.secret()
        grant = Grant(
            grant_id=self._ambient.identifier(),
            user_id=user.user_id,
            client_id=client.client_id,
            redirect_uri=request.redirect_uri,
            scope=request.scope,
            resource=request.resource,
            servers=servers,
            created_at=now,
        )
        issued = AuthorizationCode(
            code_hash=fingerprint(code),
            grant_id=grant.grant_id,
            user_id=user.user_id,
            client_id=client.client_id,
            redirect_uri=request.redirect_uri,
            code_challenge=request.code_challenge,
            resource=request.resource,
            expires_at=now + self._code_ttl,
            redeemed_at=None,
        )
        described = client if client_id_url.is_url(client.client_id) else None
        once_hash, once_until = fingerprint(request.request_id), now + self._seal.ttl
        if not await self._grants.approve(grant, issued, once_hash, once_until, described):
            raise _answered()
        about = log.fields(client_id=client.client_id, grant_id=grant.grant_id, user_id=user.user_id)
        logger.info("consent_approved", extra=about)
        return request.redirect({"code": code})

    async def deny(self, sealed: str, user: User) -> str:
        """The person said no: where the client hears of it. Works once for each request. Raises PageError."""
        request = self._unseal(sealed)
        client = await self._client(request)
        if not await self._grants.deny(fingerprint(request.request_id), self._ambient.now() + self._seal.ttl):
            raise _answered()
        logger.info("consent_denied", extra=log.fields(client_id=client.client_id, user_id=user.user_id))
        return request.redirect(AccessDenied("the person said no").body())

    def peek(self, sealed: str) -> AuthorizationRequest | None:
        """What was sealed, good or not any more; for the trace alone."""
        return self._seal.unseal(sealed, AuthorizationRequest)

    def _unseal(self, sealed: str) -> AuthorizationRequest:
        request = self._seal.unseal(sealed, AuthorizationRequest)
        if request is None:
            raise _stale()
        return request

    async def _client(self, request: AuthorizationRequest) -> Client:
        """The client, still there and with that redirect URI: either may have changed since."""
        client = await self._find(request.client_id)
        if client is None or not redirect_uri.is_registered(request.redirect_uri, client.metadata.redirect_uris):
            raise _stale()
        return client
