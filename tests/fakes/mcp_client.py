"""A client that speaks to a gateway without HTTP, and what tests need to know about processes."""

import asyncio
import json
import os
from pathlib import Path

from mcpauth.models.principal import Principal

INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"elicitation": {}},
    "clientInfo": {"name": "test", "version": "1"},
}


def principal(scopes="mcp", servers=None, subject="ann", client_id="claude", grant_id="g1"):
    return Principal(
        subject=subject,
        client_id=client_id,
        grant_id=grant_id,
        session_id=f"s-{grant_id}",
        scopes=frozenset(scopes.split()),
        servers=servers,
    )


async def forward(gateway, who, body, **about):
    """What comes back in the end."""
    answer = await gateway.forward(who, body, **about)
    return answer if answer.pending is None else await answer.pending.answer()


class Client:
    """One client at one endpoint: ``initialize`` first, then ``call``."""

    def __init__(self, gateway, backend=None, who=None):
        self.gateway, self.backend, self.who = gateway, backend, who or principal()
        self.session_id = None
        self.last_id = 0

    async def post(self, body, protocol_version=None):
        return await forward(
            self.gateway,
            self.who,
            body if isinstance(body, bytes) else json.dumps(body).encode(),
            backend=self.backend,
            session_id=self.session_id,
            protocol_version=protocol_version,
        )

    async def send(self, method, params=None, request_id=None):
        self.last_id += 1
        message = {"jsonrpc": "2.0", "id": request_id or self.last_id, "method": method}
        return await self.post({**message, **({} if params is None else {"params": params})})

    async def frames(self, answer):
        if answer.reply is not None:
            return [json.loads(answer.reply)]
        return [json.loads(message) async for message in answer.replies]

    async def request(self, method, params=None, request_id=None):
        """The response alone."""
        return (await self.frames(await self.send(method, params, request_id)))[-1]

    async def notify(self, method, params=None):
        answer = await self.post({"jsonrpc": "2.0", "method": method, "params": params or {}})
        assert answer.reply is None
        assert answer.replies is None

    async def initialize(self, params=INITIALIZE):
        answer = await self.send("initialize", params)
        self.session_id = answer.session_id
        if self.session_id is not None:
            await self.notify("notifications/initialized")
        return json.loads(answer.reply)

    async def names(self):
        """Of all tools, over all pages."""
        found, cursor = [], {}
        while True:
            page = (await self.request("tools/list", cursor))["result"]
            found += [tool["name"] for tool in page["tools"]]
            if "nextCursor" not in page:
                return found
            cursor = {"cursor": page["nextCursor"]}

    def call(self, tool, /, **arguments):
        return self.request("tools/call", {"name": tool, "arguments": arguments})

    def calling(self, tool, /, **arguments):
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    async def text(self, tool, /, **arguments):
        return (await self.call(tool, **arguments))["result"]["content"][0]["text"]

    def listen(self, last_event_id=None):
        return Heard(
            self.gateway.listen(self.who, backend=self.backend, session_id=self.session_id, last_event_id=last_event_id)
        )


class Heard:
    """The messages of a GET stream, without what is said about them."""

    def __init__(self, listener):
        self.listener = listener
        self.close = listener.close

    def __aiter__(self):
        return self

    async def __anext__(self):
        return (await anext(self.listener)).message


NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class ModernClient:
    """The same in the modern era: nothing to begin with, and everything in every request."""

    def __init__(self, gateway, backend, who=None, capabilities=None):
        self.gateway, self.backend, self.who = gateway, backend, who or principal()
        self.capabilities = capabilities or {}
        self.last_id = 0

    def message(self, method, params=None, request_id=None, **meta):
        self.last_id += 1
        prefix = "io.modelcontextprotocol/"
        about = {prefix + "protocolVersion": "2026-07-28", prefix + "clientCapabilities": self.capabilities, **meta}
        return {
            "jsonrpc": "2.0",
            "id": request_id or self.last_id,
            "method": method,
            "params": {**(params or {}), "_meta": about},
        }

    async def send(self, method, params=None, request_id=None, **meta):
        return await self.post(self.message(method, params, request_id, **meta))

    async def post(self, message, headers=()):
        """With the headers that fit; of those given, None takes one away."""
        fitting = modern_headers(message) | dict(headers)
        return await forward(
            self.gateway,
            self.who,
            json.dumps(message).encode(),
            backend=self.backend,
            session_id=None,
            protocol_version=fitting["MCP-Protocol-Version"],
            headers=[(name, value) for name, value in fitting.items() if value is not None],
        )

    frames = Client.frames
    request = Client.request
    call = Client.call
    calling = Client.calling
    text = Client.text

    async def names(self):
        return [tool["name"] for tool in (await self.request("tools/list"))["result"]["tools"]]

    async def begun(self, tool, /, **arguments):
        """A call that goes on, at its first frame: the child has it."""
        answer = await self.send("tools/call", {"name": tool, "arguments": arguments}, progressToken="t")
        return answer.replies, json.loads(await anext(answer.replies))


def modern_headers(message):
    """What a client sends with the message."""
    params = message.get("params", {})
    headers = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": message["method"]}
    if message["method"] in NAMED:
        headers["Mcp-Name"] = params.get(NAMED[message["method"]])
    return headers


def is_running(pid):
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


async def gone(pid):
    """Returns once the process is; the test's own time limit ends the wait."""
    while is_running(pid):  # noqa: ASYNC110 - the kernel sets no Event
        await asyncio.sleep(0.01)
