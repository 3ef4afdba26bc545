"""/setup: the first owner, once."""

from ..errors import SignInRefused
from ..oauth.setup import CODE_TTL, Setup
from ..oauth.sign_in import ProviderSignIn
from ..oauth.tailnet_sign_in import TailnetSignIn
from ..oauth.ways_in import WaysIn
from .sign_in import SignInSteps


class SetupHandler(SignInSteps):
    def initialize(
        self, setup: Setup, ways_in: WaysIn, provider_sign_in: ProviderSignIn, tailnet_sign_in: TailnetSignIn
    ) -> None:
        self._setup, self._ways_in = setup, ways_in
        self._provider_sign_in, self._tailnet_sign_in = provider_sign_in, tailnet_sign_in

    def check_xsrf_cookie(self) -> None:
        self._setup.check_needed()
        super().check_xsrf_cookie()

    async def prepare(self) -> None:
        await super().prepare()
        self._setup.check_needed()

    async def get(self) -> None:
        code = self.get_query_argument("code", "")
        if code:
            # Out of the address bar and the history at once; from here on a cookie says it.
            self.write_cookie("setup", self._setup.show_code(code, self.site.party_of(self.request)), CODE_TTL)
            self.redirect("/setup")
            return
        passed = self._setup.is_passed(self.read_cookie("setup"))
        provider = self.get_query_argument("provider", "")
        if provider and passed:
            self.leave(self._provider_sign_in.depart(provider, "", setup_code_hash=self._setup.code_hash))
            return
        await self.show(code_missing=not passed)

    async def post(self) -> None:
        name = self.get_body_argument("username", "")
        try:
            if not self._ways_in.trusts_passwords:
                raise SignInRefused("Signing in with a password is switched off here: use another way.")
            owner = await self._setup.make_owner(
                self.read_cookie("setup"),
                name,
                self.get_body_argument("password", "", strip=False),
                self.get_body_argument("password_again", "", strip=False),
            )
        except SignInRefused as refused:
            self.set_status(400)
            await self.show(code_missing=False, error=refused.message, username=name)
            return
        self.drop_cookie("setup")
        await self.sign_in(owner)
        self.page("setup_done.html", title="Ready", mcp_url=f"{self.site.origin}/mcp", user_name=owner.name)

    async def show(self, *, code_missing: bool, error: str | None = None, username: str = "") -> None:
        if code_missing:
            self.set_status(403)
        self.page(
            "setup.html",
            title="Set up mcpauth",
            action="/setup",
            code_missing=code_missing,
            password_enabled=self._ways_in.trusts_passwords,
            tailscale=None if code_missing else await self.tailscale_form(self._tailnet_sign_in, ""),
            error=error,
            username=username[:200],
            providers=[
                {"id": one.id, "name": one.name, "href": f"/setup?provider={one.id}"} for one in self._ways_in.providers
            ],
        )
