"""A remote MCP server (streamable HTTP, legacy era) that behaves, or misbehaves, as a test tells it to."""

import asyncio
import itertools
import json

from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.testing import bind_unused_port


class Handler(web.RequestHandler):
    """One request. What is done with it is the server's ``acts``: coroutines that get this handler."""

    def initialize(self, server):
        self.server, self.message = server, None
        self.gone = asyncio.get_running_loop().create_future()

    def on_connection_close(self):
        if not self.gone.done():
            self.gone.set_result(None)

    @property
    def peer(self):
        """The client's port: the same one for all requests of a connection."""
        return self.request.connection.context.address[1]

    async def handle(self):
        self.server.seen.append(self)
        key = self.request.method
        if self.request.body:
            self.message = json.loads(self.request.body)
            key = self.message.get("method", "answer")
        await self.server.acts[key](self)

    get = post = delete = handle

    def reply(self, result=None, status=200, **message):
        """JSON."""
        if not message:
            message = {"result": result}
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps({"jsonrpc": "2.0", "id": (self.message or {}).get("id"), **message}))

    def text(self, text):
        return {"content": [{"type": "text", "text": text}]}

    async def event(self, data=None, **fields):
        """``fields`` first, then the message; this one begins the stream."""
        self.set_header("Content-Type", "text/event-stream")
        lines = [f"{name}: {value}\n" for name, value in fields.items()]
        if data is not None:
            lines.append(f"data: {json.dumps({'jsonrpc': '2.0', **data})}\n")
        self.write("".join(lines) + "\n")
        await self.flush()

    def answer(self, result, **fields):
        return self.event({"id": self.message["id"], "result": result}, **fields)

    async def cut(self):
        """The connection ends, the response does not."""
        self.request.connection.stream.close()


class McpHttpServer:
    def __init__(self, port=None):
        self.seen, self.sessions, self._count = [], [], itertools.count(1)
        self.acts = {
            "initialize": self.initialize,
            "notifications/initialized": self.accept,
            "notifications/cancelled": self.accept,
            "answer": self.accept,
            "tools/list": self.list,
            "tools/call": self.call,
            "ping": self.call,
            "GET": self.refuse_stream,
            "DELETE": self.end,
        }
        self._server = HTTPServer(web.Application([("/mcp", Handler, {"server": self})]), max_buffer_size=2**25)
        listening, self.port = bind_unused_port() if port is None else (bind_sockets(port, "127.0.0.1")[0], port)
        self._server.add_socket(listening)
        self.url = f"http://127.0.0.1:{self.port}/mcp"

    async def close(self):
        self._server.stop()
        await self._server.close_all_connections()

    def of(self, method):
        """The requests with this HTTP method, or with a message of this method."""
        return [
            one
            for one in self.seen
            if one.request.method == method or (one.message is not None and one.message.get("method") == method)
        ]

    # What it does unless it is told otherwise.

    async def initialize(self, handler):
        self.sessions.append(f"session-{next(self._count)}")
        handler.set_header("Mcp-Session-Id", self.sessions[-1])
        handler.set_header("Set-Cookie", "taste=sweet")
        handler.reply(
            {
                "protocolVersion": handler.message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "far", "version": "1"},
                "x-unknown": [1.0, None],
            }
        )

    async def accept(self, handler):
        handler.set_status(202)
        handler.finish()

    async def list(self, handler):
        handler.reply({"tools": [{"name": "echo", "inputSchema": {"type": "object"}}]})

    async def call(self, handler):
        handler.reply(handler.text(json.dumps(handler.message.get("params"))))

    async def refuse_stream(self, handler):
        handler.set_status(405)
        handler.finish()

    async def end(self, handler):
        handler.set_status(204)
        handler.finish()


async def flood(handler, size, told):
    """Progress without end, until nobody takes it; ``told`` has a number for each."""
    token = handler.message["params"]["_meta"]["progressToken"]
    text = "x" * size
    for number in itertools.count():
        params = {"progressToken": token, "progress": number, "message": text}
        try:
            await handler.event({"method": "notifications/progress", "params": params})
        except StreamClosedError:
            return
        told.append(number)
