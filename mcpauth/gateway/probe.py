"""Learns what a backend offers, in an MCP session of its own."""

import msgspec

from .. import __version__
from ..errors import BackendUnavailable, UnknownMethod
from . import frames, tools
from .backend import BackendSession
from .frames import Frame
from .served import Served
from .tools import Tool

INITIALIZE = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "mcpauth", "version": __version__},
}
PAGES, TOOLS = 100, 10_000


class Offer:
    """What a backend said of itself."""

    def __init__(self, greeting: Frame, offered: list[Tool]) -> None:
        self.greeting = greeting
        self.tools = {tool.name: tool for tool in offered}

    def same_tools(self, other: "Offer | None") -> bool:
        return other is not None and [bytes(tool.definition) for tool in self.tools.values()] == [
            bytes(tool.definition) for tool in other.tools.values()
        ]


async def probe(served: Served) -> Offer:
    """Raises BackendUnavailable."""
    return await Probe(served).run()


class Probe:
    def __init__(self, served: Served) -> None:
        self._served = served
        self._session: BackendSession
        self._last = 0

    async def run(self) -> Offer:
        self._session = await self._served.open(lambda _: None)
        try:
            greeting = await self._result("initialize", INITIALIZE)
            await self._session.notify(frames.notification("notifications/initialized"))
            return Offer(greeting, await self._tools(greeting))
        finally:
            await self._session.close()

    async def _tools(self, greeting: Frame) -> list[Tool]:
        if "tools" not in frames.members(greeting.get("capabilities")):
            return []
        found: list[Tool] = []
        cursor: msgspec.Raw | None = None
        for _ in range(PAGES):
            page = await self._result("tools/list", {} if cursor is None else {"cursor": cursor})
            found += tools.listed(page)
            cursor = page.get("nextCursor")
            if cursor is None or bytes(cursor) == b"null" or len(found) > TOOLS:
                break
        return found[:TOOLS]

    async def _result(self, method: str, params: object) -> Frame:
        self._last += 1
        response: Frame = {}
        async for frame in self._session.request(frames.request(self._last, method, params)):
            if "method" in frame:
                await self._decline(frame)
            else:
                response = frame
        if "result" not in response:
            error = frames.members(response.get("error"))
            why = frames.text(error.get("message")) or "no answer"
            raise BackendUnavailable(f"{self._served.name}: {method} failed: {why}")
        return frames.members(response["result"])

    async def _decline(self, frame: Frame) -> None:
        """We have no person to ask and no model; a backend that waits for an answer gets one."""
        if "id" not in frame:
            return
        if frames.text(frame["method"]) == "ping":
            await self._session.notify(frames.result(frame["id"], {}))
        else:
            refusal = UnknownMethod("this client offers nothing")
            await self._session.notify(frames.failure(frame["id"], refusal))
