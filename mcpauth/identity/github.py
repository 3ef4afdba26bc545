"""Sign-in with GitHub: who somebody is, and nothing else (its OAuth apps, web flow)."""

import json
from typing import Any
from urllib.parse import urlencode

import aiohttp

from .. import __version__
from ..errors import IdentityError
from ..models.records import Identity

TIMEOUT = aiohttp.ClientTimeout(total=10)
LARGEST_ANSWER = 1024 * 1024

UNREACHABLE = "GitHub did not answer. Wait a moment and try again."
HINTS = {
    "incorrect_client_credentials": "GitHub does not accept this server's client id and secret. Its owner should "
    "compare MCP_OAUTH_GITHUB_CLIENT_ID and MCP_OAUTH_GITHUB_CLIENT_SECRET with the OAuth app at GitHub.",
    "redirect_uri_mismatch": "GitHub knows this server under another callback URL. Its owner should set the OAuth "
    "app's callback URL to the redirectUri that `python server.py config` prints.",
    "bad_verification_code": "GitHub's answer was too old or was used before. Sign in again.",
    "unverified_user_email": "Verify your email address at GitHub, then sign in again.",
}


class GitHub:
    id = "github"
    name = "GitHub"

    def __init__(
        self, client_id: str, client_secret: str, url: str, api_url: str, redirect_uri: str, http: aiohttp.ClientSession
    ) -> None:
        self._client_id, self._client_secret = client_id, client_secret
        self._url, self._api_url, self._redirect_uri = url.rstrip("/"), api_url.rstrip("/"), redirect_uri
        self._http = http

    def authorization_url(self, state: str, code_challenge: str) -> str:
        return f"{self._url}/login/oauth/authorize?" + urlencode(
            {
                "client_id": self._client_id,
                "redirect_uri": self._redirect_uri,
                # No scope: the public profile is all that is needed to know somebody.
                "state": state,
                "code_challenge": code_challenge,
                "code_challenge_method": "S256",
            }
        )

    async def identify(self, code: str, code_verifier: str) -> Identity:
        answer = await self._ask(
            "POST",
            f"{self._url}/login/oauth/access_token",
            data={
                "client_id": self._client_id,
                "client_secret": self._client_secret,
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": code_verifier,
            },
        )
        # GitHub tells its errors with status 200.
        token = answer.get("access_token")
        if not isinstance(token, str) or not token:
            reason = str(answer.get("error", "no access_token"))[:60]
            raise IdentityError(f"GitHub refused the code: {reason}", HINTS.get(reason, "Sign in again."))
        user = await self._ask("GET", f"{self._api_url}/user", headers={"Authorization": f"Bearer {token}"})
        number, login = user.get("id"), user.get("login")
        # The number stays for ever; a login can be given up, and taken by somebody else.
        if not isinstance(number, int) or isinstance(number, bool) or not isinstance(login, str) or not login:
            raise IdentityError("GitHub's answer to /user has no numeric id or no login", UNREACHABLE)
        email, picture = user.get("email"), user.get("avatar_url")
        return Identity(
            provider=self.id,
            provider_id=str(number),
            login=login,
            email=email if isinstance(email, str) else None,
            picture=picture if isinstance(picture, str) and picture.startswith("https://") else None,
        )

    async def _ask(
        self, method: str, url: str, data: dict[str, str] | None = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        sent = {"Accept": "application/json", "User-Agent": f"mcpauth/{__version__}", **(headers or {})}
        try:
            async with self._http.request(
                method, url, data=data, headers=sent, timeout=TIMEOUT, allow_redirects=False
            ) as response:
                if response.status != 200:
                    raise IdentityError(f"GitHub answered {response.status}", UNREACHABLE)
                body = bytearray()
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        raise IdentityError("GitHub's answer is too long", UNREACHABLE)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise IdentityError(f"GitHub cannot be reached: {type(error).__name__}", UNREACHABLE) from None
        try:
            answer = json.loads(body)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise IdentityError("GitHub's answer is not a JSON object", UNREACHABLE)
        return answer
