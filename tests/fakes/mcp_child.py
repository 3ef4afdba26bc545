"""A stdio MCP server that behaves, or misbehaves, as its tools are told to. Plain standard library.

Arguments: the names of its tools; ``name:read`` has readOnlyHint, ``name:header`` arguments that headers repeat.
With ``--stubborn`` it ignores both the end of its stdin and SIGTERM, with ``--silent`` it answers nothing at all,
with ``--fail-once=PATH`` it ends the first two times (whoever asks which era it speaks tries twice), with
``--tools=PATH`` it has the tools named in that file, too, with ``--alone=PATH`` it ends when another one runs that
was given the same file. It speaks the legacy era; with ``--modern`` that of 2026-07-28 alone, with ``--dual`` the one
that it hears first. ``--strict`` ends when it hears of the other, ``--reserved`` says nothing to it. With ``--greets``
it has a word for each client by its name.
"""

import fcntl
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
VERSION = "io.modelcontextprotocol/protocolVersion"

ERA = []  # "legacy" or "modern", once it is chosen
OPTIONS = set()
LISTENING = set()
WAITING = {}  # what was asked of the client: our id -> the call's id
CANCELLED = []
HEARD = []  # the methods of all that came
LINES = [""]
SECRETS = []
TOOLS = []
LOCK = []


def send(**message):
    if "result" in message and "modern" in ERA:
        message["result"] = {"resultType": "complete", **message["result"]}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def answer(to, text):
    send(id=to, result={"content": [{"type": "text", "text": text}]})


def log(data, level="info"):
    send(method="notifications/message", params={"level": level, "data": data})


def definition(name):
    name, _, hint = name.partition(":")
    tool = {"name": name, "inputSchema": {"type": "object", "$comment": "kept"}, "x-unknown": 1.50}
    if hint == "header":
        properties = {"region": {"type": "string", "x-mcp-header": "Region"}}
        properties["count"] = {"type": "integer", "x-mcp-header": "Count"}
        tool["inputSchema"] = {"type": "object", "properties": properties}
    if hint == "read":
        tool["annotations"] = {"readOnlyHint": True}
    return tool


def call(to, params):
    given = params.get("arguments") or {}
    match given.get("do", params["name"]):
        case "environment":
            answer(to, json.dumps({"env": dict(os.environ), "cwd": os.getcwd()}))
        case "raw":
            answer(to, LINES[-1])
        case "pid":
            answer(to, str(os.getpid()))
        case "progress":
            token = params["_meta"].get("progressToken")
            for step in range(0 if token is None else given["steps"]):
                send(method="notifications/progress", params={"progressToken": token, "progress": step})
            answer(to, json.dumps(type(token).__name__))
        case "begin":
            send(method="notifications/progress", params={"progressToken": params["_meta"]["progressToken"]})
        case "ask":
            ours = given.get("id", 1)
            WAITING[ours] = to
            asked = {"message": "how many?", "_meta": {"progressToken": ours}}
            send(id=ours, method="elicitation/create", params=asked)
        case "ping":
            WAITING["ping"] = to
            send(id="ping", method="ping")
        case "never":
            log("waiting")
        case "cancelled":
            answer(to, json.dumps(CANCELLED))
        case "crash":
            sys.stderr.write("the reason, for the owner only\n")
            sys.stderr.flush()
            os._exit(given.get("status", 3))
        case "hang_up":
            os.close(1)
        case "garbage":
            sys.stdout.write('Listening on stdio...\n\n[1,2]\n{"jsonrpc":"1.0"}\n')
            send(id=99999, result={})
            send(id="1", result={})
            # Numbers that nobody can read.
            tag = f'{{"_meta":{{"{SUBSCRIPTION}":1e999}}}}'
            sys.stdout.write(f'{{"jsonrpc":"2.0","method":"notifications/x","params":{tag}}}\n')
            answer(to, "fine")
        case "batch":
            told = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "x"}}
            result = {"content": [{"type": "text", "text": "fine"}]}
            for several in ([told] * 101, [], [told, {"jsonrpc": "2.0", "id": to, "result": result}, told]):
                sys.stdout.write(json.dumps(several) + "\n")
            sys.stdout.flush()
        case "odd_error":
            sys.stdout.write(f'{{"jsonrpc":"2.0","id":{to},"error":{{"code":1e999,"message":"odd"}}}}\n')
            sys.stdout.flush()
        case "line":
            sys.stdout.buffer.write(given["line"].replace("ID", str(to)).encode("latin-1") + b"\n")
            sys.stdout.buffer.flush()
        case "flood":
            token = params.get("_meta", {}).get("progressToken")
            for number in range(given["count"]):
                text = "x" * given["size"] + str(number)
                if token is None:
                    log(text)
                else:
                    send(method="notifications/progress", params={"progressToken": token, "message": text})
            answer(to, "flooded")
        case "large":
            answer(to, "x" * given["size"])
        case "grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            answer(to, str(child.pid))
        case "escape":
            # It leaves the group, has nothing of ours open, and minds no signal that can be ignored.
            program = "import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (1, 2, 15)]; time.sleep(600)"
            nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            child = subprocess.Popen([sys.executable, "-S", "-c", program], start_new_session=True, **nothing)
            answer(to, str(child.pid))
        case "complain":
            for number in range(given["lines"]):
                sys.stderr.write(f"line {number} " + "y" * given.get("size", 0) + "\n")
            sys.stderr.flush()
            answer(to, "complained")
        case "change":
            pathlib.Path(given["path"]).write_text("added")
            if "legacy" in ERA:
                send(method="notifications/tools/list_changed")
            for subscription in LISTENING:
                send(method="notifications/tools/list_changed", params={"_meta": {SUBSCRIPTION: subscription}})
            answer(to, "changed")
        case "end":
            for subscription in LISTENING:
                send(id=subscription, result={"_meta": {SUBSCRIPTION: subscription}})
            answer(to, "ended")
        case "log":
            log(given["data"], given.get("level", "info"))
            answer(to, "logged")
        case "update":
            send(method="notifications/resources/updated", params={"uri": given["uri"]})
            answer(to, "updated")
        case "remember":
            SECRETS.append((given["secret"], params.get("_meta", {}).get("progressToken")))
            answer(to, "remembered")
        case "gossip":
            # All that can be said of a call that is over; the answer is what became of the question.
            secret, token = SECRETS[-1]
            send(method="notifications/progress", params={"progressToken": token, "progress": 1, "message": secret})
            log(secret)
            send(method="notifications/x", params={"secret": secret})
            send(id="gossip", method="elicitation/create", params={"message": secret})
            WAITING["gossip"] = to
        case "heard":
            answer(to, json.dumps(HEARD))
        case "alone":
            # What nobody in particular asked for, while nothing is in flight.
            answer(to, "soon")
            log("alone")
            send(id="alone", method="roots/list")
            send(method="notifications/tools/list_changed")
        case "leak":
            # What names no request, or not one that is there.
            send(method="notifications/progress", params={"progressToken": 99999, "progress": 1})
            send(method="notifications/tools/list_changed", params={"_meta": {SUBSCRIPTION: 99999}})
            send(method="notifications/resources/updated", params={"uri": "secret"})
            log("secret")
            send(id=99999, result={"secret": True})
            answer(to, "leaked")
        case _:
            answer(to, json.dumps(params))


def greeting(client):
    return f"{os.getpid()} greets {client['name']}"


def refuse(to, code, text, **data):
    send(id=to, error={"code": code, "message": text, **({"data": data} if data else {})})


def is_spoken(message):
    """Whether this is the era it speaks; it chooses when there is a choice."""
    params = message.get("params") or {}
    era = "modern" if VERSION in params.get("_meta", {}) else "legacy"
    spoken = {"--modern": ["modern"], "--dual": ["modern", "legacy"]}
    known = next((eras for option, eras in spoken.items() if option in OPTIONS), ["legacy"])
    if not ERA and era in known:
        ERA.append(era)
    return era in ERA


def modern_request(to, method, params):
    match method:
        case "server/discover":
            about = {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}}}
            send(id=to, result={**about, "ttlMs": 5, "cacheScope": "public", "x-unknown": [1.0, None]})
        case "tools/list":
            tools = [definition(name) for name in TOOLS]
            send(id=to, result={"tools": tools, "ttlMs": 5, "cacheScope": "public"})
        case "tools/call":
            call(to, params)
        case "subscriptions/listen":
            LISTENING.add(to)
            tag = {"notifications": params["notifications"], "_meta": {SUBSCRIPTION: to}}
            send(method="notifications/subscriptions/acknowledged", params=tag)
        case "x/ask":
            send(id="ours", method="sampling/createMessage", params={})
            WAITING["ours"] = to
        case _:
            refuse(to, -32601, "no such method")


def request(message):
    to, params = message["id"], message.get("params") or {}
    if not is_spoken(message):
        if "--strict" in OPTIONS:
            sys.exit(9)
        if "--reserved" not in OPTIONS:
            refuse(to, -32601, "not of this era")
        return
    if "modern" in ERA:
        modern_request(to, message["method"], params)
        return
    match message["method"]:
        case "initialize":
            send(
                id=to,
                result={
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {"listChanged": True}, "experimental": params["capabilities"]},
                    "serverInfo": {"name": "child", "version": "1"},
                    "x-unknown": [1.0, None],
                    **({"instructions": greeting(params["clientInfo"])} if "--greets" in OPTIONS else {}),
                },
            )
        case "tools/list":
            at = int(params.get("cursor", 0))
            page = [definition(name) for name in TOOLS[at : at + 2]]
            more = {"nextCursor": str(at + 2)} if at + 2 < len(TOOLS) else {}
            send(id=to, result={"tools": page, **more, "x-unknown": True})
        case "tools/call":
            call(to, params)
        case _:
            send(id=to, result={"method": message["method"], "params": params})


def heard(message):
    HEARD.append(message.get("method"))
    if message.get("id") == "alone":
        CANCELLED.append(message["error"])
    elif "method" not in message:
        told = message.get("result", message.get("error"))
        answer(WAITING.pop(message["id"]), json.dumps([told] if message["id"] == "gossip" else told))
    elif "id" in message:
        request(message)
    elif message["method"] == "notifications/cancelled":
        CANCELLED.append(message["params"])
        LISTENING.discard(message["params"]["requestId"])
    elif message["method"] == "notifications/progress":
        log(message["params"])


def main():
    TOOLS.extend(given for given in sys.argv[1:] if not given.startswith("--"))
    options = [given for given in sys.argv[1:] if given.startswith("--")]
    OPTIONS.update(options)
    for option in options:
        name, _, value = option.partition("=")
        if name == "--tools" and pathlib.Path(value).exists():
            TOOLS.extend(pathlib.Path(value).read_text().split())
        if name == "--alone":
            LOCK.append(open(value, "w"))  # noqa: SIM115 - for as long as it lives
            try:
                fcntl.flock(LOCK[0], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                sys.stderr.write("another one runs\n")
                sys.exit(1)
        if name == "--fail-once":
            failed = pathlib.Path(value)
            times = len(failed.read_text()) if failed.exists() else 0
            if times < 2:
                failed.write_text("x" * (times + 1))
                sys.exit(7)
    if "--stubborn" in options:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for line in sys.stdin:
        LINES[-1] = line
        if "--silent" not in options:
            heard(json.loads(line))
    while "--stubborn" in options:
        time.sleep(1)


main()
