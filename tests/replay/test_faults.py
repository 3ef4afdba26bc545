"""When something is wrong on the way, the client that is played says what, and what to do about it."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from mcpauth.errors import StepFailed
from mcpauth.replay import authorization
from mcpauth.replay.play import play
from mcpauth.replay.sequence import Run, load
from tests.replay.conftest import Server
from tests.replay.front import Front, Passing

CLAUDE = load("claude")
REGISTRATION = next(run for run in CLAUDE.runs if not run.client_id)
DOCUMENTS = "/.well-known/"
SERVER, RESOURCE = "/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"
CONSENT = "/auth/oauth/consent"


@pytest.fixture(scope="module")
def front(io_loop: IOLoop, listener: tuple[socket.socket, int]) -> Iterator[Front]:
    async def start() -> Front:
        return Front(f"http://127.0.0.1:{listener[1]}")

    front = io_loop.run_sync(start)
    yield front
    io_loop.run_sync(front.stop)


@pytest.fixture(scope="module")
def origin(front: Front) -> str:
    return front.origin


def answer(status: int, body: bytes = b"", **headers: str) -> Callable[[Passing], None]:
    def change(passing: Passing) -> None:
        passing.status, passing.body = status, body
        for name, value in headers.items():
            passing.headers[name] = value

    return change


def member(**changes: Any) -> Callable[[Passing], None]:
    def change(passing: Passing) -> None:
        passing.body = json.dumps({**json.loads(passing.body), **changes}).encode()

    return change


def take(name: str) -> Callable[[Passing], None]:
    def change(passing: Passing) -> None:
        passing.headers.pop(name, None)

    return change


def lose_token(passing: Passing) -> None:
    passing.sent.pop("Authorization", None)


def another_token(passing: Passing) -> None:
    passing.sent["Authorization"] = "Bearer nobody's"


def write_challenge_small(passing: Passing) -> None:
    passing.headers["WWW-Authenticate"] = passing.headers["WWW-Authenticate"].replace("Bearer", "bearer")


def without(parameter: str) -> Callable[[Passing], None]:
    """Of a redirect."""

    def change(passing: Passing) -> None:
        address, _, query = passing.headers.get("Location", "").partition("?")
        kept = [part for part in query.split("&") if not part.startswith(f"{parameter}=")]
        passing.headers["Location"] = f"{address}?{'&'.join(kept)}"

    return change


def slash_after_issuer(passing: Passing) -> None:
    document = json.loads(passing.body)
    member(issuer=document["issuer"] + "/")(passing)


def schemas_of_another_kind(passing: Passing) -> None:
    message = json.loads(passing.body or "{}")
    if "tools" in message.get("result", {}):
        message["result"]["tools"][0]["inputSchema"] = True
        passing.body = json.dumps(message).encode()


HTML = answer(200, b"<html>Sign in first</html>", **{"Content-Type": "text/html"})

DEEP = answer(200, b"[" * 200_000, **{"Content-Type": "application/json"})
DEEP_REFUSAL = answer(500, b"[" * 200_000, **{"Content-Type": "application/json"})
DEEP_EVENT = answer(200, b"data: " + b"[" * 200_000 + b"\n\n", **{"Content-Type": "text/event-stream"})


def but_the_challenge(change: Callable[[Passing], None]) -> Callable[[Passing], None]:
    def changed(passing: Passing) -> None:
        if "Authorization" in passing.sent:
            change(passing)

    return changed


# What goes wrong before, and what after the server was asked: method, path, change; then step, reason and fix.
BEFORE = [
    ("POST", "/mcp", answer(307, Location="/mcp/"), "challenge", "answers 307", "do not follow redirects"),
    ("POST", "/mcp", answer(403), "challenge", "answers 403", "let its user agent through"),
    ("POST", "/mcp", answer(502), "challenge", "answers 502", "Start the server"),
    ("GET", DOCUMENTS, answer(404), "resource metadata", "none of its addresses", "--bg 8123"),
    ("GET", DOCUMENTS, HTML, "resource metadata", "text/html", "Something in front"),
    ("GET", RESOURCE, DEEP, "resource metadata", "no JSON object", "in front"),
    ("GET", SERVER, DEEP_REFUSAL, "server metadata", "answers 500", "log"),
    ("POST", "/mcp", but_the_challenge(DEEP), "first MCP request", "", ""),
    ("POST", "/mcp", but_the_challenge(DEEP_EVENT), "first MCP request", "RecursionError", ""),
    ("GET", SERVER, answer(500), "server metadata", "answers 500", "log"),
    ("POST", "/register", HTML, "registration", "answers 200, and 201 was expected", ""),
    ("POST", "/register", answer(429), "registration", "answers 429", "wait an hour"),
    ("POST", "/token", answer(404), "token", "answers 404", "--bg 8123"),
    ("POST", "/mcp", lose_token, "first MCP request", "answers 401 to the new token", "takes the Authorization header"),
]
AFTER = [
    ("POST", "/mcp", take("WWW-Authenticate"), "challenge", "has 0 WWW-Authenticate", "Let the header"),
    ("POST", "/mcp", write_challenge_small, "challenge", "does not begin with `Bearer `", "Let the header"),
    ("GET", SERVER, slash_after_issuer, "server metadata", "issuer is byte-equal", "PUBLIC_URL"),
    ("GET", RESOURCE, member(resource="https://x"), "resource metadata", "resource is the URL", "PUBLIC_URL"),
    ("GET", RESOURCE, member(authorization_servers=[]), "resource metadata", "names no", "in front"),
    ("POST", "/register", member(client_uri=None), "registration", "nothing is null", "report"),
    ("POST", "/register", member(redirect_uris=[]), "registration", "redirect_uris are echoed", "report"),
    ("POST", CONSENT, without("iss"), "sign-in and consent", "iss is byte-equal", "PUBLIC_URL"),
    ("POST", CONSENT, without("state"), "sign-in and consent", "state did not come back", "byte for byte"),
    ("POST", "/token", member(expires_in="3600"), "token", "expires_in is an integer", "report"),
    ("POST", "/mcp", schemas_of_another_kind, "MCP request", "tools have schemas", "author"),
]


async def check(server: Server, step: str, reason: str, fix: str) -> None:
    _, outcomes = await server.replay(CLAUDE, REGISTRATION)
    last = outcomes[-1]
    assert (last.ok, last.step) == (False, step), outcomes
    assert reason in last.note
    assert fix in last.fix
    assert all(one.ok for one in outcomes[:-1])


def only(method: str, path: str, change: Callable[[Passing], None]) -> Callable[[Passing], None]:
    def changed(passing: Passing) -> None:
        if passing.method == method and passing.path.startswith(path):
            change(passing)

    return changed


@pytest.mark.parametrize(("method", "path", "change", "step", "reason", "fix"), BEFORE)
async def test_what_does_not_get_through_is_told(
    server: Server, front: Front, method: str, path: str, change: Any, step: str, reason: str, fix: str
) -> None:
    front.before, front.after = only(method, path, change), None
    await check(server, step, reason, fix)


@pytest.mark.parametrize(("method", "path", "change", "step", "reason", "fix"), AFTER)
async def test_an_answer_that_a_client_cannot_take_is_told(
    server: Server, front: Front, method: str, path: str, change: Any, step: str, reason: str, fix: str
) -> None:
    front.before, front.after = None, only(method, path, change)
    await check(server, step, reason, fix)


async def test_a_front_that_gets_nothing_wrong_is_not_noticed(server: Server, front: Front) -> None:
    front.before = front.after = None
    _, outcomes = await server.replay(CLAUDE, REGISTRATION)
    assert all(one.ok for one in outcomes), outcomes


def refuse_discovery(passing: Passing) -> None:
    asked = json.loads(passing.asked)
    if asked["method"] == "server/discover" and "Authorization" in passing.sent:
        error = {"code": -32601, "message": "Method not found"}
        body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "error": error}).encode()
        answer(404, body, **{"Content-Type": "application/json"})(passing)


async def test_a_client_of_both_eras_finds_the_older_one(server: Server, front: Front) -> None:
    front.before, front.after = only("POST", "/mcp", refuse_discovery), None
    client = load("chatgpt")
    attempt, outcomes = await server.replay(client, client.runs[0])
    assert all(one.ok for one in outcomes), outcomes
    assert attempt.era == "legacy"


def shorten_refusal(passing: Passing) -> None:
    if "error_description" in passing.headers.get("WWW-Authenticate", ""):
        passing.headers["WWW-Authenticate"] = passing.headers["WWW-Authenticate"].replace("error_description", "about")


@pytest.mark.parametrize(
    ("path", "change", "step", "reason"),
    [
        ("/register", member(token_endpoint_auth_method="none"), "registration", "the method is kept"),
        ("/register", member(client_secret_expires_at=1), "registration", "the secret does not expire"),
        ("/mcp", shorten_refusal, "challenge", "the refusal is described"),
    ],
)
async def test_what_a_client_with_a_secret_cannot_take_is_told(
    server: Server, front: Front, path: str, change: Any, step: str, reason: str
) -> None:
    front.before, front.after = None, only("POST", path, change)
    client = load("chatgpt")
    _, outcomes = await server.replay(client, next(run for run in client.runs if run.instead))
    assert (outcomes[-1].ok, outcomes[-1].step) == (False, step), outcomes
    assert reason in outcomes[-1].note


def hide_documents(passing: Passing) -> None:
    if passing.path.startswith(DOCUMENTS):
        answer(404)(passing)


@pytest.mark.parametrize("name", ["sdk-typescript", "sdk-python", "vscode"])
async def test_without_any_metadata_a_client_finds_the_paths_that_all_know(
    server: Server, front: Front, name: str
) -> None:
    front.before, front.after = hide_documents, None
    client = load(name)
    # What is in front here passes no streams on.
    steps = tuple(step for step in client.steps if step.do not in ("ask", "listen"))
    client = client.model_copy(update={"steps": steps})
    attempt, outcomes = await server.replay(client, next(run for run in client.runs if not run.client_id))
    assert all(one.ok for one in outcomes), outcomes
    assert (attempt.resource, attempt.server["token_endpoint"]) == ({}, f"{server.origin}/token")


@pytest.mark.parametrize(
    ("run", "path"), [(REGISTRATION, "/register"), (REGISTRATION, "/token"), (CLAUDE.runs[0], "/token")]
)
async def test_nothing_is_left_of_an_attempt_that_is_interrupted(
    server: Server, front: Front, run: Run, path: str
) -> None:
    async with server.attempt(CLAUDE, run) as attempt:
        playing = asyncio.ensure_future(anext(step async for step in play(attempt) if not step.ok))
        # The server has done it, and the client does not know yet.

        def interrupt(passing: Passing) -> None:
            playing.cancel()

        front.before, front.after = None, only("POST", path, interrupt)
        with pytest.raises(asyncio.CancelledError):
            await playing
        front.after = None
        client_id = attempt.client_id
        assert await authorization.remove(attempt) is not None
    clients = [one["client_id"] for one in await server.services.operations.run("client list", {})]
    sessions = [one["client_id"] for one in await server.services.operations.run("session list", {})]
    assert client_id
    assert client_id not in [*sessions, *(one for one in clients if one.startswith("mcp_client_"))]


async def test_nothing_is_erased_anywhere_but_where_it_was_registered(server: Server, front: Front) -> None:
    asked: list[str] = []
    elsewhere = Front(server.origin)
    elsewhere.before = lambda passing: asked.append(passing.method)
    uri = f"{elsewhere.origin}/anything"
    front.before, front.after = None, only("POST", "/register", member(registration_client_uri=uri))
    async with server.attempt(CLAUDE, REGISTRATION) as attempt:
        assert all([step.ok async for step in play(attempt)])
        front.after = None
        with pytest.raises(StepFailed, match="another origin"):
            await authorization.remove(attempt)
    await elsewhere.stop()
    assert asked == []


async def test_a_client_that_names_no_resource_is_told_where_its_token_is_good(server: Server) -> None:
    client = load("n8n")
    _, outcomes = await server.replay(client, client.runs[0], "/mcp/files")
    assert (outcomes[-1].step, outcomes[-1].ok) == ("first MCP request", False)
    assert f"so it is for {server.origin}/mcp" in outcomes[-1].note
    assert f"the URL {server.origin}/mcp," in outcomes[-1].fix


async def test_a_token_that_has_arrived_and_is_refused_is_not_taken_for_lost(server: Server, front: Front) -> None:
    front.after, front.before = None, only("POST", "/mcp", but_the_challenge(another_token))
    await check(server, "first MCP request", "the access token is not valid", "log")
