"""The rows of the store, as frozen records. ``_at`` is epoch seconds, ``_hash`` a fingerprint."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

Role = Literal["owner", "member", "pending"]
AuthMethod = Literal["none", "client_secret_post", "client_secret_basic", "private_key_jwt"]


class Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class User(Record):
    user_id: str
    name: str
    role: Role
    created_at: int
    role_set_at: int


class Identity(Record):
    """What a provider says of a person. ``provider_id`` is its immutable key."""

    provider: str
    provider_id: str
    login: str
    email: str | None = None
    picture: str | None = None


class ClientMetadata(Record):
    """What a client registered (RFC 7591 §2), as it is echoed, or published of itself."""

    client_name: str | None = None
    redirect_uris: tuple[str, ...]
    grant_types: tuple[str, ...] = ("authorization_code", "refresh_token")
    response_types: tuple[str, ...] = ("code",)
    token_endpoint_auth_method: AuthMethod = "client_secret_basic"
    token_endpoint_auth_methods_supported: tuple[AuthMethod, ...] | None = None
    token_endpoint_auth_signing_alg: str | None = None
    jwks: dict[str, Any] | None = None
    jwks_uri: str | None = None
    scope: str | None = None
    client_uri: str | None = None
    logo_uri: str | None = None
    tos_uri: str | None = None
    policy_uri: str | None = None
    contacts: tuple[str, ...] | None = None
    software_id: str | None = None
    software_version: str | None = None
    application_type: Literal["web", "native"] | None = None

    @property
    def auth_methods(self) -> tuple[AuthMethod, ...]:
        """How it may prove itself: any of a list, where it published one beside the one method."""
        return self.token_endpoint_auth_methods_supported or (self.token_endpoint_auth_method,)


class Client(Record):
    client_id: str
    metadata: ClientMetadata
    secret_hash: str | None
    registration_token_hash: str | None
    preregistered: bool
    created_at: int
    used_at: int | None
    label: str | None = None
    paused_at: int | None = None
    access_token_ttl: int | None = None

    @property
    def name(self) -> str:
        """What to call it before a person: what it says of itself, else its id."""
        return self.metadata.client_name or self.client_id


class Grant(Record):
    """What a user allowed one client. ``servers``: see models.principal.Principal.

    ``asserted``: the client proved itself with a key once, and nothing weaker is taken for this grant since.
    """

    grant_id: str
    user_id: str
    client_id: str
    redirect_uri: str
    scope: str
    resource: str
    servers: Mapping[str, frozenset[str] | None] | None
    created_at: int
    ended_at: int | None = None
    end_reason: str | None = None
    label: str | None = None
    paused_at: int | None = None
    ends_at: int | None = None
    asserted: bool = False


class AuthorizationCode(Record):
    """A code with what it needs to know of its grant."""

    code_hash: str
    grant_id: str
    user_id: str
    client_id: str
    redirect_uri: str
    code_challenge: str
    resource: str
    expires_at: int
    redeemed_at: int | None


class ClientApproval(Record):
    """What the owner decided about a client; ``decision`` None: it waits. ``hosts`` is where its answers go."""

    client_id: str
    client_name: str
    hosts: str
    asked_by: str | None
    asked_at: int
    decision: Literal["approved", "refused"] | None
    decided_at: int | None


class Session(Record):
    """A live sign-in: a browser's (``grant_id`` None), or one client's grant.

    It lives until ``kept_until``, even when it is not used.
    """

    session_id: str
    user_id: str
    grant_id: str | None
    cookie_hash: str | None
    opened_at: int
    last_used_at: float
    access_expires_at: int
    generation: int
    kept_until: int = 0


class StoredMcpSession(Record):
    """A legacy client's MCP session; ``handshake`` is JSON, see gateway/handshake.py. No grant: no authorization."""

    session_hash: str
    grant_id: str | None
    user_id: str
    client_id: str
    endpoint: str | None
    handshake: str
    last_used_at: int


class Notice(Record):
    """Something the owner should know: a line in ``status``, a banner on the pages."""

    notice_id: int
    user_id: str
    kind: str
    about: str
    created_at: int


StepKind = Literal[
    "challenge",
    "discovery",
    "registration",
    "authorize",
    "sign-in",
    "consent",
    "allowed",
    "denied",
    "token",
    "refresh",
    "mcp",
    "revocation",
    "lost",
]


class Step(Record):
    """One request of a connection attempt, or several alike (``times``). ``what`` has no query, ``error`` no input."""

    at: int
    kind: StepKind
    status: int
    what: str
    error: str | None = None
    times: int = 1


class Story(Record):
    """A connection attempt. ``attempts`` are fingerprints of its PKCE challenges, ``sessions`` what came of them."""

    story_id: str
    began_at: int
    last_at: int
    client_id: str | None = None
    client_name: str | None = None
    addresses: tuple[str, ...] = ()
    user_agent: str = ""
    user_agents: tuple[str, ...] = ()
    attempts: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
