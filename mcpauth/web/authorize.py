"""GET the authorization endpoint (RFC 6749 §4.1.1)."""

from tornado import web

from ..oauth.authorization import Authorization
from ..oauth.issuer import Issuer
from ..oauth.sign_in import ProviderSignIn
from ..oauth.tailnet_sign_in import TailnetSignIn
from ..oauth.trace import attempt_of
from ..oauth.ways_in import WaysIn
from .sign_in import SignInSteps
from .visitor import visitor_of


class AuthorizeHandler(SignInSteps):
    """Nothing is stored here, so a prefetch, a second GET or a HEAD spoils nothing."""

    step = "authorize"

    def initialize(
        self,
        authorization: Authorization,
        issuer: Issuer,
        ways_in: WaysIn,
        provider_sign_in: ProviderSignIn,
        tailnet_sign_in: TailnetSignIn,
    ) -> None:
        self._authorization, self._issuer = authorization, issuer
        self._ways_in, self._provider_sign_in, self._tailnet_sign_in = ways_in, provider_sign_in, tailnet_sign_in

    async def get(self) -> None:
        try:
            # Not get_query_arguments, which replaces control characters: ``state`` goes back byte for byte.
            query = {
                name: [value.decode() for value in values] for name, values in self.request.query_arguments.items()
            }
        except UnicodeDecodeError:
            raise web.HTTPError(400) from None
        for_client, challenge = query.get("client_id", [""])[0], query.get("code_challenge", [""])[0]
        self.tell(client_id=for_client or None, attempt=attempt_of(challenge) if challenge else None)
        party = self.site.party_of(self.request)
        request = await self._authorization.begin(self._issuer, query, signed_in=self.user is not None, party=party)
        only = self._ways_in.only_provider
        if self.user is not None:
            self.go("consent", request)
        elif only is not None and await self._tailnet_sign_in.recognize(visitor_of(self.request), party) is None:
            self.leave(self._provider_sign_in.depart(only, request))
        else:
            self.go("signin", request)

    async def head(self) -> None:
        await self.get()
