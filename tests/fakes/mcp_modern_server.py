"""A stdio MCP server of revision 2026-07-28 alone, whose results ask its client for things. Plain standard library.

It keeps nothing between requests: how far a call is, its `requestState` says.
"""

import json
import os
import sys

PREFIX = "io.modelcontextprotocol/"
VERSION, SUBSCRIPTION = PREFIX + "protocolVersion", PREFIX + "subscriptionId"

LISTENING = {}  # ids of subscriptions -> their filters
SEEN = {"frames": [], "cancelled": [], "listened": []}
INFO = {PREFIX + "serverInfo": {"name": "new", "version": "2", "title": "New"}}


class Failure(Exception):
    def __init__(self, code, message):
        super().__init__(message)
        self.about = {"code": code, "message": message}


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method, **params):
    send(method=method, params=params)


def complete(**members):
    return {"resultType": "complete", "_meta": INFO, **members}


def cached(**members):
    return complete(ttlMs=1000, cacheScope="public", **members)


def text(value):
    return complete(content=[{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}])


def required(state, **requests):
    return {"resultType": "input_required", "inputRequests": requests, "requestState": state}


def publish(kind, method, **params):
    for subscription, wanted in LISTENING.items():
        if wanted.get(kind) is True or params.get("uri") in wanted.get("resourceSubscriptions", []):
            notify(method, **params, _meta={SUBSCRIPTION: subscription})


def call(request_id, params):
    given, state = params.get("arguments") or {}, params.get("requestState")
    answers = params.get("inputResponses") or {}
    match params["name"]:
        case "echo":
            return text(params)
        case "seen":
            return text(SEEN)
        case "pid":
            return text(str(os.getpid()))
        case "ask":  # all at once
            if state is None:
                asked = {f"q{number}": one for number, one in enumerate(given["requests"])}
                return required("asked", **asked)
            return text(answers)
        case "ask_in_turn":
            told = [] if state is None else [*json.loads(state), *answers.values()]
            if len(told) < given["times"]:
                question = {"method": "roots/list"} if given.get("roots") else elicitation(f"number {len(told)}?")
                return required(json.dumps(told), q=question)
            return text(told)
        case "as_task":  # of an extension
            return {"resultType": "task", "task": {"taskId": "t1"}}
        case "later":  # asks for nothing but patience
            return text("now") if state == "later" else {"resultType": "input_required", "requestState": "later"}
        case "log":
            if PREFIX + "logLevel" in params["_meta"]:
                notify("notifications/message", level=params["_meta"][PREFIX + "logLevel"], data="logged")
            return text("logged")
        case "progress":
            for step in range(3):
                notify("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=step)
            return text("done")
        case "begin":
            notify("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=0)
            return None
        case "change":
            publish("toolsListChanged", "notifications/tools/list_changed")
            for uri in given.get("uris", []):
                publish("", "notifications/resources/updated", uri=uri)
            return text("changed")
        case "end":
            for subscription in LISTENING:
                send(id=subscription, result=complete(_meta={SUBSCRIPTION: subscription}))
            LISTENING.clear()
            return text("ended")
        case "crash":
            os._exit(3)
        case "code":
            raise Failure(given["code"], "as you wish")
    raise Failure(-32602, "no such tool")


def elicitation(message):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def listen(request_id, params):
    wanted = dict(params["notifications"])
    wanted.pop("promptsListChanged", None)
    if "mem://refused" in wanted.get("resourceSubscriptions", []):
        wanted["resourceSubscriptions"].remove("mem://refused")
    LISTENING[request_id] = wanted
    SEEN["listened"].append(wanted)
    tag = {SUBSCRIPTION: request_id}
    notify("notifications/subscriptions/acknowledged", notifications=wanted, _meta=tag)


def serve(message):
    method, params = message["method"], message.get("params") or {}
    if VERSION not in params.get("_meta", {}):
        raise Failure(-32602, "no envelope")
    if method != "subscriptions/listen":
        SEEN["frames"] = [*SEEN["frames"], message][-20:]
    match method:
        case "server/discover":
            changes = {"listChanged": True}
            capabilities = {"tools": changes, "prompts": {}, "resources": {**changes, "subscribe": True}, "logging": {}}
            more = {"extensions": {PREFIX + "tasks": {}, PREFIX + "ui": {}, "x/y": {}}, "tasks": {"list": {}}}
            about = {"supportedVersions": ["2026-07-28"], "capabilities": {**capabilities, **more}}
            return cached(**about, instructions="be new")
        case "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "ask", "seen")]
            tools[0]["execution"] = {"taskSupport": "optional"}  # of another revision
            return cached(tools=tools)
        case "tools/call":
            return call(message["id"], params)
        case "prompts/list":
            return cached(prompts=[{"name": "greet"}])
        case "prompts/get":
            if "requestState" not in params:
                asked = {"messages": [], "maxTokens": 5}
                return required("sampled", s={"method": "sampling/createMessage", "params": asked})
            said = json.dumps(params["inputResponses"])
            return complete(messages=[{"role": "user", "content": {"type": "text", "text": said}}])
        case "resources/list":
            return cached(resources=[{"uri": "mem://a", "name": "a"}])
        case "resources/templates/list":
            return cached(resourceTemplates=[])
        case "resources/read":
            if params["uri"] == "mem://asks" and "requestState" not in params:
                return required("read", q=elicitation("may I?"))
            if params["uri"] not in ("mem://a", "mem://asks"):
                raise Failure(-32602, "no such resource")
            return cached(contents=[{"uri": params["uri"], "text": "content"}])
        case "tasks/get":
            return complete(task={"taskId": params["taskId"]})
        case "completion/complete":
            return complete(completion={"values": ["done"]})
        case "subscriptions/listen":
            listen(message["id"], params)
            return None
    raise Failure(-32601, f"no such method: {method}")


def main():
    for line in sys.stdin:
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled":
            SEEN["cancelled"].append(message["params"]["requestId"])
            LISTENING.pop(message["params"]["requestId"], None)
        elif "id" in message and "method" in message:
            try:
                result = serve(message)
            except Failure as failure:
                send(id=message["id"], error=failure.about)
            else:
                if result is not None:
                    send(id=message["id"], result=result)


main()
