"""A server on the `mcp` SDK: `python -m tests.fakes.mcp_sdk_http FD KIND` serves a socket that is listening already.

KIND is `stream` (answers are streams), `json`, `stateless` or `sse` (the transport of 2024-11-05).
"""

import socket
import sys
import warnings

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.shared.exceptions import MCPDeprecationWarning
from pydantic import BaseModel

server = MCPServer("sdk")


class Number(BaseModel):
    n: int


@server.tool()
async def echo(text: str) -> str:
    return text


@server.tool()
async def count(to: int, context: Context) -> str:
    for step in range(to):
        await context.report_progress(step, to)
    return "counted"


@server.tool()
async def ask(context: Context) -> str:
    answer = await context.elicit("how many?", Number)
    return str(answer.data.n) if answer.action == "accept" else answer.action


def main():
    warnings.simplefilter("ignore", MCPDeprecationWarning)
    descriptor, kind = sys.argv[1:]
    if kind == "sse":
        app = server.sse_app()
    else:
        app = server.streamable_http_app(json_response=kind == "json", stateless_http=kind == "stateless")
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(descriptor))])


main()
