"""POST to register; GET, PUT and DELETE to manage a registration (RFC 7591 §3, RFC 7592 §2)."""

from ..errors import InvalidToken
from ..oauth.client_registration import ClientRegistration
from ..oauth.issuer import Issuer
from .base import JSONHandler


class RegistrationHandler(JSONHandler):
    cors = True
    step = "registration"

    def initialize(self, registration: ClientRegistration, issuer: Issuer) -> None:
        self._registration, self._issuer = registration, issuer

    async def post(self) -> None:
        given = self.json_object()
        answer = await self._registration.register(self._issuer, given, self.site.party_of(self.request))
        self.tell(client_id=answer.client_id, client_name=answer.metadata.get("client_name"))
        self.set_status(201)
        self.write_json(answer.body())


class ClientConfigurationHandler(JSONHandler):
    cors = True

    def initialize(self, registration: ClientRegistration, issuer: Issuer) -> None:
        self._registration, self._issuer = registration, issuer

    def write_failure(self, status: int, title: str, hint: str, error: str) -> None:
        if status == 401:
            self.set_header("WWW-Authenticate", f'Bearer error="{error}"')
        super().write_failure(status, title, hint, error)

    def _token(self) -> str:
        token = self.bearer()
        if not token:
            raise InvalidToken("the registration access token is missing")
        return token

    async def get(self, client_id: str) -> None:
        self.write_json((await self._registration.read(self._issuer, client_id, self._token())).body())

    async def put(self, client_id: str) -> None:
        token, given = self._token(), self.json_object()
        self.write_json((await self._registration.update(self._issuer, client_id, token, given)).body())

    async def delete(self, client_id: str) -> None:
        await self._registration.remove(client_id, self._token())
        self.set_status(204)
        self.finish()
