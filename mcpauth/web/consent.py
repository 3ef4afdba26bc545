"""The consent page: the only place where a code is made (RFC 6749 §4.1.1)."""

from tornado import web

from ..errors import AwaitingOwner, PageError
from ..gateway.gateway import Gateway
from ..gateway.inquiry import BackendState
from ..models.records import StepKind, User
from ..oauth import client_profiles, redirect_uri, scope
from ..oauth.authorization import Authorization, ConsentQuestion
from ..oauth.client_name import display_name
from . import ticks
from .sign_in import SignInSteps

# The logo of those that are not known.
PROGRAM = "clients/program.svg"


class ConsentHandler(SignInSteps):
    step: StepKind | None = "consent"

    def initialize(self, authorization: Authorization, gateway: Gateway) -> None:
        self._authorization, self._gateway = authorization, gateway

    async def get(self) -> None:
        request = self.get_query_argument("request", "")
        self.tell_request(self._authorization, request)
        user = self._allowed_user()
        if user is None:
            self.go("signin", request)
            return
        try:
            question = await self._authorization.question(request, user)
        except AwaitingOwner as waiting:
            await self.show_waiting(waiting, request)
            return
        self.tell(client_name=display_name(question.client))
        await self.show(question, request, user)

    async def head(self) -> None:
        await self.get()

    async def post(self) -> None:
        request = self.get_body_argument("request", "")
        decision = self.get_body_argument("decision", "")
        self.tell_request(self._authorization, request)
        user = self._allowed_user()
        if user is None:
            self.go("signin", request, 303)
            return
        question = await self._authorization.question(request, user)
        if decision == "deny":
            target = await self._authorization.deny(request, user)
            self.step = "denied"
            self.send_back(target, question, denied=True)
            return
        if decision != "allow":
            raise web.HTTPError(400)
        offers = await self.offers(question)
        ticked = ticks.read(
            offers,
            self.get_body_arguments("server"),
            self.get_body_arguments("tool", strip=False),
            self.get_body_arguments("shown"),
            question.before,
        )
        if offers and ticked is not None and not ticked:
            self.set_status(400)
            await self.show(question, request, user, "Tick at least one server, or choose Deny.")
            return
        target = await self._authorization.approve(request, user, ticked)
        self.step = "allowed"
        self.send_back(target, question, denied=False)

    async def show_waiting(self, waiting: AwaitingOwner, request: str) -> None:
        if not self.accepts_html():
            raise waiting
        self.set_status(waiting.status)
        self.tell(error=f"{waiting.error}: {waiting.title}")
        client_name = await self._authorization.client_of(request)
        self.page("waiting.html", title=waiting.title, client_name=client_name, again=self.request.uri)

    def _allowed_user(self) -> User | None:
        if self.user is not None and self.user.role == "pending":
            hint = "The owner of this server has to let you in first."
            raise PageError(403, "Waiting for approval", hint, "access_denied")
        return self.user

    async def offers(self, question: ConsentQuestion) -> list[BackendState]:
        """The servers and tools that the token would reach, by its resource and its scopes."""
        resource, scopes = question.request.resource, set(question.request.scope.split())
        offers: list[BackendState] = []
        for offer in await self._gateway.settled():
            if resource not in (f"{self.site.origin}/mcp", f"{self.site.origin}/mcp/{offer.name}"):
                continue
            if scopes & {"mcp", f"mcp:{offer.name}"}:
                offers.append(offer)
            elif "mcp:read" in scopes:
                offers.append(offer._replace(tools=tuple(tool for tool in offer.tools if tool.read_only)))
        return offers

    def send_back(self, target: str, question: ConsentQuestion, *, denied: bool) -> None:
        """303, so that the client is asked with GET; a page of our own where no browser could follow."""
        if redirect_uri.is_web(target):
            self.redirect(target, status=303)
        else:
            self.page(
                "continue.html",
                title="Continue",
                target=target,
                client_name=question.client_name,
                denied=denied,
            )

    async def show(self, question: ConsentQuestion, request: str, user: User, form_error: str | None = None) -> None:
        asked = question.request
        known, level = self._standing(question)
        servers = ticks.show(await self.offers(question), question.before)
        self.page(
            "consent.html",
            title=f"{question.client_name} wants to connect",
            action=self.site.path("consent"),
            request=request,
            client_name=question.client_name,
            client_id=question.client.client_id,
            logo=question.profile.logo if question.profile else PROGRAM,
            certain=question.profile is not None,
            posing=question.posed_as is not None,
            redirect_host=redirect_uri.host(asked.redirect_uri),
            redirect_uri=asked.redirect_uri,
            # A private-use scheme leads to a program on this computer too.
            loopback=redirect_uri.is_loopback(asked.redirect_uri) or not redirect_uri.is_web(asked.redirect_uri),
            known=known,
            known_level=level,
            already_connected=question.before is not None,
            unfold=ticks.is_wider(servers, question.before),
            user_name=user.name,
            scopes=[{"name": name, "meaning": scope.meaning(name)} for name in scope.effective(asked.scope)],
            scope_note=question.scope_note,
            servers=servers,
            later=asked.resource == f"{self.site.origin}/mcp",
            later_ticked=ticks.later(question.before),
            sign_out_note=question.signs_out
            and f"You have as many apps connected as this server allows. {question.signs_out}, "
            "which was used least recently, will be signed out; it can come back by itself.",
            resource=asked.resource,
            expires_note=None,
            approves=question.approves,
            form_error=form_error,
        )

    @staticmethod
    def _standing(question: ConsentQuestion) -> tuple[str, str]:
        if question.posed_as is not None:
            return (
                f"It calls itself \u201c{display_name(question.client)}\u201d, but it is not {question.posed_as.name}: "
                "that one takes its answers at another address.",
                "new",
            )
        published = question.client_host and f"{question.client_host} publishes its name and its addresses."
        if question.before is not None:
            return f"You connected it before. {published or ''}".strip(), "connected"
        if question.client.preregistered:
            return "The owner of this server registered it.", "registered"
        if question.profile is not None and client_profiles.is_hosted(question.request.redirect_uri):
            return f"Only {question.profile.name} gets what is sent to this address.", "connected"
        if published:
            return published, "registered"
        return "It registered itself. Nobody has checked the name that it gives.", "new"
