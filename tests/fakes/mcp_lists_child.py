"""A stdio MCP server with lists of every kind. Plain standard library.

`mcp_lists_child.py FILE [--modern | --dual]`: FILE is JSON, read anew for every request, with the lists ``tools``,
``prompts``, ``resources`` and ``templates`` (names and URIs), ``knows`` (URIs that it reads though it does not list
them) and ``page`` (how many entries a page has). It declares what it has a list of, and all options of that, without
subscriptions to resources where ``unfollowed`` is true. ``era`` there counts for those that are started.
A file beside that one, ``*.started``, has a line for each time it was started.
"""

import json
import os
import pathlib
import sys

PREFIX = "io.modelcontextprotocol/"
SUBSCRIPTION, VERSION, LOG_LEVEL = PREFIX + "subscriptionId", PREFIX + "protocolVersion", PREFIX + "logLevel"

FILE = pathlib.Path(sys.argv[1])
STARTED, COUNTED = FILE.with_suffix(".started"), FILE.with_suffix(".counted")
ERA_OPTION = json.loads(FILE.read_text()).get("era", sys.argv[-1])
ERAS = {"--modern": ["modern"], "--dual": ["modern", "legacy"]}.get(ERA_OPTION, ["legacy"])

ERA = []  # the one it has heard first
LEVEL = []
SUBSCRIBED = []
LISTENING = {}  # the id of a subscriptions/listen -> what it wants
WAITING = {}  # the id of a request of ours -> the id of the call
KEYS = {"tools": "name", "prompts": "name", "resources": "uri", "templates": "uriTemplate"}
LISTS = {
    "tools/list": ("tools", "tools"),
    "prompts/list": ("prompts", "prompts"),
    "resources/list": ("resources", "resources"),
    "resources/templates/list": ("templates", "resourceTemplates"),
}


class Failure(Exception):
    def __init__(self, code):
        super().__init__(f"failed with {code}")
        self.code = code


class Later(Exception):
    """The answer comes when the client has given its own."""


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def given():
    return json.loads(FILE.read_text())


def is_modern():
    return ERA == ["modern"]


def capabilities():
    lists = given()
    found = {"completions": {}, "logging": {}}
    for name in ("tools", "prompts", "resources"):
        if name in lists:
            found[name] = {"listChanged": True}
    if "resources" in lists and not lists.get("unfollowed"):
        found["resources"]["subscribe"] = True
    return found


def listed(name, member, cursor):
    entries = given().get(name, [])
    size, at = given().get("page", 1000), int(cursor or 0)
    page = [{KEYS[name]: entry, "x-of": FILE.stem} for entry in entries[at : at + size]]
    for entry, definition in zip(entries[at:], page, strict=False):
        if name in ("resources", "templates"):
            definition["name"] = "n"
        if name == "tools":
            definition["inputSchema"] = {"type": "object"}
            definition["annotations"] = {"readOnlyHint": entry.startswith("look")}
        if name == "tools" and entry == "route":
            definition["inputSchema"]["properties"] = {"region": {"type": "string", "x-mcp-header": "Region"}}
    more = {"nextCursor": str(at + size)} if at + size < len(entries) else {}
    return {member: page, "ttlMs": 1000, "cacheScope": "public", **more}


def announce(method, params, wanted):
    if not is_modern():
        send(method=method, params=params)
    for subscription, filters in LISTENING.items():
        if wanted in filters or params.get("uri") in filters.get("resourceSubscriptions", []):
            send(method=method, params={**params, "_meta": {SUBSCRIPTION: subscription}})


def question(to, params):
    """Asks the client how many; the answer's text is what it said."""
    if "inputResponses" in params:
        return json.dumps({"said": params["inputResponses"], "state": params.get("requestState"), "by": FILE.stem})
    asked = {"message": f"{FILE.stem}: how many?", "requestedSchema": {"type": "object", "properties": {}}}
    if is_modern():
        return {
            "resultType": "input_required",
            "inputRequests": {"n": {"method": "elicitation/create", "params": {"mode": "form", **asked}}},
            "requestState": f"state of {FILE.stem}",
        }
    WAITING[7] = to
    send(id=7, method="elicitation/create", params=asked)
    raise Later


def call(to, params):
    arguments = params.get("arguments") or {}
    match arguments.get("do"):
        case "pid":
            return str(os.getpid())
        case "state":
            # Without what the gateway wants to know itself.
            listening = [wanted for wanted in LISTENING.values() if len(wanted) != 3]
            return json.dumps({"level": LEVEL, "subscribed": SUBSCRIBED, "listening": listening})
        case "log":
            if not is_modern() or LOG_LEVEL in params["_meta"]:
                logger = {"logger": arguments["logger"]} if "logger" in arguments else {}
                send(method="notifications/message", params={"level": "info", "data": "x", **logger})
        case "changed":
            kind = arguments["kind"]
            announce(f"notifications/{kind}/list_changed", {}, f"{kind}ListChanged")
        case "updated":
            announce("notifications/resources/updated", {"uri": arguments["uri"]}, "")
        case "end":
            for subscription in list(LISTENING):
                send(id=subscription, result={"resultType": "complete", "_meta": {SUBSCRIPTION: subscription}})
                del LISTENING[subscription]
        case "exit":
            os._exit(3)
        case "count":
            # That it was run leaves a trace, whatever becomes of the process.
            with COUNTED.open("a") as file:
                file.write("x")
            if arguments.get("exit"):
                os._exit(3)
            return COUNTED.read_text()
        case "ask":
            return question(to, params)
    return json.dumps({"by": FILE.stem, "name": params["name"], "arguments": arguments})


def read(to, uri, params):
    if uri not in [*given().get("resources", []), *given().get("knows", [])]:
        raise Failure(-32602 if is_modern() else -32002)
    if "ask" in uri:
        answer = question(to, params)
        if not isinstance(answer, str):
            return answer
        return {"contents": [{"uri": uri, "text": answer}]}
    return {"contents": [{"uri": uri, "text": f"{uri} of {FILE.stem}"}], "ttlMs": 5, "cacheScope": "public"}


def result(to, method, params):
    if method in LISTS:
        return listed(*LISTS[method], params.get("cursor"))
    match method:
        case "server/discover":
            return {
                "supportedVersions": ["2026-07-28"],
                "capabilities": capabilities(),
                "ttlMs": 0,
                "cacheScope": "private",
            }
        case "initialize":
            about = {"name": FILE.stem, "version": "1"}
            version = params["protocolVersion"]
            return {"protocolVersion": version, "capabilities": capabilities(), "serverInfo": about}
        case "tools/call":
            answer = call(to, params)
            return answer if isinstance(answer, dict) else {"content": [{"type": "text", "text": answer}]}
        case "prompts/get":
            answer = json.dumps({"by": FILE.stem, "name": params["name"]})
            if params["name"].startswith("ask"):
                answer = question(to, params)
                if not isinstance(answer, str):
                    return answer
            return {"messages": [{"role": "user", "content": {"type": "text", "text": answer}}]}
        case "resources/read":
            return read(to, params["uri"], params)
        case "completion/complete":
            return {"completion": {"values": [FILE.stem, json.dumps(params["ref"])]}}
        case "resources/subscribe":
            read(to, params["uri"], {"inputResponses": {}})
            SUBSCRIBED.append(params["uri"])
            return {}
        case "resources/unsubscribe":
            SUBSCRIBED.remove(params["uri"])
            return {}
        case "logging/setLevel":
            LEVEL[:] = [params["level"]]
            return {}
    raise Failure(-32601)


def request(to, method, params):
    era = "modern" if VERSION in params.get("_meta", {}) else "legacy"
    if not ERA and era in ERAS:
        ERA.append(era)
    try:
        if [era] != ERA:
            raise Failure(-32601)
        if method == "subscriptions/listen":
            LISTENING[to] = params["notifications"]
            about = {"notifications": params["notifications"], "_meta": {SUBSCRIPTION: to}}
            send(method="notifications/subscriptions/acknowledged", params=about)
            return
        answer = result(to, method, params)
        send(id=to, result={"resultType": "complete", **answer} if is_modern() else answer)
    except Failure as failure:
        send(id=to, error={"code": failure.code, "message": f"{FILE.stem} failed"})
    except Later:
        pass


def main():
    with STARTED.open("a") as file:
        file.write(f"{os.getpid()}\n")
    for line in sys.stdin:
        message = json.loads(line)
        if "method" not in message:
            text = json.dumps({"said": message.get("result"), "by": FILE.stem})
            send(id=WAITING.pop(message["id"]), result={"content": [{"type": "text", "text": text}]})
        elif "id" in message:
            request(message["id"], message["method"], message.get("params") or {})
        elif message["method"] == "notifications/cancelled":
            LISTENING.pop(message["params"]["requestId"], None)


main()
