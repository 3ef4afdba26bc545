"""What anybody may know (the start page, health, providers), and what a bearer may know of themself."""

from collections.abc import Callable
from typing import Any

from tornado import web

from ..ambient import Ambient, iso
from ..errors import InvalidToken
from ..oauth import client_profiles
from ..oauth.access_token import AccessTokens, Claims, challenge
from ..oauth.profile import Profile, Profiles
from ..oauth.ways_in import NAMES, WaysIn
from . import guide
from .base import JSONHandler
from .page import PageHandler


class HomeHandler(PageHandler):
    def check_xsrf_cookie(self) -> None:
        """No form is sent here."""

    async def get(self) -> None:
        self.page(
            "home.html",
            title="mcpauth",
            mcp_url=f"{self.site.origin}/mcp",
            loopback=self.site.is_loopback,
            apps=[one for one in client_profiles.every() if one.guide],
            guide=guide,
        )

    async def head(self) -> None:
        await self.get()

    async def post(self) -> None:
        """A client, behind a proxy that has cut the path away: what is told of that must not be about a page."""
        self.step = "lost" if self.sends_json() else None
        raise web.HTTPError(404)


class HealthHandler(JSONHandler):
    cors = True

    def initialize(self, summary: Callable[[], dict[str, Any]], ambient: Ambient, enabled: bool) -> None:
        self._summary, self._ambient, self._enabled = summary, ambient, enabled

    def get(self) -> None:
        self.write_json(
            {
                "status": "ok",
                "timestamp": iso(self._ambient.now()),
                "oauth": "enabled" if self._enabled else "disabled",
                "config": self._summary(),
            }
        )

    def head(self) -> None:
        self.get()


class ProvidersHandler(JSONHandler):
    cors = True

    def initialize(self, ways_in: WaysIn, ambient: Ambient) -> None:
        self._ways_in, self._ambient = ways_in, ambient

    def get(self) -> None:
        usable = self._ways_in.usable()
        self.write_json(
            {
                "providers": [
                    {"id": one, "name": NAMES[one], "enabled": one in usable} for one in self._ways_in.available()
                ],
                "timestamp": iso(self._ambient.now()),
            }
        )

    def head(self) -> None:
        self.get()


class BearerHandler(JSONHandler):
    """For any live access token, whatever resource it is for."""

    def initialize(self, access_tokens: AccessTokens, profiles: Profiles, metadata_url: str) -> None:
        self._access_tokens, self._profiles, self._metadata_url = access_tokens, profiles, metadata_url

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, InvalidToken):
            shown = error if self.bearer() else None
            self.set_header("WWW-Authenticate", challenge(shown, self._metadata_url, "mcp"))
        super().write_error(status_code, **kwargs)

    async def get(self) -> None:
        token = self.bearer()
        if not token:
            raise InvalidToken("an access token is needed")
        claims, live = self._access_tokens.identify(token)
        self.write_json(self.describe(claims, await self._profiles.of(live.record.user_id)))

    def describe(self, claims: Claims, person: Profile) -> dict[str, Any]:
        raise NotImplementedError


class MeHandler(BearerHandler):
    def describe(self, claims: Claims, person: Profile) -> dict[str, Any]:
        return {
            "sub": claims.sub,
            "provider": person.provider,
            "name": person.name,
            "client_id": claims.client_id,
            "scope": claims.scope,
            "sid": claims.sid,
            "expires_at": iso(claims.exp),
            "role": person.role,
        }


class UserInfoHandler(BearerHandler):
    def describe(self, claims: Claims, person: Profile) -> dict[str, Any]:
        answer: dict[str, Any] = {"sub": claims.sub, "name": person.name, "preferred_username": person.login}
        if person.picture:
            answer["picture"] = person.picture
        if "user:email" in claims.scope.split() and person.email:
            # The address that GitHub gives of a profile is a verified one.
            answer |= {"email": person.email, "email_verified": True}
        return answer
