"""A stdio MCP server whose tools, and what it says of itself, depend on what its client declares. Plain stdlib.

It speaks the older era, or with ``--modern`` 2026-07-28 alone. ``--asks`` has questions as soon as it is initialized,
and lists nothing before it has their answers; in the modern era it asks whoever declares anything in place of listing.
``--strict`` refuses whoever declares anything. While there is the file FILE of ``--unless=FILE``, it ends when it hears
of a client that declares nothing.
"""

import json
import os
import sys

PREFIX = "io.modelcontextprotocol/"
QUESTIONS = ["ping", "roots/list", "elicitation/create", "sampling/createMessage", "x/unknown"]

MODERN, ASKS, STRICT = (option in sys.argv for option in ("--modern", "--asks", "--strict"))
UNLESS = [option.partition("=")[2] for option in sys.argv if option.startswith("--unless=")]
DECLARED = {}
ANSWERS = {}  # by the question
HELD = []  # requests that wait for those


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def capabilities():
    return {"tools": {"listChanged": True}, **({"completions": {}} if "sampling" in DECLARED else {})}


def tools():
    asking = [f"with_{name}" for name in ("roots", "sampling", "elicitation") if name in DECLARED]
    if "text/html;profile=mcp-app" in DECLARED.get("extensions", {}).get(PREFIX + "ui", {}).get("mimeTypes", []):
        asking.append("with_apps")
    found = ["always", "answers", *asking] if asking else ["always", "answers", "alone"]
    return {name: {"name": name, "inputSchema": {"type": "object"}, "x-of": asking} for name in found}


def result(method, params):
    match method:
        case "server/discover" if MODERN:
            about = {"ttlMs": 0, "cacheScope": "private"}
            return {"supportedVersions": ["2026-07-28"], "capabilities": capabilities(), **about}
        case "initialize" if not MODERN:
            about = {"serverInfo": {"name": "choosy", "version": "1"}, "capabilities": capabilities()}
            return {"protocolVersion": params["protocolVersion"], **about}
        case "tools/list" if MODERN and ASKS and DECLARED:
            return {"resultType": "input_required", "inputRequests": {"r": {"method": "roots/list", "params": {}}}}
        case "tools/list":
            return {"tools": list(tools().values()), **({"ttlMs": 0, "cacheScope": "private"} if MODERN else {})}
        case "tools/call" if params["name"] in tools():
            text = json.dumps(ANSWERS) if params["name"] == "answers" else "called"
            return {"content": [{"type": "text", "text": text}]}
    return None


def request(message):
    params = message.get("params") or {}
    envelope = params.get("_meta", {})
    declared = envelope.get(PREFIX + "clientCapabilities") if MODERN else params.get("capabilities")
    if declared is not None:
        DECLARED.clear()
        DECLARED.update(declared)
        if not DECLARED and any(map(os.path.exists, UNLESS)):
            os._exit(3)
    known = (PREFIX + "protocolVersion" in envelope) == MODERN and not (STRICT and DECLARED)
    answer = result(message["method"], params) if known else None
    if answer is None:
        send(id=message["id"], error={"code": -32602, "message": "no such thing for you"})
    else:
        send(id=message["id"], result={"resultType": "complete", **answer} if MODERN else answer)


for line in sys.stdin:
    message = json.loads(line)
    if "method" not in message:
        ANSWERS[message["id"]] = message.get("result", message.get("error"))
        while HELD and ANSWERS.keys() >= set(QUESTIONS):
            request(HELD.pop(0))
    elif message["method"] == "notifications/initialized" and ASKS:
        for question in QUESTIONS:
            send(id=question, method=question, params={})
    elif (
        "id" in message
        and ASKS
        and not MODERN
        and message["method"] == "tools/list"
        and not ANSWERS.keys() >= set(QUESTIONS)
    ):
        HELD.append(message)
    elif "id" in message:
        request(message)
