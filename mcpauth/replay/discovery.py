"""How a client finds the authorization server of an MCP URL (RFC 9728, RFC 8414)."""

import json

from ..errors import StepFailed
from . import advice, assertions, challenge, conversation
from .attempt import Attempt
from .sequence import Ask, Challenge, Discover

GUESSED = {
    "authorization_endpoint": "{origin}/authorize",
    "token_endpoint": "{origin}/token",
    "registration_endpoint": "{origin}/register",
}
NO_ISSUER = "The document comes from something other than mcpauth: look at what is in front of it."


async def ask(attempt: Attempt, step: Ask) -> str:
    method, url = attempt.fill(step.request).split(" ", 1)
    exchange = await attempt.wire.send(method, url, attempt.headers("oauth", step.headers))
    attempt.last = exchange
    exchange.expect(*step.status)
    assertions.judge(attempt, step.asserts)
    return f"{exchange} {exchange.status}"


async def be_challenged(attempt: Attempt, step: Challenge) -> str:
    """Learns where the resource's metadata is, and what scope it wants."""
    method, url = attempt.fill(step.request).split(" ", 1)
    headers, body = attempt.headers("mcp", step.headers), None
    if method == "POST":
        message, more = conversation.first(attempt)
        headers, body = {**more, **headers}, json.dumps(message).encode()
    if attempt.access_token:
        headers["Authorization"] = f"Bearer {attempt.access_token}"
    exchange = await attempt.wire.send(method, url, headers, body)
    attempt.last = exchange
    exchange.expect(401)
    attempt.challenge = challenge.read(exchange)
    if not attempt.challenge.get("resource_metadata"):
        raise StepFailed(f"{exchange}: the challenge has no resource_metadata in quotes", challenge.FIX)
    assertions.judge(attempt, step.asserts)
    return f"{exchange} 401, and where to go on"


async def find_resource(attempt: Attempt, step: Discover) -> str:
    note = await _first(attempt, step)
    if not note:
        attempt.server = {"issuer": attempt.fill("{origin}")}
        return "nowhere: the server is looked for where the URL is"
    attempt.resource = attempt.last.json
    if not attempt.issuer:
        raise StepFailed(f"{attempt.last} names no authorization server", NO_ISSUER)
    assertions.judge(attempt, step.asserts)
    return note


async def find_server(attempt: Attempt, step: Discover) -> str:
    note = await _first(attempt, step)
    if not note:
        guessed = {name: attempt.fill(value) for name, value in GUESSED.items()}
        attempt.server = {**attempt.server, **guessed}
        return "nowhere: /authorize, /token and /register are tried"
    attempt.server = attempt.last.json
    for name in ("authorization_endpoint", "token_endpoint"):
        if not isinstance(attempt.server.get(name), str):
            raise StepFailed(f"{attempt.last} has no {name}", NO_ISSUER)
    assertions.judge(attempt, step.asserts)
    return note


async def _first(attempt: Attempt, step: Discover) -> str:
    """The first document that is there: 4xx sends the client on. Empty where a client goes on without."""
    missing: list[str] = []
    mount = ""
    for url in dict.fromkeys(filter(None, map(attempt.fill, step.urls))):
        exchange = await attempt.wire.send("GET", url, attempt.headers("oauth", step.headers))
        attempt.last = exchange
        if not 400 <= exchange.status < 500:
            exchange.expect(200)
            return f"{exchange} 200"
        missing.append(f"{exchange} {exchange.status}")
        mount = exchange.mount
    if step.guesses:
        return ""
    raise StepFailed(f"none of its addresses has the document: {', '.join(missing)}", advice.not_found(mount))
