"""A remote MCP server (streamable HTTP, modern era) that behaves, or misbehaves, as a test tells it to."""

from collections import defaultdict

from tests.fakes.mcp_http_server import McpHttpServer

COMPLETE = {"resultType": "complete"}
KEPT = {**COMPLETE, "ttlMs": 5, "cacheScope": "public"}

TOOL = {
    "name": "echo",
    "inputSchema": {
        "type": "object",
        "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "Count"},
            "sure": {"type": "boolean", "x-mcp-header": "Sure"},
        },
    },
}


class ModernHttpServer(McpHttpServer):
    """The `dual` one speaks the older era as well."""

    def __init__(self, *, dual=False):
        super().__init__()
        discover = {"server/discover": self.discover, "tools/list": self.list_modern, "tools/call": self.call_modern}
        self.acts = defaultdict(lambda: self.unknown, {**self.acts, **discover} if dual else discover)

    async def discover(self, handler):
        handler.reply(
            {
                **KEPT,
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {"listChanged": True}, "resources": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "far", "version": "2"}},
                "x-unknown": [1.0, None],
            }
        )

    async def list_modern(self, handler):
        if "_meta" in (handler.message.get("params") or {}):
            handler.reply({**KEPT, "tools": [TOOL]})
        else:
            await self.list(handler)

    async def call_modern(self, handler):
        if "_meta" in handler.message["params"]:
            handler.reply({**COMPLETE, **handler.text("called")})
        else:
            await self.call(handler)

    async def unknown(self, handler):
        handler.reply(status=404, error={"code": -32601, "message": "Method not found"})
