"""The server that the conformance suite is run against, on the `mcp` SDK, in both eras.

`python -m tests.fakes.conformance` speaks stdio; with `--socket FD` streamable HTTP, at /mcp of a socket that is
listening already.
"""

import argparse
import itertools
import socket
import warnings

import anyio
import uvicorn
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import JSONRPCMessage

from .server import build

RETRY = 100  # milliseconds until a client whose stream was closed comes back


class Events(EventStore):
    """All that was sent on any stream: what a client missed can be sent again."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._sent: dict[str, tuple[str, JSONRPCMessage | None]] = {}

    async def store_event(self, stream_id: str, message: JSONRPCMessage | None) -> str:
        event_id = str(next(self._numbers))
        self._sent[event_id] = (stream_id, message)
        return event_id

    async def replay_events_after(self, last_event_id: str, send_callback: EventCallback) -> str | None:
        if last_event_id not in self._sent:
            return None
        stream_id, _ = self._sent[last_event_id]
        for event_id, (of_stream, message) in list(self._sent.items()):
            if of_stream == stream_id and int(event_id) > int(last_event_id) and message is not None:
                await send_callback(EventMessage(message, event_id))
        return stream_id


async def serve_stdio() -> None:
    server = build()
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def serve_http(descriptor: int) -> None:
    app = build().streamable_http_app(event_store=Events(), retry_interval=RETRY)
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=descriptor)])


def main() -> None:
    warnings.simplefilter("ignore", MCPDeprecationWarning)  # Legacy clients still sample and log.
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int)
    descriptor = parser.parse_args().socket
    if descriptor is None:
        anyio.run(serve_stdio)
    else:
        serve_http(descriptor)


main()
