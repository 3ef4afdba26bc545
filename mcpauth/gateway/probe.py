"""Learns which eras a backend speaks and what it offers, in sessions of its own."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from .. import log
from ..errors import BackendUnavailable, GatewayError, NothingThere, SamplingRefused, UnknownMethod
from . import eras, frames, listing
from .backend import BackendSession
from .declared import EVERYTHING, NOTHING, Declared
from .frames import Frame
from .listing import KINDS, TOOLS, Definitions, Kind, Listing
from .offer import ModernOffer, Offer
from .ourselves import ABOUT_US
from .served import Served

logger = logging.getLogger(__name__)

# Of what a server asks while it is asked itself, so much is answered, one after the other.
QUESTIONS = 100
# What is kept of one list.
PAGES, ENTRIES, SIZE = 100, 10_000, 8 * 1024 * 1024

# A backend of the older era may say nothing to server/discover; one that is still starting says it later.
SILENCE = 3.0
# One that has answered server/discover, and may speak the older era as well.
OTHER_ERA = 20.0
# One that is known, and may offer something else to others.
FURTHER = 20.0


def meta(capabilities: Declared) -> dict[str, Any]:
    """The envelope of our own requests, which declare this."""
    return {eras.VERSION: eras.MODERN[-1], eras.CAPABILITIES: capabilities, eras.CLIENT: ABOUT_US}


class Refused(BackendUnavailable):
    """The backend answered, with an error."""


async def probe(served: Served, before: Offer | None = None) -> Offer:
    """What it offers to one that declares everything, or nothing where it refuses such. Raises BackendUnavailable.

    Of an era that it spoke ``before``, and that only the way to it keeps it from now, that still holds.
    """
    known = None if before is None else before.sides[0]
    try:
        return await _ask(served, EVERYTHING, known)
    except Refused:
        return await _ask(served, NOTHING, known)


async def probe_further(served: Served, offer: Offer) -> Offer | None:
    """What it offers to one that declares nothing, when the ``offer`` is known; None where it does not say."""
    try:
        async with asyncio.timeout(FURTHER):
            return await _ask_again(served, NOTHING, offer)
    except (GatewayError, TimeoutError) as error:
        about = log.bounded(backend=served.name, reason=str(error) or f"no answer in {FURTHER:.0f} seconds")
        logger.info("backend_not_asked_further", extra=about)
        return None


async def _ask(served: Served, capabilities: Declared, known: Offer | None) -> Offer:
    if served.legacy_only:
        return await _legacy(served, capabilities)
    still = modern = None
    if known is not None and known.modern.discovered is not None and not served.starts_processes:
        still = known.modern  # What is said to a program reaches it: one that keeps silent does not know that.
    try:
        async with _opened(served, capabilities) as session:
            discovered, greeting, denied = await session.era()
            if denied:
                still = None
            if greeting is not None:
                return Offer(greeting, await session.legacy_listing(greeting), still)
            if discovered is not None:
                modern = await session.modern(discovered)
    except BackendUnavailable:
        pass  # Some end when they hear what they do not know: the next one is asked otherwise.
    if modern is None:
        legacy = await _legacy(served, capabilities)
        return Offer(legacy.greeting, legacy.listing, still)
    try:
        # A process speaks the era that it hears first, so this needs another.
        async with asyncio.timeout(OTHER_ERA):
            legacy = await _legacy(served, capabilities)
    except (BackendUnavailable, TimeoutError) as error:
        ended = served.starts_processes and not isinstance(error, TimeoutError)
        if known is None or not known.of_both or ended or _denies(error):
            return Offer(None, modern.listing, modern)
        legacy = known
    return Offer(legacy.greeting, legacy.listing, modern)


async def _ask_again(served: Served, capabilities: Declared, like: Offer) -> Offer:
    """In the eras that it is known to speak."""
    modern: ModernOffer | None = None
    if like.modern.discovered is not None:
        async with _opened(served, capabilities) as session:
            modern = await session.modern(await session.discover())
        if like.greeting is None:
            return Offer(None, modern.listing, modern)
    legacy = await _legacy(served, capabilities)
    return Offer(legacy.greeting, legacy.listing, modern)


async def _legacy(served: Served, capabilities: Declared) -> Offer:
    async with _opened(served, capabilities) as session:
        greeting = await session.initialize()
        return Offer(greeting, await session.legacy_listing(greeting), None)


@asynccontextmanager
async def _opened(served: Served, capabilities: Declared) -> AsyncIterator["_Probe"]:
    answers: asyncio.Queue[Frame] = asyncio.Queue(QUESTIONS)

    def hear(frame: Frame) -> None:
        """It may wait for an answer before it gives one."""
        if "id" in frame and not answers.full():
            answers.put_nowait(_answer(frame))

    async def answer() -> None:
        while True:
            await session.notify(await answers.get())

    session = await served.ask(hear)
    answering = asyncio.create_task(answer())
    try:
        yield _Probe(served.name, session, hear, capabilities)
    finally:
        answering.cancel()
        await session.close()


class _Probe:
    def __init__(
        self, name: str, session: BackendSession, hear: Callable[[Frame], None], capabilities: Declared
    ) -> None:
        self._name, self._session, self._hear = name, session, hear
        self._capabilities = capabilities
        self._last = 0

    async def era(self) -> tuple[Frame | None, Frame | None, bool]:
        """What the backend answers to server/discover, or else to initialize; neither when it refuses both.

        And whether it has denied to know the first.
        """
        asked = [asyncio.create_task(self.discover())]
        try:
            await asyncio.wait(asked, timeout=SILENCE)
            if (discovered := _of(asked[0])) is None or not _versions(discovered):
                asked.append(asyncio.create_task(self.initialize()))
            # A silent one is either slow, and answers the first question after all, or has an answer to the second.
            waiting = set(asked)
            while waiting:
                _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                if (discovered := _of(asked[0])) is not None and _versions(discovered):
                    return discovered, None, False
                if (greeting := _of(asked[1])) is not None:
                    return None, greeting, _denied(asked[0])
            return None, None, _denied(asked[0])
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)

    async def discover(self) -> Frame:
        return await self._result("server/discover", {"_meta": meta(self._capabilities)})

    async def initialize(self) -> Frame:
        about = {"protocolVersion": eras.NEWEST_LEGACY, "capabilities": self._capabilities, "clientInfo": ABOUT_US}
        greeting = await self._result("initialize", about)
        await self._session.notify(frames.notification("notifications/initialized"))
        return greeting

    async def legacy_listing(self, greeting: Frame) -> Listing:
        return await self._listing(greeting, {})

    async def modern(self, discovered: Frame) -> ModernOffer:
        listing = await self._listing(discovered, {"_meta": meta(self._capabilities)})
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
                self._hear(frame)
            else:
                response = frame
        if "result" not in response:
            error = frames.members(response.get("error"))
            why = frames.text(error.get("message")) or "no answer"
            raise Refused(f"{self._name}: {method} failed: {why}")
        result = frames.members(response["result"])
        if frames.text(result.get("resultType")) == "input_required":
            raise Refused(f"{self._name}: {method} asks for something, which it must not")
        return result


def _answer(asked: Frame) -> Frame:
    """There is no person to ask, no model and no folder."""
    match frames.text(asked["method"]):
        case "roots/list":
            return frames.result(asked["id"], {"roots": []})
        case "elicitation/create":
            return frames.result(asked["id"], {"action": "cancel"})
        case "sampling/createMessage":
            return frames.failure(asked["id"], SamplingRefused("nobody is there who could allow it"))
    return frames.failure(asked["id"], UnknownMethod("this client does not offer that"))


def _of(task: asyncio.Task[Frame]) -> Frame | None:
    """What it found; None of one that is not done or failed."""
    return task.result() if task.done() and task.exception() is None else None


def _denied(discovering: asyncio.Task[Frame]) -> bool:
    if not discovering.done():
        return False
    error = discovering.exception()
    return not _versions(discovering.result()) if error is None else _denies(error)


def _denies(error: BaseException) -> bool:
    """Whether it is an answer, and not that none came."""
    return isinstance(error, (Refused, NothingThere))


def _versions(discovered: Frame) -> list[str]:
    """Those that are known here."""
    try:
        spoken = frames.value(discovered["supportedVersions"])
    except (KeyError, msgspec.DecodeError):
        return []
    return [version for version in eras.MODERN if isinstance(spoken, list) and version in spoken]
