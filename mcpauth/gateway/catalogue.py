"""What every backend offers."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from .. import log
from ..ambient import Ambient
from ..errors import UnknownBackend
from .frames import Frame
from .inquiry import BackendState, Inquiry
from .listing import Kind
from .offer import ModernOffer, Offer
from .served import Served
from .tools import Tool

logger = logging.getLogger(__name__)

# How long a list waits for backends that were never heard of. A probe may take longer.
PATIENCE = 10.0
PROBING = 60.0
# The same for one that is asked again.
AGAIN = 1.0
# How long clients are not told of a change while others may have changed as well, and are being asked.
TOGETHER = 2.0


class Catalogue:
    """``changed`` is called with the kinds of lists that were given before and would now be others."""

    def __init__(
        self,
        backends: Sequence[Served],
        ambient: Ambient,
        changed: Callable[[frozenset[Kind]], None],
        *,
        patience: float = PATIENCE,
        probing: float = PROBING,
    ) -> None:
        self._ambient, self._changed = ambient, changed
        self._patience, self._probing = patience, probing
        self._inquiries = {served.name: self._new(served) for served in backends}
        self._leaving: set[asyncio.Task[None]] = set()
        self._untold: frozenset[Kind] = frozenset()
        self._telling: asyncio.TimerHandle | None = None

    def start(self) -> None:
        for inquiry in self._inquiries.values():
            inquiry.probe()

    async def close(self) -> None:
        for inquiry in self._inquiries.values():
            self._leave(inquiry)
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._telling is not None:
            self._telling.cancel()

    def serve(self, backends: Sequence[Served]) -> None:
        """These from now on, in this order; of those that are the same, all is still known."""
        before, self._inquiries = self._inquiries, {}
        for served in backends:
            inquiry = before.get(served.name)
            if inquiry is not None and inquiry.served is served:
                del before[served.name]
            else:
                inquiry = self._new(served)
                inquiry.missed = True
            self._inquiries[served.name] = inquiry
        for inquiry in before.values():
            self._leave(inquiry)
        gone = [inquiry.offer.kinds() for inquiry in before.values() if inquiry.offer is not None]
        for inquiry in self._inquiries.values():
            if inquiry.state == "starting":
                inquiry.probe()
        self._told(frozenset().union(*gone))

    def refresh(self, backend: str) -> None:
        """The backend says that a list of its own has changed."""
        if backend in self._inquiries:
            self._inquiries[backend].refresh()

    async def doubt(self, backend: str) -> None:
        """It refuses the era that it was known to speak. Returns when it was asked again, or that takes long."""
        self.refresh(backend)
        inquiry = self._inquiries.get(backend)
        if inquiry is not None and inquiry.probing is not None:
            await asyncio.wait([inquiry.probing], timeout=self._patience)

    def states(self) -> list[BackendState]:
        return [inquiry.look() for inquiry in self._inquiries.values()]

    async def settled(self) -> list[BackendState]:
        """As ``states``, after a little patience with those that are still starting."""
        await self._wait(list(self._inquiries.values()))
        return self.states()

    async def offers(self) -> dict[str, Offer]:
        """Of all backends that are there, in the owner's order; the others are missed.

        One that is long in starting is waited for once: a client asks for one list after the other.
        """
        await self._wait([inquiry for inquiry in self._inquiries.values() if not inquiry.kept_waiting])
        found: dict[str, Offer] = {}
        for name, inquiry in self._inquiries.items():
            if inquiry.state == "ok" and inquiry.offer is not None:
                found[name] = inquiry.offer
                continue
            inquiry.kept_waiting = inquiry.state == "starting"
            if not inquiry.missed:
                inquiry.missed = True
                about = log.fields(backend=name, state=inquiry.state, reason=inquiry.reason)
                logger.warning("backend_left_out", extra=about)
        return found

    def known(self) -> dict[str, Offer | None]:
        """What each said last, though it may have failed since; None of one that was never heard of."""
        return {name: inquiry.offer for name, inquiry in self._inquiries.items()}

    async def find(self, backend: str, tool: str) -> Tool | None:
        """The backend's own definition of the tool, None when it has none of that name.

        Raises BackendUnavailable of one that was never heard of.
        """
        await self.offer(backend)
        return self._of(backend).said.tools.get(tool)

    async def offer(self, backend: str) -> Offer | None:
        """What it said last, though it may have failed since; None of one that was never heard of, and fails.

        Raises BackendUnavailable of one that is still starting.
        """
        inquiry = self._of(backend)
        if inquiry.state != "ok":
            await inquiry.heard()
            inquiry.retry()
        return inquiry.offer

    async def modern(self, backend: str) -> ModernOffer:
        """What the backend offers in the modern era, itself or over a bridge.

        Raises BackendUnavailable of one that was never heard of.
        """
        inquiry = self._of(backend)
        if inquiry.state != "ok":
            await self.offer(backend)
        return inquiry.said.modern

    async def ready(self, backend: str) -> None:
        """For a session of the older era: until it is known what the backend speaks, or nobody can say.

        Raises BackendUnavailable of a program that is still starting: another one would only be in its way.
        """
        inquiry = self._of(backend)
        if inquiry.served.starts_processes:
            inquiry.retry()
            await inquiry.heard()
        elif inquiry.state == "starting":
            await self._wait([inquiry])

    def greeting(self, backend: str, initialize: Frame) -> Frame | None:
        """The result of an initialize, when it is known what the backend would say."""
        inquiry = self._of(backend)
        if inquiry.state != "ok" or inquiry.offer is None:
            return None
        return inquiry.greetings.find(initialize, inquiry.offer)

    def greeted(self, backend: str, initialize: Frame, result: Frame) -> None:
        """A client has got this."""
        self._of(backend).greetings.keep(initialize, result)

    def differs(self, backend: str) -> None:
        """A client was told what it says to initialize, and then it said something else."""
        if backend in self._inquiries:
            self._inquiries[backend].greetings.vary = True

    def asking(self, backend: str | None) -> bool:
        """Whether a server, that one or any, is just being asked what it offers: answers may have to wait for that."""
        if backend is None:
            return any(inquiry.probing is not None for inquiry in self._inquiries.values())
        inquiry = self._inquiries.get(backend)
        return inquiry is not None and inquiry.probing is not None

    async def remembered(self, backend: str) -> Offer | None:
        """What the backend offered when it was asked last; None when only it can tell.

        While one is asked again it is not certain that it has changed: many say so whenever they start.
        """
        inquiry = self._of(backend)
        if inquiry.probing is not None:
            await asyncio.wait([inquiry.probing], timeout=AGAIN if inquiry.state == "ok" else self._patience)
        return inquiry.offer if inquiry.state == "ok" else None

    def retry(self) -> None:
        """Whether anybody asks or not: who listens is told."""
        for inquiry in self._inquiries.values():
            inquiry.look_again()

    def _of(self, backend: str) -> Inquiry:
        if backend not in self._inquiries:
            raise UnknownBackend(f"the server {backend} is gone")
        return self._inquiries[backend]

    def _new(self, served: Served) -> Inquiry:
        served.on_changed(lambda: self.refresh(served.name), lambda: self.doubt(served.name))
        return Inquiry(served, self._ambient, self._probing, self._told)

    def _leave(self, inquiry: Inquiry) -> None:
        if inquiry.probing is not None:
            inquiry.probing.cancel()
            self._leaving.add(inquiry.probing)
            inquiry.probing.add_done_callback(self._leaving.discard)

    async def _wait(self, inquiries: list[Inquiry]) -> None:
        """What failed is tried again now and then, but nobody waits for it a second time."""
        for inquiry in inquiries:
            inquiry.retry()
        first = [one.probing for one in inquiries if one.state == "starting" and one.probing is not None]
        if first:
            await asyncio.wait(first, timeout=self._patience)

    def _told(self, kinds: frozenset[Kind]) -> None:
        """Several servers often change at once: who listens hears of that once, and of the slow ones later."""
        self._untold |= kinds
        if self._untold and not self.asking(None):
            self._tell()
        elif self._untold and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOGETHER, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        untold, self._untold, self._telling = self._untold, frozenset(), None
        self._changed(untold)
