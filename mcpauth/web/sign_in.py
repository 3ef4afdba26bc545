"""The sign-in page, the way out to a provider and back, and signing out."""

from urllib.parse import urlencode

from ..errors import SignInRefused
from ..models.records import User
from ..oauth.authorization import Authorization
from ..oauth.seal import Seal
from ..oauth.sign_in import Arrival, Departure, KnownBrowser, PasswordSignIn, ProviderSignIn
from ..oauth.tailnet_sign_in import TailnetSignIn
from ..oauth.trace import attempt_of
from ..oauth.ways_in import WaysIn
from .page import PageHandler
from .visitor import visitor_of

MOST_DEPARTURES = 6


class SignInSteps(PageHandler):
    """Steps that several pages share."""

    async def tailscale_form(self, tailnet_sign_in: TailnetSignIn, request: str) -> dict[str, str] | None:
        """For tailscale.html; None when Tailscale does not say who looks at this page."""
        login = await tailnet_sign_in.recognize(visitor_of(self.request), self.site.party_of(self.request))
        if login is None:
            return None
        return {"action": self.site.path("signin/tailscale"), "request": request, "login": login}

    def tell_request(self, authorization: Authorization, sealed: str) -> None:
        """The trace is told which attempt the page is of."""
        asked = authorization.peek(sealed) if sealed else None
        if asked is None:
            self.step = None
        else:
            self.tell(client_id=asked.client_id, attempt=attempt_of(asked.code_challenge))

    def go(self, page: str, request: str, status: int = 302) -> None:
        query = f"?{urlencode({'request': request})}" if request else ""
        self.redirect(self.site.path(page) + query, status=status)

    def leave(self, departure: Departure) -> None:
        """Send the browser to a provider, with a cookie that its way back must show."""
        prefix = self.site.cookie_name("")
        ours = sorted(name.removeprefix(prefix) for name in self.request.cookies if name.startswith(f"{prefix}signin_"))
        for name in ours[: -MOST_DEPARTURES + 1]:
            # Tabs that were abandoned: too many cookies would make every request too large.
            self.drop_cookie(name)
        self.write_cookie(f"signin_{departure.cookie_name}", departure.cookie, departure.ttl)
        self.redirect(departure.url)

    def show_pending(self, user: User) -> None:
        self.tell(error="access_denied: Waiting for approval")
        self.set_status(403)
        self.page(
            "message.html",
            title="Waiting for approval",
            heading="Waiting for approval",
            text=[
                f"You signed in as {user.name}. The owner of this server has to let you in first.",
                "Ask them to approve you, then connect again from the app that sent you here.",
            ],
        )


class SignInHandler(SignInSteps):
    step = "sign-in"

    def initialize(
        self,
        authorization: Authorization,
        ways_in: WaysIn,
        password_sign_in: PasswordSignIn,
        provider_sign_in: ProviderSignIn,
        tailnet_sign_in: TailnetSignIn,
        known_browsers: Seal,
    ) -> None:
        self._authorization, self._ways_in, self._known_browsers = authorization, ways_in, known_browsers
        self._password_sign_in, self._provider_sign_in = password_sign_in, provider_sign_in
        self._tailnet_sign_in = tailnet_sign_in

    async def get(self) -> None:
        request = self.get_query_argument("request", "")
        self.tell_request(self._authorization, request)
        provider = self.get_query_argument("provider", "")
        if provider:
            self.leave(self._provider_sign_in.depart(provider, request))
        elif self.user is not None and request:
            self.go("consent", request)
        elif self.user is not None:
            self.show_signed_in(self.user)
        else:
            await self.show(request)

    async def head(self) -> None:
        await self.get()

    async def post(self) -> None:
        request = self.get_body_argument("request", "")
        self.tell_request(self._authorization, request)
        name = self.get_body_argument("username", "")
        password = self.get_body_argument("password", "", strip=False)
        if not self._ways_in.password:
            await self.show(request, "Signing in with a password is switched off here.", name)
            return
        browser = self._known_browsers.unseal(self.read_cookie("known"), KnownBrowser)
        try:
            user, password_hash = await self._password_sign_in.sign_in(
                name, password, self.site.party_of(self.request), browser
            )
        except SignInRefused as refused:
            self.tell(error=refused.message)
            self.set_status(429 if refused.retry_after else 401)
            if refused.retry_after:
                self.set_header("Retry-After", str(refused.retry_after))
            await self.show(request, refused.message, name)
            return
        if user.role == "pending":
            self.show_pending(user)
            return
        known = self._password_sign_in.remember(user, browser)
        self.write_cookie("known", self._known_browsers.seal(known), self._known_browsers.ttl)
        await self.sign_in(user, password_hash)
        self.go("consent" if request else "signin", request, 303)

    async def show(self, request: str, error: str | None = None, username: str = "") -> None:
        client_name = await self._authorization.client_of(request) if request else None
        if error is None and self._ways_in.password and not self._ways_in.usable_now:
            error = "This server has no owner yet. Open the setup link that it printed when it started."
        path = self.site.path("signin")
        tailscale = await self.tailscale_form(self._tailnet_sign_in, request)
        outside = tailscale is None and self._ways_in.only_tailscale
        if outside:
            self.tell(error="Tailscale names nobody at this browser")
        self.page(
            "signin.html",
            title="Sign in",
            action=path,
            request=request,
            client_name=client_name,
            password_enabled=self._ways_in.password,
            tailscale=tailscale,
            outside_tailnet=outside,
            providers=[
                {
                    "id": one.id,
                    "name": one.name,
                    "href": f"{path}?{urlencode({'provider': one.id, 'request': request})}",
                }
                for one in self._ways_in.providers
            ],
            error=error,
            username=username[:200],
        )

    def show_signed_in(self, user: User) -> None:
        self.page(
            "message.html",
            title="Signed in",
            heading="You are signed in",
            text=[f"You signed in as {user.name}. There is nothing to approve at the moment."],
        )


class CallbackHandler(SignInSteps):
    """Where a provider sends the browser back to."""

    step = "sign-in"

    def initialize(self, provider_sign_in: ProviderSignIn) -> None:
        self._provider_sign_in = provider_sign_in

    async def get(self) -> None:
        state = self.get_query_argument("state", "")
        cookie_name = f"signin_{self._provider_sign_in.cookie_of(state)}"
        arrival: Arrival = await self._provider_sign_in.arrive(
            state,
            self.read_cookie(cookie_name),
            self.get_query_argument("code", ""),
            self.get_query_argument("error", ""),
            self.site.party_of(self.request),
        )
        self.drop_cookie(cookie_name)
        if arrival.user.role == "pending":
            self.show_pending(arrival.user)
            return
        await self.sign_in(arrival.user)
        self.go("consent" if arrival.request else "signin", arrival.request, 303)


class SignOutHandler(PageHandler):
    async def get(self) -> None:
        self.redirect(self.site.path("signin"))

    async def post(self) -> None:
        cookie = self.read_cookie("session")
        if cookie:
            await self.browser_sessions.close(cookie)
        self.drop_cookie("session")
        self.user = None
        self.page(
            "message.html",
            title="Signed out",
            heading="You are signed out",
            text=["The apps that you connected stay connected."],
        )
