"""The cheapest MCP server there is, in both eras: what is measured is the way to it."""

from typing import Any

TOOLS = [
    {"name": name, "description": "Says it again.", "inputSchema": {"type": "object"}} for name in ("echo", "stream")
]
ABOUT = {"capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "0"}}
UNCACHED = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
RESULTS: dict[str, dict[str, Any]] = {
    "initialize": {"protocolVersion": "2025-11-25", **ABOUT},
    "ping": {},
    "server/discover": {"supportedVersions": ["2026-07-28"], **ABOUT, **UNCACHED},
    "tools/list": {"tools": TOOLS, **UNCACHED},
    "tools/call": {"content": [{"type": "text", "text": "hello"}], "resultType": "complete"},
}


def answer(message: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any]
    if message["method"] in RESULTS:
        found = {"result": RESULTS[message["method"]]}
    else:
        found = {"error": {"code": -32601, "message": "no such method"}}
    return {"jsonrpc": "2.0", "id": message["id"], **found}
