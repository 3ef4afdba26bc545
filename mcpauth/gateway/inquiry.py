"""One backend is asked what it offers, in the background; what it said last is kept."""

import asyncio
import logging
from collections.abc import Callable
from typing import Literal, NamedTuple

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError
from .backend import LEFT
from .greetings import Greetings
from .listing import Kind
from .offer import Offer, both
from .probe import probe, probe_further
from .served import Served
from .tools import Tool

logger = logging.getLogger(__name__)

# How long a program has that was never heard of: the first run of npx, uvx or docker downloads it, and one that is
# ended half way begins anew.
FIRST_PROBING = 900.0
# How long who wants that server, and no list, waits for it: many clients give up after a minute, and would not be told.
WAITING = 50.0
BACK_OFF = (5, 15, 60, 300)
# Between two probes, whatever the backend says: each may start a process.
PAUSE = 2.0

State = Literal["starting", "ok", "failed"]


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


class Inquiry:
    """``probing`` is how many seconds it has to answer.

    ``told`` is called after each probe, with the kinds of lists that were given before and would now be others.
    """

    def __init__(
        self, served: Served, ambient: Ambient, probing: float, told: Callable[[frozenset[Kind]], None]
    ) -> None:
        self.served, self.greetings = served, Greetings(served.name)
        self.state: State = "starting"
        self.offer: Offer | None = None
        self.missed = False  # a list was given without it
        self.kept_waiting = False  # for a list, in vain
        self.reason: str | None = None
        self.probing: asyncio.Task[None] | None = None
        self._ambient, self._limit, self._told = ambient, probing, told
        self._last_line = ""
        self._alike = False  # it has offered the same to all: to ask that again would cost another process each time
        self._probed_at = 0
        self._stale = False
        self._failures = 0
        self._retry_at = 0
        self._not_before = 0.0

    @property
    def said(self) -> Offer:
        """What it said last. Raises BackendUnavailable of one that was never heard of."""
        if self.offer is None:
            raise BackendUnavailable(self.reason or f"the server {self.served.name} was stopped: {LEFT}")
        return self.offer

    def refresh(self) -> None:
        """It says that a list of its own has changed."""
        self._stale = True
        self.probe()

    def probe(self) -> None:
        if self.probing is None:
            self._probed_at = self._ambient.now()
            self.probing = asyncio.create_task(self._ask())

    def retry(self) -> None:
        """What failed is tried again when it is time."""
        if self.state == "failed" and self._ambient.now() >= self._retry_at:
            self.probe()

    def look_again(self) -> None:
        """The same; what could not be asked beside its own process is, once that has ended."""
        self.retry()
        if self.state == "ok" and self.reason is not None and not self.served.proven:
            self.probe()

    async def heard(self) -> None:
        """Until all was asked for the first time, or it failed; at least until something is known.

        Raises BackendUnavailable when that takes too long.
        """
        if self.probing is not None and (self.offer is None or self.state == "starting"):
            await asyncio.wait([self.probing], timeout=WAITING)
            if self.probing is not None and self.offer is None:
                raise BackendUnavailable(f"the server {self.served.name} is {self._so_far()}; try again shortly")

    def look(self) -> BackendState:
        offered = self.offer.tools.values() if self.offer is not None and self.state != "starting" else ()
        admitted = tuple(tool for tool in offered if self.served.tools.admits(tool.name))
        reason, last_line = self.reason, self._last_line
        if self.probing is not None and (self.offer is None or self.state == "starting"):
            so_far, last_line = self._so_far(), self.served.last_line
            reason = so_far if self.reason is None else f"{self.reason}; it is tried again, {so_far}"
        return BackendState(self.served.name, self.state, reason, admitted, last_line)

    def _so_far(self) -> str:
        return f"still starting: {self._ambient.now() - self._probed_at} s so far"

    async def _ask(self) -> None:
        before, name = self.offer, self.served.name
        limit = FIRST_PROBING if before is None and self.served.starts_processes else self._limit
        changed: frozenset[Kind] = frozenset()
        try:
            await asyncio.sleep(self._not_before - asyncio.get_running_loop().time())
            self._stale = False
            async with asyncio.timeout(limit):
                offer = await probe(self.served, before)
            if before is None:
                # Enough for whoever has waited long: each start of it may take as long as the first.
                self.offer = offer
                self.served.speaks(offer, self._ambient)
            offer = offer if self._alike else await self._ask_further(offer)
        except TimeoutError:
            changed = self._failed(f"the server {name} gave no answer in {limit:.0f} seconds", self.served.last_line)
        except BackendUnavailable as error:
            changed = self._failed(error.message, error.last_line)
        except GatewayError as error:
            changed = self._failed(error.message)
        except Exception:
            logger.exception("backend_probe_failed", extra=log.fields(backend=name))
            changed = self._failed("unexpected error, see the log")
        else:
            changed = self._answered(offer, before)
        finally:
            self.probing, self.kept_waiting = None, False
            self._not_before = asyncio.get_running_loop().time() + PAUSE
            self._told(changed)
        if self._stale:
            self.probe()

    async def _ask_further(self, offer: Offer) -> Offer:
        """The ``offer`` to clients that can be asked things, with that to others, or what that was before."""
        nothing = await probe_further(self.served, offer)
        if nothing is not None:
            offer = both(offer, nothing)
            self._alike = not offer.differs
        elif self.offer is not None and self.offer.differs:
            offer = both(offer, self.offer.sides[1])
        return offer

    def _answered(self, offer: Offer, before: Offer | None) -> frozenset[Kind]:
        self.offer = offer
        self.served.speaks(offer, self._ambient)
        self.served.repeat(offer.modern.parameters)
        event = "backend_returned" if self.state == "failed" else "backend_probed"
        self.state, self.reason, self._last_line, self._failures = "ok", None, "", 0
        if before is None or before.greeting != offer.greeting:
            self.greetings.forget()
        logger.info(event, extra=log.fields(backend=self.served.name, tools=len(offer.tools)))
        changed = frozenset() if before is None else offer.differences(before)
        return changed | self._found()

    def _failed(self, reason: str, last_line: str = "") -> frozenset[Kind]:
        if self.offer is not None and self.served.proven:
            return self._kept(reason, last_line)
        went = self.state == "ok"
        # As long as it stays like that, once is enough.
        level = logging.DEBUG if (self.state, self.reason) == ("failed", reason) else logging.WARNING
        self.state, self.reason, self._last_line = "failed", reason, last_line
        self._retry_at = self._ambient.now() + BACK_OFF[min(self._failures, len(BACK_OFF) - 1)]
        self._failures += 1
        logger.log(level, "backend_unavailable", extra=log.fields(backend=self.served.name, reason=reason))
        if not went:
            return frozenset()
        self.missed = True
        return self._kinds()

    def _kept(self, reason: str, last_line: str) -> frozenset[Kind]:
        """While a process of it works, that another does not start says nothing of it: there may be only one."""
        level = logging.DEBUG if (self.state, self.reason) == ("ok", reason) else logging.WARNING
        self.state, self.reason, self._last_line = "ok", reason, last_line
        logger.log(level, "backend_not_asked_again", extra=log.fields(backend=self.served.name, reason=reason))
        return self._found()

    def _found(self) -> frozenset[Kind]:
        """What changes by its being there, when it was missed."""
        missed, self.missed = self.missed, False
        return self._kinds() if missed else frozenset()

    def _kinds(self) -> frozenset[Kind]:
        return frozenset() if self.offer is None else self.offer.kinds()
