"""A stdio MCP server of the older era alone, that asks its client for things. Plain standard library.

Its tools are named in ``call``. ``--quiet`` declares neither log messages nor changes of anything; with ``--tasks``
some of its tools can be called as tasks (2025-11-25), one of them only so. With ``--roots`` it asks for the roots when
it is initialized by a client that has some, as the file server of the npm registry does, and its tool ``where`` is no
use before it has them.
"""

import asyncio
import json
import os
import sys

ASKED = {}  # our ids -> who waits for the answer
EXTENSIONS = {"io.modelcontextprotocol/ui": {}, "x/y": {}}
TASKS = {}  # ids of requests -> their tasks
SEEN = {"initialize": [], "levels": [], "subscribed": [], "unsubscribed": [], "cancelled": [], "runs": 0, "frames": []}
SEEN |= {"answers": []}
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
VISITED = []
GIVE_UP, ASK = asyncio.Event(), asyncio.Event()
ROOTS, THEN = [], []
PIECE = []  # not empty: what is said is kept, and sent in one piece with what comes after that


class Failure(Exception):
    def __init__(self, code, message, data=None):
        super().__init__(message)
        self.about = {"code": code, "message": message, **({} if data is None else {"data": data})}


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    if not PIECE:
        sys.stdout.flush()


def notify(method, **params):
    send(method=method, params=params)


def text(value):
    return {"content": [{"type": "text", "text": value if isinstance(value, str) else json.dumps(value)}]}


async def ask(method, params, number=[0]):  # noqa: B006 - counts
    number[0] += 1
    answer = ASKED[number[0]] = asyncio.get_running_loop().create_future()
    send(id=number[0], method=method, params=params)
    return await answer


async def call(request_id, params):
    given = params.get("arguments") or {}
    SEEN["runs"] += 1
    match params["name"]:
        case "echo" | "either":
            return text(params)
        case "only":
            if "task" not in params:
                raise Failure(-32601, "only as a task")
            return {"task": {"taskId": "t1", "status": "working"}}
        case "pid":
            return text(str(os.getpid()))
        case "seen":
            return text(SEEN)
        case "ask":  # all at once
            return text(await asyncio.gather(*(ask(one["method"], one["params"]) for one in given["requests"])))
        case "ask_in_turn":
            return text([await ask(one["method"], one["params"]) for one in given["requests"]])
        case "give_up":  # takes the question back, and goes on
            asyncio.create_task(ask("roots/list", {})).add_done_callback(lambda _: None)
            await (GIVE_UP.wait() if given.get("later") else asyncio.sleep(0))
            notify("notifications/cancelled", requestId=next(reversed(ASKED)))
            return text("without an answer" + "x" * given.get("size", 0))
        case "now":
            GIVE_UP.set()
            return text("now")
        case "ask_later":  # when another call says so, or is cancelled
            await ASK.wait()
            return text(await asyncio.gather(*(ask(one["method"], one["params"]) for one in given["requests"])))
        case "let_ask":
            PIECE.append(True)
            ASK.set()
            while not ASKED:  # noqa: ASYNC110 - in the next turns of the loop
                await asyncio.sleep(0)
            PIECE.clear()
            if given.get("later"):
                sys.stdout.flush()
                await GIVE_UP.wait()
            return text("asked")
        case "ask_afterwards":
            PIECE.append(True)
            THEN.extend(given.get("then", []))  # with the first answer
            send(id=request_id, result=text("soon"))
            for number, one in enumerate(given["requests"]):
                send(**(one if "notifications" in one["method"] else {"id": f"after-{number}", **one}))
            PIECE.clear()
            sys.stdout.flush()
            return None
        case "where":
            return text(ROOTS) if ROOTS else {**text("access denied"), "isError": True}
        case "visit":
            if not VISITED:
                VISITED.append(True)
                where = {"mode": "url", "elicitationId": "e1", "url": "https://example.com/in", "message": "sign in"}
                raise Failure(-32042, "sign in first", {"elicitations": [where]})
            return text("signed in")
        case "log":
            for level in ("debug", "info", "error"):
                notify("notifications/message", level=level, data=level)
            return text("logged")
        case "progress":
            token = params.get("_meta", {}).get("progressToken")
            for step in range(3):
                notify("notifications/progress", progressToken=token, progress=step)
            if given.get("ask"):
                await ask("roots/list", {})
                notify("notifications/progress", progressToken=token, progress=3)
            return text("done")
        case "begin":
            notify("notifications/progress", progressToken=params["_meta"]["progressToken"], progress=0)
            await asyncio.Event().wait()
        case "change":
            notify("notifications/tools/list_changed")
            for uri in given.get("uris", []):
                notify("notifications/resources/updated", uri=uri)
            notify("notifications/prompts/list_changed")
            return text("changed")
        case "crash":
            os._exit(3)
        case "code":
            raise Failure(given["code"], "as you wish")
    raise Failure(-32602, "no such tool")


async def serve(message):
    method, params = message["method"], message.get("params") or {}
    SEEN["frames"] = [*SEEN["frames"], message][-20:]
    match method:
        case "initialize":
            SEEN["initialize"].append(params)
            capabilities = {"tools": {}, "prompts": {}, "resources": {}, "completions": {}}
            if "--quiet" not in sys.argv:
                changes = {"listChanged": True}
                capabilities |= {"tools": changes, "prompts": changes, "resources": {**changes, "subscribe": True}}
                capabilities |= {"logging": {}, "tasks": {"list": {}}, "extensions": EXTENSIONS}
            about = {"name": "old", "version": "1", "title": "Old"}
            version = params["protocolVersion"]
            return {
                "protocolVersion": version,
                "capabilities": capabilities,
                "serverInfo": about,
                "instructions": "be kind",
            }
        case "ping":
            return {}
        case "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in ("echo", "ask", "seen")]
            if "--tasks" in sys.argv:
                for name, support in (("either", "optional"), ("only", "required")):
                    tools.append({**tools[0], "name": name, "execution": {"taskSupport": support}})
            return {"tools": tools, "x-kept": 1.5}
        case "tools/call":
            return await call(message["id"], params)
        case "prompts/list":
            return {"prompts": [{"name": "greet"}]}
        case "prompts/get":
            answer = await ask("sampling/createMessage", {"messages": [], "maxTokens": 5})
            return {"messages": [{"role": "user", "content": {"type": "text", "text": json.dumps(answer)}}]}
        case "resources/list":
            return {"resources": [{"uri": "mem://a", "name": "a"}]}
        case "resources/templates/list":
            return {"resourceTemplates": []}
        case "resources/read":
            if params["uri"] == "mem://asks":
                await ask("elicitation/create", {"message": "may I?", "requestedSchema": SCHEMA})
            elif params["uri"] != "mem://a":
                raise Failure(-32002, "no such resource", {"uri": params["uri"]})
            return {"contents": [{"uri": params["uri"], "text": "content"}]}
        case "resources/subscribe":
            if params["uri"] == "mem://refused":
                raise Failure(-32602, "not that one")
            SEEN["subscribed"].append(params["uri"])
            return {}
        case "resources/unsubscribe":
            SEEN["unsubscribed"].append(params["uri"])
            return {}
        case "logging/setLevel":
            SEEN["levels"].append(params["level"])
            return {}
        case "completion/complete":
            answer = await ask("roots/list", {})
            return {"completion": {"values": [json.dumps(answer)]}}
        case "tasks/list":
            return {"tasks": []}
        case "x/ping":
            return {"answer": await ask("ping", {})}
    raise Failure(-32601, f"no such method: {method}")


async def answer(message):
    try:
        if (result := await serve(message)) is not None:
            send(id=message["id"], result=result)
    except Failure as failure:
        send(id=message["id"], error=failure.about)
    finally:
        TASKS.pop(message["id"], None)


async def look_around():
    answer = await ask("roots/list", {})
    await asyncio.sleep(0.02)  # The disk is looked at.
    ROOTS.extend(one["uri"] for one in answer.get("result", {}).get("roots", []))


def heard(message):
    if "method" not in message:
        SEEN["answers"].append({key: message[key] for key in ("id", "result", "error") if key in message})
        while THEN:
            send(id="then", **THEN.pop())
        waiting = ASKED.pop(message["id"], None)
        if waiting is not None and not waiting.done():
            waiting.set_result({key: message[key] for key in ("result", "error") if key in message})
    elif "id" in message:
        TASKS[message["id"]] = asyncio.create_task(answer(message))
    elif message["method"] == "notifications/initialized":
        if "--roots" in sys.argv and "roots" in SEEN["initialize"][-1]["capabilities"]:
            TASKS["roots"] = asyncio.create_task(look_around())
    elif message["method"] == "notifications/cancelled":
        SEEN["cancelled"].append(message["params"]["requestId"])
        ASK.set()
        if (task := TASKS.get(message["params"]["requestId"])) is not None:
            task.cancel()


async def main():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        heard(json.loads(line))
    os._exit(0)


asyncio.run(main())
