"""What every backend offers, asked in the background and kept in memory."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Self

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError, UnknownBackend
from . import declared, frames
from .backend import LEFT
from .bridge import legacized
from .eras import LEGACY, NEWEST_LEGACY
from .frames import Frame
from .listing import Kind
from .modern.caller import normal
from .offer import ModernOffer, Offer, both
from .probe import probe, probe_further
from .served import Served
from .tools import Tool

logger = logging.getLogger(__name__)

# How long a list waits for backends that were never heard of. A probe may take longer.
PATIENCE = 10.0
PROBING = 60.0
# How long a program has that was never heard of: the first run of npx, uvx or docker downloads it, and one that is
# ended half way begins anew.
FIRST_PROBING = 900.0
# How long who wants that server, and no list, waits for it: many clients give up after a minute, and would not be told.
WAITING = 50.0
BACK_OFF = (5, 15, 60, 300)
# Answers to initialize that are remembered of one backend, and how much a client may say to get one of them.
GREETINGS, SAID = 32, 4096
# Between two probes of one backend, whatever it says: each may start a process.
PAUSE = 2.0
# How long clients are not told of a change while others may have changed as well, and are being asked.
TOGETHER = 2.0

State = Literal["starting", "ok", "failed"]


class Asked(NamedTuple):
    """What the answer to an initialize may depend on: all that the client says.

    A server may greet each client by its name. What it says to one is nothing for another.
    """

    version: str
    said: bytes

    @classmethod
    def by(cls, initialize: Frame) -> Self | None:
        """None of one that is not as others are: the backend itself is asked."""
        params = frames.members(initialize.get("params"))
        version = frames.text(params.pop("protocolVersion", None))
        if version is None or "capabilities" not in params or sum(map(len, params.values())) > SAID:
            return None
        # To a version that it does not know, a server answers with its newest.
        return cls(version if version in LEGACY else NEWEST_LEGACY, normal(frames.raw(params)))


class BackendState(NamedTuple):
    """For the consent page and ``status``. A backend that failed may still have the tools it had before.

    One that is ``ok`` with a ``reason`` has them too: it works, and could not be asked again. ``last_line`` is what a
    program that ended, or is still starting, wrote last on stderr: for the owner alone, not for the page.
    """

    name: str
    state: State
    reason: str | None
    tools: tuple[Tool, ...]
    last_line: str = ""


class _Entry:
    def __init__(self, served: Served) -> None:
        self.served = served
        self.state: State = "starting"
        self.reason: str | None = None
        self.last_line = ""
        self.offer: Offer | None = None
        self.alike = False  # it has offered the same to all: to ask that again would cost another process each time
        self.greetings: dict[Asked, Frame] = {}  # what it answered to initialize of clients
        self.varies = False  # it answers initialize now so, now otherwise
        self.probing: asyncio.Task[None] | None = None
        self.probed_at = 0
        self.stale = False
        self.missed = False  # a list was given without it
        self.kept_waiting = False  # for a list, in vain
        self.failures = 0
        self.retry_at = 0
        self.not_before = 0.0


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
        self._entries = {served.name: self._new(served) for served in backends}
        self._ambient, self._changed = ambient, changed
        self._patience, self._probing = patience, probing
        self._leaving: set[asyncio.Task[None]] = set()
        self._untold: frozenset[Kind] = frozenset()
        self._telling: asyncio.TimerHandle | None = None

    def start(self) -> None:
        for entry in self._entries.values():
            self._probe(entry)

    async def close(self) -> None:
        for entry in self._entries.values():
            self._leave(entry)
        await asyncio.gather(*self._leaving, return_exceptions=True)
        if self._telling is not None:
            self._telling.cancel()

    def serve(self, backends: Sequence[Served]) -> None:
        """These from now on, in this order; of those that are the same, all is still known."""
        before, self._entries = self._entries, {}
        for served in backends:
            entry = before.get(served.name)
            if entry is not None and entry.served is served:
                del before[served.name]
            else:
                entry = self._new(served)
                entry.missed = True
            self._entries[served.name] = entry
        for entry in before.values():
            self._leave(entry)
        gone = [entry.offer.kinds() for entry in before.values() if entry.offer is not None]
        self._untold = self._untold.union(*gone)
        for entry in self._entries.values():
            if entry.state == "starting":
                self._probe(entry)
        self._tell_together()

    def refresh(self, backend: str) -> None:
        """The backend says that a list of its own has changed."""
        entry = self._entries.get(backend)
        if entry is not None:
            entry.stale = True
            self._probe(entry)

    async def doubt(self, backend: str) -> None:
        """It refuses the era that it was known to speak. Returns when it was asked again, or that takes long."""
        self.refresh(backend)
        entry = self._entries.get(backend)
        if entry is not None and entry.probing is not None:
            await asyncio.wait([entry.probing], timeout=self._patience)

    def states(self) -> list[BackendState]:
        return [self._state(entry) for entry in self._entries.values()]

    async def settled(self) -> list[BackendState]:
        """As ``states``, after a little patience with those that are still starting."""
        await self._wait(list(self._entries.values()))
        return self.states()

    async def offers(self) -> dict[str, Offer]:
        """Of all backends that are there, in the owner's order; the others are missed.

        One that is long in starting is waited for once: a client asks for one list after the other.
        """
        await self._wait([entry for entry in self._entries.values() if not entry.kept_waiting])
        found: dict[str, Offer] = {}
        for name, entry in self._entries.items():
            if entry.state == "ok" and entry.offer is not None:
                found[name] = entry.offer
                continue
            entry.kept_waiting = entry.state == "starting"
            if not entry.missed:
                entry.missed = True
                about = log.fields(backend=name, state=entry.state, reason=entry.reason)
                logger.warning("backend_left_out", extra=about)
        return found

    def known(self) -> dict[str, Offer | None]:
        """What each said last, though it may have failed since; None of one that was never heard of."""
        return {name: entry.offer for name, entry in self._entries.items()}

    async def find(self, backend: str, tool: str) -> Tool | None:
        """The backend's own definition of the tool, None when it has none of that name.

        Raises BackendUnavailable of one that was never heard of.
        """
        await self.offer(backend)
        return self._said(self._entry(backend)).tools.get(tool)

    async def offer(self, backend: str) -> Offer | None:
        """What it said last, though it may have failed since; None of one that was never heard of, and fails.

        Raises BackendUnavailable of one that is still starting.
        """
        entry = self._entry(backend)
        if entry.state != "ok":
            await self._heard(entry)
            self._retry(entry)
        return entry.offer

    async def modern(self, backend: str) -> ModernOffer:
        """What the backend offers in the modern era, itself or over a bridge.

        Raises BackendUnavailable of one that was never heard of.
        """
        entry = self._entry(backend)
        if entry.state != "ok":
            await self.offer(backend)
        return self._said(entry).modern

    async def ready(self, backend: str) -> None:
        """For a session of the older era: until it is known what the backend speaks, or nobody can say.

        Raises BackendUnavailable of a program that is still starting: another one would only be in its way.
        """
        entry = self._entry(backend)
        if entry.served.starts_processes:
            self._retry(entry)
            await self._heard(entry)
        elif entry.state == "starting":
            await self._wait([entry])

    def greeting(self, backend: str, initialize: Frame) -> Frame | None:
        """The result of an initialize, when it is known what the backend would say."""
        entry, asked = self._entry(backend), Asked.by(initialize)
        if entry.state != "ok" or entry.varies or asked is None or entry.offer is None:
            return None
        offer = entry.offer.to(declared.by(initialize))
        if offer.greeting is None and offer.modern.discovered is not None:
            # Over the bridge it is made of this anyway.
            return frames.members(legacized.greeting(initialize, backend, offer.modern.discovered)["result"])
        # Few servers look at what else a client says of itself: to others they say what they have said to us.
        return entry.greetings.get(asked) or offer.greets(asked.version)

    def greeted(self, backend: str, initialize: Frame, result: Frame) -> None:
        """A client has got this."""
        entry, asked = self._entry(backend), Asked.by(initialize)
        if asked is not None:
            entry.greetings[asked] = result
            for oldest in list(entry.greetings)[:-GREETINGS]:
                del entry.greetings[oldest]

    def differs(self, backend: str) -> None:
        """A client was told what it says to initialize, and then it said something else."""
        if backend in self._entries:
            self._entries[backend].varies = True

    def asking(self, backend: str | None) -> bool:
        """Whether a server, that one or any, is just being asked what it offers: answers may have to wait for that."""
        if backend is None:
            return any(entry.probing is not None for entry in self._entries.values())
        entry = self._entries.get(backend)
        return entry is not None and entry.probing is not None

    async def remembered(self, backend: str) -> Offer | None:
        """What the backend offered when it was asked last; None when only it can tell."""
        entry = self._entry(backend)
        if entry.probing is not None:
            await asyncio.wait([entry.probing], timeout=self._patience)
        return entry.offer if entry.state == "ok" and entry.probing is None else None

    def retry(self) -> None:
        """What failed is tried again when it is time, whether anybody asks or not: who listens is told.

        What could not be asked beside its own process is, once that has ended.
        """
        for entry in self._entries.values():
            self._retry(entry)
            if entry.state == "ok" and entry.reason is not None and not entry.served.proven:
                self._probe(entry)

    def _retry(self, entry: _Entry) -> None:
        if entry.state == "failed" and self._ambient.now() >= entry.retry_at:
            self._probe(entry)

    def _entry(self, backend: str) -> _Entry:
        if backend not in self._entries:
            raise UnknownBackend(f"the server {backend} is gone")
        return self._entries[backend]

    def _new(self, served: Served) -> _Entry:
        served.on_changed(lambda: self.refresh(served.name), lambda: self.doubt(served.name))
        return _Entry(served)

    def _leave(self, entry: _Entry) -> None:
        if entry.probing is not None:
            entry.probing.cancel()
            self._leaving.add(entry.probing)
            entry.probing.add_done_callback(self._leaving.discard)

    async def _wait(self, entries: list[_Entry]) -> None:
        """What failed is tried again now and then, but nobody waits for it a second time."""
        for entry in entries:
            self._retry(entry)
        first = [entry.probing for entry in entries if entry.state == "starting" and entry.probing is not None]
        if first:
            await asyncio.wait(first, timeout=self._patience)

    def _said(self, entry: _Entry) -> Offer:
        if entry.offer is None:
            raise BackendUnavailable(entry.reason or f"the server {entry.served.name} was stopped: {LEFT}")
        return entry.offer

    async def _heard(self, entry: _Entry) -> None:
        """Until all was asked for the first time, or it failed; at least until something is known.

        Raises BackendUnavailable when that takes too long.
        """
        if entry.probing is not None and (entry.offer is None or entry.state == "starting"):
            await asyncio.wait([entry.probing], timeout=WAITING)
            if entry.probing is not None and entry.offer is None:
                raise BackendUnavailable(f"the server {entry.served.name} is {self._so_far(entry)}; try again shortly")

    def _so_far(self, entry: _Entry) -> str:
        return f"still starting: {self._ambient.now() - entry.probed_at} s so far"

    def _probe(self, entry: _Entry) -> None:
        if entry.probing is None:
            entry.probed_at = self._ambient.now()
            entry.probing = asyncio.create_task(self._ask(entry))

    async def _ask(self, entry: _Entry) -> None:
        before, name = entry.offer, entry.served.name
        limit = FIRST_PROBING if before is None and entry.served.starts_processes else self._probing
        try:
            await asyncio.sleep(entry.not_before - asyncio.get_running_loop().time())
            entry.stale = False
            async with asyncio.timeout(limit):
                offer = await probe(entry.served, before)
            if before is None:
                # Enough for whoever has waited long: each start of it may take as long as the first.
                entry.offer = offer
                entry.served.speaks(offer, self._ambient)
            entry.offer = offer if entry.alike else await self._ask_further(entry, offer)
        except TimeoutError:
            self._failed(entry, f"the server {name} gave no answer in {limit:.0f} seconds", entry.served.last_line)
        except BackendUnavailable as error:
            self._failed(entry, error.message, error.last_line)
        except GatewayError as error:
            self._failed(entry, error.message)
        except Exception:
            logger.exception("backend_probe_failed", extra=log.fields(backend=name))
            self._failed(entry, "unexpected error, see the log")
        else:
            entry.served.speaks(entry.offer, self._ambient)
            entry.served.repeat(entry.offer.modern.parameters)
            event = "backend_returned" if entry.state == "failed" else "backend_probed"
            entry.state, entry.reason, entry.last_line, entry.failures = "ok", None, "", 0
            if before is None or before.greeting != entry.offer.greeting:
                entry.greetings = {}
            about = log.fields(backend=name, tools=len(entry.offer.tools))
            logger.info(event, extra=about)
            changed = frozenset() if before is None else entry.offer.differences(before)
            if entry.missed:
                changed |= entry.offer.kinds()
            entry.missed = False
            self._untold |= changed
        finally:
            entry.probing, entry.kept_waiting = None, False
            entry.not_before = asyncio.get_running_loop().time() + PAUSE
            self._tell_together()
        if entry.stale:
            self._probe(entry)

    async def _ask_further(self, entry: _Entry, offer: Offer) -> Offer:
        """The ``offer`` to clients that can be asked things, with that to others, or what that was before."""
        nothing = await probe_further(entry.served, offer)
        if nothing is not None:
            offer = both(offer, nothing)
            entry.alike = not offer.differs
        elif entry.offer is not None and entry.offer.differs:
            offer = both(offer, entry.offer.sides[1])
        return offer

    def _failed(self, entry: _Entry, reason: str, last_line: str = "") -> None:
        if entry.offer is not None and entry.served.proven:
            self._keep(entry, entry.offer, reason, last_line)
            return
        went = entry.state == "ok"
        # As long as it stays like that, once is enough.
        level = logging.DEBUG if (entry.state, entry.reason) == ("failed", reason) else logging.WARNING
        entry.state, entry.reason, entry.last_line = "failed", reason, last_line
        entry.retry_at = self._ambient.now() + BACK_OFF[min(entry.failures, len(BACK_OFF) - 1)]
        entry.failures += 1
        logger.log(level, "backend_unavailable", extra=log.fields(backend=entry.served.name, reason=reason))
        if went:
            entry.missed = True
            if entry.offer is not None:
                self._untold |= entry.offer.kinds()

    def _keep(self, entry: _Entry, offer: Offer, reason: str, last_line: str) -> None:
        """While a process of it works, that another does not start says nothing of it: there may be only one."""
        level = logging.DEBUG if (entry.state, entry.reason) == ("ok", reason) else logging.WARNING
        entry.state, entry.reason, entry.last_line = "ok", reason, last_line
        logger.log(level, "backend_not_asked_again", extra=log.fields(backend=entry.served.name, reason=reason))
        if entry.missed:
            entry.missed = False
            self._untold |= offer.kinds()

    def _tell_together(self) -> None:
        """Several servers often change at once: who listens hears of that once, and of the slow ones later."""
        if self._untold and not self.asking(None):
            self._tell()
        elif self._untold and self._telling is None:
            self._telling = asyncio.get_running_loop().call_later(TOGETHER, self._tell)

    def _tell(self) -> None:
        if self._telling is not None:
            self._telling.cancel()
        untold, self._untold, self._telling = self._untold, frozenset(), None
        self._changed(untold)

    def _state(self, entry: _Entry) -> BackendState:
        offered = entry.offer.tools.values() if entry.offer is not None and entry.state != "starting" else ()
        admitted = tuple(tool for tool in offered if entry.served.tools.admits(tool.name))
        reason, last_line = entry.reason, entry.last_line
        if entry.probing is not None and (entry.offer is None or entry.state == "starting"):
            so_far, last_line = self._so_far(entry), entry.served.last_line
            reason = so_far if entry.reason is None else f"{entry.reason}; it is tried again, {so_far}"
        return BackendState(entry.served.name, entry.state, reason, admitted, last_line)
