"""The cheapest stdio MCP server there is: what is measured is the way to it."""

import json
import sys

TOOL = {"name": "echo", "description": "Says it again.", "inputSchema": {"type": "object"}}
GREETING = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"tools": {}},
    "serverInfo": {"name": "echo", "version": "0"},
}
RESULTS = {"initialize": GREETING, "tools/list": {"tools": [TOOL]}, "ping": {}}

for line in sys.stdin.buffer:
    message = json.loads(line)
    if "id" in message:
        method = message["method"]
        if method == "tools/call":
            answer = {"result": {"content": [{"type": "text", "text": "hello"}]}}
        elif method in RESULTS:
            answer = {"result": RESULTS[method]}
        else:
            answer = {"error": {"code": -32601, "message": "no such method"}}
        sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode() + b"\n")
        sys.stdout.buffer.flush()
