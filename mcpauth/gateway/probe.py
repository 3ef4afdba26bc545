"""Learns which eras a backend speaks and what it offers, in sessions of its own."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from .. import __version__
from ..errors import BackendUnavailable, UnknownMethod
from . import eras, frames, tools
from .backend import BackendSession
from .frames import Frame
from .modern import parameters
from .modern.parameters import Parameter
from .served import Served
from .tools import Tool

ABOUT_US = {"name": "mcpauth", "version": __version__}
INITIALIZE = {"protocolVersion": eras.NEWEST_LEGACY, "capabilities": {}, "clientInfo": ABOUT_US}
META = {eras.VERSION: eras.MODERN[-1], eras.CAPABILITIES: {}, eras.CLIENT: ABOUT_US}
PAGES, TOOLS = 100, 10_000

# A backend of the older era may say nothing to server/discover; one that is still starting says it later.
SILENCE = 3.0
# One that has answered server/discover, and may speak the older era as well.
OTHER_ERA = 20.0


class ModernOffer:
    """What a backend said of itself in the modern era; ``parameters`` are those that headers repeat, by tool."""

    def __init__(self, versions: Sequence[str], offered: Sequence[Tool]) -> None:
        self.versions = list(versions)
        self.tools = {tool.name: tool for tool in offered}
        self.parameters: Mapping[str, tuple[Parameter, ...]] = {
            tool.name: found for tool in offered if (found := parameters.declared(tool.definition))
        }


class Offer:
    """What a backend said of itself. Without a ``greeting`` it knows the modern era only, without ``modern`` not that.

    ``tools`` are as the older era has them, where the backend speaks it.
    """

    def __init__(self, greeting: Frame | None, offered: Sequence[Tool], modern: ModernOffer | None) -> None:
        self.greeting, self.modern = greeting, modern
        self.tools = {tool.name: tool for tool in offered}

    def same_tools(self, other: "Offer | None") -> bool:
        return other is not None and [bytes(tool.definition) for tool in self.tools.values()] == [
            bytes(tool.definition) for tool in other.tools.values()
        ]


async def probe(served: Served) -> Offer:
    """Raises BackendUnavailable."""
    if served.legacy_only:
        return await _legacy(served)
    modern: ModernOffer | None = None
    try:
        async with _opened(served) as session:
            discovered, greeting = await session.era()
            if greeting is not None:
                return Offer(greeting, await session.legacy_tools(greeting), None)
            if discovered is not None:
                modern = await session.modern(discovered)
    except BackendUnavailable:
        pass  # Some end when they hear what they do not know: the next one is asked otherwise.
    if modern is None:
        return await _legacy(served)
    try:
        # A process speaks the era that it hears first, so this needs another.
        async with asyncio.timeout(OTHER_ERA):
            legacy = await _legacy(served)
    except (BackendUnavailable, TimeoutError):
        return Offer(None, list(modern.tools.values()), modern)
    return Offer(legacy.greeting, list(legacy.tools.values()), modern)


async def _legacy(served: Served) -> Offer:
    async with _opened(served) as session:
        greeting = await session.initialize()
        return Offer(greeting, await session.legacy_tools(greeting), None)


@asynccontextmanager
async def _opened(served: Served) -> AsyncIterator["_Probe"]:
    session = await served.open(lambda _: None)
    try:
        yield _Probe(served.name, session)
    finally:
        await session.close()


class _Probe:
    def __init__(self, name: str, session: BackendSession) -> None:
        self._name, self._session = name, session
        self._last = 0

    async def era(self) -> tuple[Frame | None, Frame | None]:
        """What the backend answers to server/discover, or else to initialize; neither when it refuses both."""
        asked = [asyncio.create_task(self._result("server/discover", {"_meta": META}))]
        try:
            await asyncio.wait(asked, timeout=SILENCE)
            if (discovered := _of(asked[0])) is None or not _versions(discovered):
                asked.append(asyncio.create_task(self.initialize()))
            # A silent one is either slow, and answers the first question after all, or has an answer to the second.
            waiting = set(asked)
            while waiting:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if (discovered := _of(asked[0])) is not None and _versions(discovered):
                    return discovered, None
                if (greeting := _of(asked[1])) is not None:
                    return None, greeting
            return None, None
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def initialize(self) -> Frame:
        greeting = await self._result("initialize", INITIALIZE)
        await self._session.notify(frames.notification("notifications/initialized"))
        return greeting

    async def legacy_tools(self, greeting: Frame) -> list[Tool]:
        return await self._tools(greeting, {})

    async def modern(self, discovered: Frame) -> ModernOffer:
        return ModernOffer(_versions(discovered), await self._tools(discovered, {"_meta": META}))

    async def _tools(self, about: Frame, params: dict[str, Any]) -> list[Tool]:
        if "tools" not in frames.members(about.get("capabilities")):
            return []
        found: list[Tool] = []
        cursor: msgspec.Raw | None = None
        for _ in range(PAGES):
            page = await self._result("tools/list", params if cursor is None else {**params, "cursor": cursor})
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
            raise BackendUnavailable(f"{self._name}: {method} failed: {why}")
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


def _of(task: asyncio.Task[Frame]) -> Frame | None:
    """What it found; None of one that is not done or failed."""
    return task.result() if task.done() and task.exception() is None else None


def _versions(discovered: Frame) -> list[str]:
    """Those that are known here."""
    try:
        spoken = frames.value(discovered["supportedVersions"])
    except (KeyError, msgspec.DecodeError):
        return []
    return [version for version in eras.MODERN if isinstance(spoken, list) and version in spoken]
