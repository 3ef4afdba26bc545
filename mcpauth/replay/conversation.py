"""The first MCP requests of a client, in the era that it finds."""

import json
from typing import Any

from ..errors import StepFailed
from . import advice, assertions, challenge
from .attempt import Attempt
from .sequence import Begin, End, Listen, Send
from .wire import Exchange

MODERN = "2026-07-28"
NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
ACCEPT = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
META = "io.modelcontextprotocol/"
NEITHER_ERA = "See `status` whether the server behind this address runs."
BACKEND = "See `status`, and the server's log: the MCP server behind this address did not answer well."

Headers = dict[str, str]


def first(attempt: Attempt) -> tuple[dict[str, Any], Headers]:
    """The message that a client begins with, and the headers that go with it."""
    if attempt.era == "modern":
        return _message(attempt, "server/discover", {})
    params = {
        "protocolVersion": attempt.client.revision,
        "capabilities": attempt.client.capabilities,
        "clientInfo": attempt.client.client_info,
    }
    return _message(attempt, "initialize", params)


async def begin(attempt: Attempt, step: Begin) -> str:
    attempt.era, attempt.session_id, attempt.revision = attempt.client.eras[0], "", ""
    exchange = await _post(attempt, *first(attempt))
    if attempt.era == "modern" and not _is_result(exchange):
        if "legacy" not in attempt.client.eras:
            raise StepFailed(f"{exchange}: server/discover is refused{_error(exchange)}", NEITHER_ERA)
        attempt.era = "legacy"
        exchange = await _post(attempt, *first(attempt))
    attempt.result = _result(attempt, exchange)
    if attempt.era == "legacy":
        attempt.session_id = exchange.headers.get("Mcp-Session-Id", "")
        attempt.revision = str(attempt.result.get("protocolVersion", ""))
        accepted = await _post(attempt, *_message(attempt, "notifications/initialized", {}))
        accepted.expect(202)
    assertions.judge(attempt, step.asserts)
    return f"MCP {attempt.revision or MODERN}, {'a session' if attempt.session_id else 'no session'}"


async def send(attempt: Attempt, step: Send) -> str:
    params = attempt.fill_all(step.params)
    attempt.result = _result(attempt, await _post(attempt, *_message(attempt, step.method, params)))
    assertions.judge(attempt, step.asserts)
    tools = attempt.result.get("tools")
    return f"{step.method}: {len(tools)} tools" if isinstance(tools, list) else step.method


async def listen(attempt: Attempt, step: Listen) -> str:
    return await _session(attempt, "GET", step.status, {"Accept": "text/event-stream"})


async def end(attempt: Attempt, step: End) -> str:
    return await _session(attempt, "DELETE", step.status, {})


async def _session(attempt: Attempt, method: str, status: tuple[int, ...], headers: Headers) -> str:
    if attempt.era == "modern":
        return "this era has no sessions"
    about = {**_about(attempt), **_bearer(attempt), **headers}
    exchange = attempt.last = await attempt.wire.send(method, attempt.url, attempt.headers("mcp", about))
    exchange.expect(*status)
    return f"{exchange} {exchange.status}"


def _message(attempt: Attempt, method: str, params: dict[str, Any]) -> tuple[dict[str, Any], Headers]:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if not method.startswith("notifications/"):
        attempt.last_id += 1
        message["id"] = attempt.last_id
    if attempt.era == "legacy":
        return {**message, **({"params": params} if params else {})}, _about(attempt)
    about = {
        f"{META}protocolVersion": MODERN,
        f"{META}clientInfo": attempt.client.client_info,
        f"{META}clientCapabilities": attempt.client.capabilities,
    }
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if method in NAMED:
        headers["Mcp-Name"] = str(params[NAMED[method]])
    return {**message, "params": {**params, "_meta": {**params.get("_meta", {}), **about}}}, headers


def _about(attempt: Attempt) -> Headers:
    """What every request of an MCP session says of it."""
    about = {"Mcp-Session-Id": attempt.session_id, "MCP-Protocol-Version": attempt.revision}
    return {name: value for name, value in about.items() if value}


def _bearer(attempt: Attempt) -> Headers:
    return {"Authorization": f"Bearer {attempt.access_token}"}


async def _post(attempt: Attempt, message: dict[str, Any], headers: Headers) -> Exchange:
    sent = attempt.headers("mcp", {**ACCEPT, **headers, **_bearer(attempt)})
    body, request_id = json.dumps(message).encode(), message.get("id")
    attempt.last = await attempt.wire.send("POST", attempt.url, sent, body, request_id)
    if attempt.client.origin:
        assertions.judge(attempt, ["page may read", "page sees the headers"])
    return attempt.last


def _read(exchange: Exchange) -> dict[str, Any]:
    try:
        content = json.loads(exchange.body)
    except (ValueError, RecursionError):
        content = None
    return content if isinstance(content, dict) else {}


def _is_result(exchange: Exchange) -> bool:
    return exchange.status == 200 and isinstance(_read(exchange).get("result"), dict)


def _error(exchange: Exchange) -> str:
    error = _read(exchange).get("error")
    return f" ({str(error.get('message'))[:300]})" if isinstance(error, dict) else ""


def _not_taken(attempt: Attempt, exchange: Exchange) -> StepFailed:
    """Why a token that was just issued is refused. One that has arrived is called invalid."""
    resource, everything = attempt.resource.get("resource"), attempt.fill("{origin}/mcp")
    said = dict(challenge.PARAMETER.findall(exchange.headers.get("WWW-Authenticate", "")))
    if resource not in (None, attempt.url):
        about = f"{exchange} answers 401: the token is for {resource}, not for this address"
        return StepFailed(about, advice.ELSEWHERE)
    if "error" not in said:
        return StepFailed(f"{exchange} answers 401 to the new token", advice.TOKEN_LOST)
    if attempt.url != everything and not attempt.client.names_resource:
        about = (
            f"{exchange} answers 401: the client does not say which address its token is for, so it is for {everything}"
        )
        return StepFailed(about, f"Give this client the URL {everything}, which has the tools of all servers.")
    about = f"{exchange} answers 401 to the new token ({said.get('error_description', '')[:300]})"
    return StepFailed(about, advice.SERVER_LOG)


def _result(attempt: Attempt, exchange: Exchange) -> dict[str, Any]:
    """Raises StepFailed."""
    if exchange.status == 401:
        raise _not_taken(attempt, exchange)
    exchange.expect(200)
    if not _is_result(exchange):
        raise StepFailed(f"{exchange}: no result came{_error(exchange)}", BACKEND if exchange.body else advice.TOO_SLOW)
    result: dict[str, Any] = _read(exchange)["result"]
    return result
