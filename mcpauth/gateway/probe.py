"""Learns which eras a backend speaks and what it offers, in sessions of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, KeysView, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from .. import log
from ..errors import BackendUnavailable, UnknownMethod
from . import eras, frames, listing
from .backend import BackendSession
from .frames import Frame
from .listing import KINDS, TOOLS, Definitions, Kind, Listing
from .modern import parameters
from .modern.parameters import Parameter
from .ourselves import ABOUT_US
from .served import Served

logger = logging.getLogger(__name__)

INITIALIZE = {"protocolVersion": eras.NEWEST_LEGACY, "capabilities": {}, "clientInfo": ABOUT_US}
META = {eras.VERSION: eras.MODERN[-1], eras.CAPABILITIES: {}, eras.CLIENT: ABOUT_US}
# What is kept of one list.
PAGES, ENTRIES, SIZE = 100, 10_000, 8 * 1024 * 1024

# A backend of the older era may say nothing to server/discover; one that is still starting says it later.
SILENCE = 3.0
# One that has answered server/discover, and may speak the older era as well.
OTHER_ERA = 20.0


class ModernOffer:
    """What a backend offers in the modern era; ``parameters`` are those that headers repeat, by tool.

    ``discovered`` is what it said to server/discover; None of one that was not asked in this era.
    """

    def __init__(self, versions: Sequence[str], listing: Listing, discovered: Frame | None = None) -> None:
        self.versions, self.listing, self.discovered = list(versions), listing, discovered
        self.tools = listing.tools
        self.parameters: Mapping[str, tuple[Parameter, ...]] = {
            tool.name: found for tool in listing.tools.values() if (found := parameters.declared(tool.definition))
        }


class Offer:
    """What a backend said of itself. Without a ``greeting`` it speaks the modern era only.

    ``listing`` is as the older era has it, where the backend speaks it. To clients of the era that it does not
    speak it offers the same, over a bridge; that, and what is common to all servers, is ``without_tasks``.
    """

    def __init__(self, greeting: Frame | None, listing: Listing, modern: ModernOffer | None) -> None:
        self.greeting, self.listing = greeting, listing
        self.without_tasks = listing.without_tasks()
        self.modern = ModernOffer(eras.MODERN, self.without_tasks) if modern is None else modern
        self.tools = listing.tools
        self._keys = {kind: listing.definitions[kind] | self.modern.listing.definitions[kind] for kind in KINDS}

    @property
    def server(self) -> msgspec.Raw | None:
        """What it says of itself."""
        if self.modern.discovered is not None:
            return frames.members(self.modern.discovered.get("_meta")).get(eras.SERVER)
        return None if self.greeting is None else self.greeting.get("serverInfo")

    def kinds(self) -> frozenset[Kind]:
        """Those of which there is something, in either era."""
        return self.listing.kinds() | self.modern.listing.kinds()

    def keys(self, kind: Kind) -> KeysView[str]:
        """What it lists of that kind, in either era."""
        return self._keys[kind].keys()

    def differences(self, before: "Offer") -> frozenset[Kind]:
        """The kinds whose lists are not what they were ``before``."""
        return self.listing.differences(before.listing) | self.modern.listing.differences(before.modern.listing)


class Refused(BackendUnavailable):
    """The backend answered, with an error."""


async def probe(served: Served) -> Offer:
    """Raises BackendUnavailable."""
    if served.legacy_only:
        return await _legacy(served)
    modern: ModernOffer | None = None
    try:
        async with _opened(served) as session:
            discovered, greeting = await session.era()
            if greeting is not None:
                return Offer(greeting, await session.legacy_listing(greeting), None)
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
        return Offer(None, modern.listing, modern)
    return Offer(legacy.greeting, legacy.listing, modern)


async def _legacy(served: Served) -> Offer:
    async with _opened(served) as session:
        greeting = await session.initialize()
        return Offer(greeting, await session.legacy_listing(greeting), None)


@asynccontextmanager
async def _opened(served: Served) -> AsyncIterator["_Probe"]:
    session = await served.ask()
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

    async def legacy_listing(self, greeting: Frame) -> Listing:
        return await self._listing(greeting, {})

    async def modern(self, discovered: Frame) -> ModernOffer:
        listing = await self._listing(discovered, {"_meta": META})
        return ModernOffer(_versions(discovered), listing, discovered)

    async def _listing(self, about: Frame, params: dict[str, Any]) -> Listing:
        declared = Listing(frames.members(about.get("capabilities")), {})
        found: dict[Kind, Definitions] = {}
        for kind in KINDS:
            if declared.declares(kind.capability):
                try:
                    found[kind] = await self._list(kind, params)
                except Refused as error:
                    if kind is TOOLS:
                        raise
                    # Many have resources and no templates, or declare more than they have.
                    logger.info("backend_list_refused", extra=log.bounded(backend=self._name, reason=error.message))
        return Listing(declared.capabilities, found)

    async def _list(self, kind: Kind, params: dict[str, Any]) -> Definitions:
        found: Definitions = {}
        size, cursor = 0, None
        for _ in range(PAGES):
            page = await self._result(kind.method, params if cursor is None else {**params, "cursor": cursor})
            for key, definition in listing.read(page, kind):
                size += len(bytes(definition))
                if len(found) == ENTRIES or size > SIZE:
                    logger.warning("backend_list_cut", extra=log.bounded(backend=self._name, method=kind.method))
                    return found
                found.setdefault(key, definition)
            cursor = page.get("nextCursor")
            if cursor is None or bytes(cursor) == b"null":
                break
        return found

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
            raise Refused(f"{self._name}: {method} failed: {why}")
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
