"""POST to the token endpoint (RFC 6749 §3.2), and to its neighbours revoke and introspect."""

from ..models.messages import ClientCredentials, RevocationRequest, TokenRequest
from ..models.records import StepKind
from ..oauth.client_authentication import claimed
from ..oauth.issuer import Issuer
from ..oauth.revocation import Revocation
from ..oauth.token import TokenEndpoint
from ..oauth.trace import attempt_of_verifier
from .base import JSONHandler


class TokenHandler(JSONHandler):
    cors = True
    step: StepKind | None = "token"

    def initialize(self, endpoint: TokenEndpoint, issuer: Issuer) -> None:
        self._endpoint, self._issuer = endpoint, issuer

    async def post(self) -> None:
        form = self.form()
        self.set_header("Pragma", "no-cache")
        credentials, request = self.parse(ClientCredentials, form), self.parse(TokenRequest, form)
        authorization = self.request.headers.get("Authorization")
        self.tell(client_id=claimed(authorization, credentials), attempt=attempt_of_verifier(request.code_verifier))
        if request.grant_type == "refresh_token":
            self.step = "refresh"
        answer = await self._endpoint.exchange(self._issuer, authorization, credentials, request)
        self.tell(client_id=answer.client_id, session_id=answer.session_id)
        self.reply(answer)


class RevocationHandler(JSONHandler):
    cors = True

    def initialize(self, revocation: Revocation) -> None:
        self._revocation = revocation

    async def post(self) -> None:
        form = self.form()
        revoked = await self._revocation.revoke(
            self.request.headers.get("Authorization"),
            self.parse(ClientCredentials, form),
            self.parse(RevocationRequest, form),
        )
        if revoked is not None:
            self.step = "revocation"
            self.tell(**revoked._asdict())
        self.write_json({})


class IntrospectionHandler(JSONHandler):
    def initialize(self, revocation: Revocation) -> None:
        self._revocation = revocation

    async def post(self) -> None:
        form = self.form()
        self.reply(
            await self._revocation.introspect(
                self.request.headers.get("Authorization"),
                self.parse(ClientCredentials, form),
                self.parse(RevocationRequest, form),
            )
        )
