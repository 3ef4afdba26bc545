"""The sessions with backends that one legacy client has: each is opened when it is needed, and brought up to date."""

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator

import msgspec

from .. import log
from ..errors import BackendUnavailable, GatewayError, InitializeRefused, RequestCancelled, UnknownSession
from . import frames
from .backend import BackendSession
from .catalogue import Catalogue
from .frames import Frame
from .handshake import SET_LEVEL, SUBSCRIBE, Handshake
from .modern.caller import Caller
from .served import Served
from .server_requests import ServerRequests

logger = logging.getLogger(__name__)

# For a backend that was heard of to start and answer initialize.
OPENING = 60.0
# For a backend to take what it is told beside the client's requests.
TELLING = 5.0
# For a backend to ask what it needs from the beginning, for the client to answer, and to act by that.
ASKING, ANSWERING, ACTING = 1.0, 2.0, 0.2


class Link:
    """A backend's side of the session."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.session: BackendSession
        self.greeting: Frame = {}  # what it answered to initialize
        self.initialized = False  # it was told that the client is
        self.asked = False  # it has asked the client for something

    @property
    def logs(self) -> bool:
        """Whether it takes a log level."""
        result = frames.members(self.greeting.get("result"))
        return "logging" in frames.members(result.get("capabilities"))


class Links:
    """``endpoint`` is None at /mcp; ``requests`` are what the backends have asked the client.

    ``heard`` gets what belongs to no request of the client's, ``listens`` says whether it hears what it is told then,
    ``renewed`` is called when there is a new session in place of one that is over, ``lost`` when that cannot be.
    """

    def __init__(
        self,
        caller: Caller,
        endpoint: str | None,
        handshake: Handshake,
        catalogue: Catalogue,
        requests: ServerRequests[Link],
        *,
        heard: Callable[[Link, Frame], None],
        listens: Callable[[], bool],
        renewed: Callable[[], None],
        lost: Callable[[], None],
    ) -> None:
        self._caller, self._endpoint, self._handshake = caller, endpoint, handshake
        self._catalogue, self._requests = catalogue, requests
        self._heard, self._listens, self._renewed, self._lost = heard, listens, renewed, lost
        self._links: dict[str, Link] = {}
        self._former: weakref.WeakSet[BackendSession] = weakref.WeakSet()  # they may still end what they began
        self._opening: dict[str, asyncio.Task[Link]] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self._opened: set[str] = set()  # the backends that there was a session with
        self._unsent: list[Frame] = []  # requests that wait until there is a session with the backend
        self._ended: GatewayError | None = None

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    @property
    def former(self) -> list[BackendSession]:
        """The sessions that take no more requests."""
        return list(self._former)

    def has(self, backend: str) -> bool:
        """Whether there is a session with the backend, or soon will be; one that would start a process is none."""
        link = self._links.get(backend)
        return backend in self._opening or (link is not None and link.session.runs)

    @property
    def serving(self) -> set[str]:
        """The backends that there is, or soon will be, a session with."""
        return {name for name, link in self._links.items() if link.session.serves} | self._opening.keys()

    async def ready(self, served: Served) -> None:
        """Until it is known what the backend speaks. Raises what stands against it, or has ended the session."""
        waiting = asyncio.create_task(self._catalogue.ready(served.name))
        self._waiting.add(waiting)
        waiting.add_done_callback(self._waiting.discard)
        try:
            await waiting
        except asyncio.CancelledError:
            if self._ended is not None:
                raise self._ended from None
            raise

    async def send(self, served: Served, frame: Frame) -> tuple[Link, AsyncIterator[Frame]]:
        """Who has the request now, and what comes back. A session that was over is opened again.

        Raises RequestCancelled when the client has cancelled the request before it was sent.
        """
        link = self._links.get(served.name) or await self._link_for(served, frame)
        try:
            return link, link.session.request(frame)
        except BackendUnavailable:
            if self._links.get(served.name) is link:
                self._part(served.name)
        link = self._links.get(served.name) or await self._link_for(served, frame)
        return link, link.session.request(frame)

    def take_back(self, wanted: msgspec.Raw | None) -> None:
        """The request with this id, or every one, of those that were not sent yet."""
        self._unsent = [one for one in self._unsent if wanted is None or not _same_id(one["id"], wanted)]

    async def renew(self, served: Served) -> None:
        """A session in place of the one that takes no more requests."""
        self._part(served.name)
        await self._open_again(served)

    async def open(self, served: Served, *, first: bool) -> Link:
        """A new session with the backend; whoever comes while it is being opened waits for the same.

        ``first``: the client tells it itself that it is initialized.
        """
        opening = self._opening.get(served.name)
        if opening is None:
            if self._ended is not None:
                raise self._ended
            opening = asyncio.create_task(self._open(served, first))
            self._opening[served.name] = opening
            opening.add_done_callback(lambda task: self._has_opened(served.name, task))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            if opening.cancelled() and self._ended is not None:
                raise self._ended from None
            raise

    async def tell(self, link: Link, frame: Frame, patience: float = TELLING) -> None:
        """A request whose answer makes no difference to the client."""
        try:
            async with asyncio.timeout(patience):
                await _last(link.session.request(frame), lambda aside: self._heard(link, aside))
        except BackendUnavailable:
            pass
        except TimeoutError:
            # What waits for an answer for ever would be taken for what the backend's questions are about.
            await link.session.notify(frames.notification("notifications/cancelled", {"requestId": frame["id"]}))

    async def close(self, error: GatewayError) -> None:
        """All at once; who waits gets ``error``."""
        self._ended = error
        for opening in (*self._opening.values(), *self._waiting):
            opening.cancel()
        await asyncio.gather(
            *(link.session.close(error.message) for link in self._links.values()),
            *(session.close(error.message) for session in self._former),
            *self._opening.values(),
            return_exceptions=True,
        )

    def _part(self, backend: str) -> None:
        link = self._links.pop(backend, None)
        if link is not None:
            self._former.add(link.session)

    async def _open_again(self, served: Served) -> Link:
        try:
            return await self.open(served, first=False)
        except UnknownSession:
            if self._ended is None:
                self._lost()
            raise

    async def _link_for(self, served: Served, frame: Frame) -> Link:
        self._unsent.append(frame)
        try:
            link = await self._open_again(served)
            if not any(one is frame for one in self._unsent):
                raise RequestCancelled("the request was cancelled")
            return link
        finally:
            self._unsent = [one for one in self._unsent if one is not frame]

    def _has_opened(self, backend: str, opening: asyncio.Task[Link]) -> None:
        del self._opening[backend]
        if not opening.cancelled():
            opening.exception()  # Whoever waited for it may have left.

    async def _open(self, served: Served, first: bool) -> Link:
        link = Link(served.name)
        try:
            await self._catalogue.ready(served.name)
            async with asyncio.timeout(OPENING):
                link.session = await served.open(lambda frame: self._heard(link, frame), self._caller)
                try:
                    link.greeting = await _last(
                        link.session.request(self._handshake.initialize), lambda frame: self._heard(link, frame)
                    )
                    if not first:
                        await self._go_on(link)
                except BaseException:
                    await link.session.close()
                    raise
        except TimeoutError:
            raise BackendUnavailable(f"the server {served.name} did not answer in {OPENING:.0f} seconds") from None
        except BackendUnavailable as error:
            logger.warning("backend_unavailable", extra=log.bounded(backend=served.name, reason=error.message))
            if isinstance(error, InitializeRefused):
                await self._catalogue.doubt(served.name)
            raise
        self._links[served.name] = link
        if served.name in self._opened:
            self._renewed()
        self._opened.add(served.name)
        return link

    async def _go_on(self, link: Link) -> None:
        """Bring the new session to where the client believes it is. Raises UnknownSession where that cannot be."""
        if "error" in link.greeting:
            raise InitializeRefused(link.name)
        if self._endpoint is not None and not self._handshake.agrees(frames.members(link.greeting.get("result"))):
            self._catalogue.differs(link.name)
            raise UnknownSession(f"the server {link.name} is not what it was: initialize again")
        link.initialized = True
        await link.session.notify(frames.notification("notifications/initialized"))
        if self._listens() and "roots" in frames.members(self._handshake.declared):
            await self._let_it_ask(link)
        if self._handshake.log_level is not None and link.logs:
            await self.tell(link, frames.request(0, SET_LEVEL, {"level": self._handshake.log_level}))
        for number, (uri, backend) in enumerate(self._handshake.subscribed.items(), 1):
            if backend == link.name:
                await self.tell(link, frames.request(number, SUBSCRIBE, {"uri": uri}))

    async def _let_it_ask(self, link: Link) -> None:
        """Some ask for the roots when they are initialized, and can do nothing before they have them.

        What a backend asks at once, it has asked when it answers a ping.
        """
        await self.tell(link, frames.request(0, "ping", {}), ASKING)
        if link.asked:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWERING):
                    await self._requests.answered(link)
            await asyncio.sleep(ACTING)


def _same_id(one: msgspec.Raw, other: msgspec.Raw) -> bool:
    return frames.identifier(one) == frames.identifier(other)


async def _last(answers: AsyncIterator[Frame], aside: Callable[[Frame], None]) -> Frame:
    """The response; what comes before it goes aside."""
    response: Frame | None = None
    async for frame in answers:
        if "method" in frame:
            aside(frame)
        else:
            response = frame
    if response is None:
        raise BackendUnavailable("the request ended without an answer")
    return response
