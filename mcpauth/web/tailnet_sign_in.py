"""POST: the button of the sign-in page that names whom Tailscale recognized."""

from ..errors import SignInRefused
from .sign_in import SignInHandler
from .visitor import visitor_of


class TailnetSignInHandler(SignInHandler):
    """A device's identity comes with each of its requests, so nobody is signed in without having said so here."""

    async def get(self) -> None:
        self.go("signin", self.get_query_argument("request", ""))

    async def post(self) -> None:
        request = self.get_body_argument("request", "")
        self.tell_request(self._authorization, request)
        try:
            user = await self._tailnet_sign_in.sign_in(
                visitor_of(self.request),
                self.get_body_argument("login", "", strip=False),
                self.read_cookie("setup"),
                self.site.party_of(self.request),
            )
        except SignInRefused as refused:
            self.tell(error=refused.message)
            self.set_status(403)
            await self.show(request, refused.message)
            return
        if user.role == "pending":
            self.show_pending(user)
            return
        await self.sign_in(user)
        self.go("consent" if request else "signin", request, 303)
