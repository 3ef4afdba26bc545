"""How a client becomes known and gets its tokens (RFC 7591, RFC 6749 §4.1, §6)."""

import asyncio
import base64
import json
from collections.abc import Coroutine
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlencode, urlsplit

from yarl import URL

from ..errors import StepFailed
from . import advice, assertions
from .attempt import Attempt
from .sequence import Authorize, Register, Token
from .wire import Exchange

NOT_OURS = "The browser was sent elsewhere: something in front changes redirects, or another server answered."
STATE = "Something in front changes the query of redirects: it must let them through byte for byte."
SAID_NO = "Somebody pressed Deny: run it again, and press Allow."
ANOTHER_ORIGIN = "The registration_client_uri of a server has the origin of its registration_endpoint."
REGISTERED = "See that registration is open (MCP_OAUTH_REGISTRATION), and what the server's log says of it."


async def register(attempt: Attempt, step: Register) -> str:
    if attempt.by_document:
        return f"none is needed: it is what {attempt.client_id} says"
    if step.redirect_uri:
        attempt.run = attempt.run.model_copy(update={"redirect_uri": step.redirect_uri, "redirect_uris": ()})
    endpoint = attempt.server.get("registration_endpoint")
    if not endpoint:
        raise StepFailed("the server takes no registrations, and the client has no other way", REGISTERED)
    body = {"redirect_uris": attempt.redirect_uris, **attempt.fill_all(attempt.client.registration)}
    headers = attempt.headers("oauth", {"Content-Type": "application/json", "Accept": "application/json"})
    await _finished(_register(attempt, str(endpoint), headers, json.dumps(body).encode()))
    assertions.judge(attempt, step.asserts)
    return f"{attempt.last} 201, {attempt.client_id}"


async def _register(attempt: Attempt, endpoint: str, headers: dict[str, str], body: bytes) -> None:
    exchange = attempt.last = await attempt.wire.send("POST", endpoint, headers, body)
    exchange.expect(201)
    attempt.registration = exchange.json
    if not isinstance(attempt.registration.get("client_id"), str):
        raise StepFailed(f"{exchange} gives no client_id", REGISTERED)


async def authorize(attempt: Attempt, step: Authorize) -> str:
    """The person signs in and decides; what comes back is what the client was waiting for."""
    attempt.renew()
    url = attempt.authorization_url(step.query)
    if not url.startswith(("https://", "http://")):
        raise StepFailed("the authorization endpoint is no web address", NOT_OURS)
    wanted = "code" if step.do == "authorize" else "error"
    if step.do == "refused":
        exchange = attempt.last = await attempt.wire.send("GET", url, attempt.headers("oauth", {}))
        exchange.expect(302, 303)
        _come_back(attempt, exchange.headers.get("Location", ""), wanted)
    elif step.do == "deny":
        _come_back(attempt, await attempt.person.deny(url), wanted)
    else:
        _come_back(attempt, await attempt.person.allow(url), wanted)
    assertions.judge(attempt, step.asserts)
    told = attempt.answer["error"] if wanted == "error" else "a code"
    return f"{told} came back" + (", with iss" if "iss" in attempt.answer else "")


def _come_back(attempt: Attempt, location: str, wanted: str) -> None:
    sent_to, _, query = location.partition("?")
    if sent_to != attempt.redirect_uri.partition("?")[0]:
        raise StepFailed(f"the browser was sent to {urlsplit(location).netloc}, not to the client", NOT_OURS)
    answers = parse_qs(query, keep_blank_values=True)
    attempt.answer = {name: values[0] for name, values in answers.items()}
    if attempt.answer.get("state") != attempt.state:
        raise StepFailed("state did not come back as it was sent", STATE)
    if wanted not in attempt.answer:
        told = attempt.answer.get("error_description") or attempt.answer.get("error") or "nothing"
        denied = attempt.answer.get("error") == "access_denied"
        raise StepFailed(f"no {wanted} came back: {told}", SAID_NO if denied else advice.SERVER_LOG)


async def preflight(attempt: Attempt, step: Authorize) -> str:
    attempt.renew()
    exchange = await attempt.wire.send("GET", attempt.authorization_url(step.query), attempt.headers("oauth", {}))
    attempt.last = exchange
    exchange.expect(200, 302, 303)
    return f"{exchange} {exchange.status}"


async def get_tokens(attempt: Attempt, step: Token) -> str:
    form: dict[str, Any]
    if step.do == "redeem":
        form = {
            "grant_type": "authorization_code",
            "code": attempt.answer["code"],
            "redirect_uri": attempt.redirect_uri,
            "code_verifier": attempt.verifier,
        }
    else:
        form = {"grant_type": "refresh_token", "refresh_token": attempt.tokens["refresh_token"]}
    await _finished(_get_tokens(attempt, {**form, **attempt.fill_all(step.form)}))
    assertions.judge(attempt, step.asserts)
    return f"{attempt.last} 200, {attempt.tokens.get('scope', '')}".rstrip(", ")


async def _get_tokens(attempt: Attempt, form: dict[str, Any]) -> None:
    endpoint = str(attempt.server["token_endpoint"])
    shown, header = _credentials(attempt, endpoint)
    kind = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
    headers = attempt.headers("oauth", {**kind, **header})
    body = urlencode({**form, **shown}, doseq=True).encode()
    exchange = attempt.last = await attempt.wire.send("POST", endpoint, headers, body)
    exchange.expect(200)
    attempt.earlier, attempt.tokens, attempt.spoilt = attempt.tokens, exchange.json, False
    if not isinstance(attempt.tokens.get("access_token"), str):
        raise StepFailed(f"{exchange} gives no access_token", advice.SERVER_LOG)


def _credentials(attempt: Attempt, audience: str) -> tuple[dict[str, str], dict[str, str]]:
    """How the client proves itself, as it was registered: in the form, and in the headers (RFC 6749 §2.3)."""
    client_id, secret = attempt.client_id, str(attempt.registration.get("client_secret", ""))
    if attempt.by_document or not secret:
        proof = attempt.sign(client_id, audience) if attempt.sign is not None else {}
        return {"client_id": client_id, **proof}, {}
    if attempt.registration.get("token_endpoint_auth_method") == "client_secret_post":
        return {"client_id": client_id, "client_secret": secret}, {}
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}".encode()
    return {}, {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}


async def remove(attempt: Attempt) -> Exchange | None:
    """Nothing of the attempt is left: the registration goes, else the grant (RFC 7592 §2.3, RFC 7009 §2.1).

    None where there was nothing. Raises StepFailed.
    """
    address, token = (
        attempt.registration.get(name) for name in ("registration_client_uri", "registration_access_token")
    )
    if address and token:
        # It is the server that says where: nothing is erased anywhere else.
        if not _is_beside(str(address), str(attempt.server.get("registration_endpoint", ""))):
            raise StepFailed("its registration is said to be at another origin than where it was made", ANOTHER_ORIGIN)
        exchange = await attempt.wire.send("DELETE", str(address), {"Authorization": f"Bearer {token}"})
        exchange.expect(204)
    elif attempt.tokens.get("refresh_token") and attempt.server.get("revocation_endpoint"):
        endpoint = str(attempt.server["revocation_endpoint"])
        shown, header = _credentials(attempt, endpoint)
        body = urlencode({"token": attempt.tokens["refresh_token"], **shown}).encode()
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        exchange = await attempt.wire.send("POST", endpoint, {**kind, **header}, body)
        exchange.expect(200)
    else:
        return None
    attempt.registration, attempt.tokens = {}, {}
    return exchange


def _is_beside(address: str, endpoint: str) -> bool:
    try:
        return URL(address, encoded=True).origin() == URL(endpoint, encoded=True).origin()
    except ValueError:
        return False


async def _finished(work: Coroutine[Any, Any, None]) -> None:
    """Also when it is interrupted: what the server made by then is known afterwards, and can be removed."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
