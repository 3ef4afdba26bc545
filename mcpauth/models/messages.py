"""Wire messages of the OAuth endpoints. URLs are ``str``, compared exactly."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

# "none" first: some clients take the first one.
AUTH_METHODS = ["none", "client_secret_post", "client_secret_basic", "private_key_jwt"]
# Of client assertions (RFC 7523).
SIGNING_ALGORITHMS = ["RS256", "ES256", "EdDSA"]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class AuthorizationParams(Message):
    """RFC 6749 §4.1.1, RFC 7636 §4.3, RFC 8707 §2. Unknown parameters are ignored."""

    response_type: str = ""
    client_id: str = ""
    redirect_uri: str = ""
    scope: str = ""
    state: str | None = None
    code_challenge: str = ""
    code_challenge_method: str = ""
    resource: str = ""


class TokenRequest(Message):
    """RFC 6749 §4.1.3, §6; the client's credentials are read by ClientCredentials."""

    grant_type: str = ""
    code: str = ""
    redirect_uri: str = ""
    code_verifier: str = ""
    refresh_token: str = ""
    scope: str = ""
    resource: str = ""


class ClientCredentials(Message):
    """What a client shows of itself at the token endpoint and its neighbours (RFC 6749 §2.3, RFC 7521 §4.2)."""

    client_id: str = ""
    client_secret: str = ""
    client_assertion_type: str = ""
    client_assertion: str = ""


class RevocationRequest(Message):
    """RFC 7009 §2.1, and RFC 7662 §2.1, which has the same shape."""

    token: str = ""
    token_type_hint: str = ""


class TokenResponse(Message):
    """RFC 6749 §5.1; whose it is, is for ourselves and does not go out."""

    client_id: str = Field(exclude=True)
    session_id: str = Field(exclude=True)
    access_token: str
    token_type: str = "Bearer"
    expires_in: int
    refresh_token: str
    scope: str


class Introspection(Message):
    """RFC 7662 §2.2; an inactive one is exactly ``{"active": false}``."""

    active: bool
    scope: str | None = None
    client_id: str | None = None
    username: str | None = None
    token_type: str | None = None
    exp: int | None = None
    iat: int | None = None
    sub: str | None = None
    aud: str | None = None
    iss: str | None = None
    jti: str | None = None
    sid: str | None = None


class ServerMetadata(Message):
    """RFC 8414 §2."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    registration_endpoint: str
    revocation_endpoint: str
    introspection_endpoint: str
    jwks_uri: str
    scopes_supported: list[str]
    response_types_supported: list[str] = ["code"]
    response_modes_supported: list[str] = ["query"]
    grant_types_supported: list[str] = ["authorization_code", "refresh_token"]
    token_endpoint_auth_methods_supported: list[str] = AUTH_METHODS
    token_endpoint_auth_signing_alg_values_supported: list[str] = SIGNING_ALGORITHMS
    revocation_endpoint_auth_methods_supported: list[str] = AUTH_METHODS
    revocation_endpoint_auth_signing_alg_values_supported: list[str] = SIGNING_ALGORITHMS
    introspection_endpoint_auth_methods_supported: list[str] = AUTH_METHODS[1:]
    introspection_endpoint_auth_signing_alg_values_supported: list[str] = SIGNING_ALGORITHMS
    code_challenge_methods_supported: list[str] = ["S256"]
    authorization_response_iss_parameter_supported: bool = True
    client_id_metadata_document_supported: bool = True
    service_documentation: str


class ResourceMetadata(Message):
    """RFC 9728 §2."""

    resource: str
    authorization_servers: list[str]
    scopes_supported: list[str]
    bearer_methods_supported: list[str] = ["header"]
    resource_name: str


class Registration(Message):
    """RFC 7591 §3.2.1, RFC 7592 §3: the client's metadata beside what we made for it."""

    client_id: str
    client_secret: str | None = None
    client_id_issued_at: int
    client_secret_expires_at: int | None = None
    registration_access_token: str | None = None
    registration_client_uri: str
    metadata: dict[str, Any]

    def body(self) -> dict[str, Any]:
        own = self.model_dump(exclude={"metadata"}, exclude_none=True)
        return {**own, **self.metadata}
