"""All child processes of the gateway: how many there may be, and when one that nobody uses ends."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable
from .configuration import Limits

logger = logging.getLogger(__name__)

# How long nobody uses what the owner has said nothing of, before it ends.
IDLE_STOP = 15 * 60


class Running(Protocol):
    @property
    def busy(self) -> bool:
        """Whether it would be missed now: somebody waits for it, or it for somebody, or it was subscribed to."""
        ...

    async def close(self, reason: str = ...) -> None: ...


class Place:
    """One child's, from before it starts until it is gone. ``user`` is None where it is no user's own."""

    def __init__(self, children: "Children", backend: str, user: str | None) -> None:
        self.backend, self.user = backend, user
        self.child: Running | None = None
        self.idle_stop: int | None = None
        self.used_at = 0
        self.ending = False
        self._children = children

    @property
    def idle(self) -> bool:
        return self.child is not None and not self.child.busy

    def used(self) -> None:
        self._children.used(self)

    def leave(self) -> None:
        self._children.forget(self)


class Children:
    """In the order of their last use."""

    def __init__(self, ambient: Ambient, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()  # Others hold from the next start on.
        self._ambient = ambient
        self._places: dict[Place, None] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def place(self, backend: str, user: str | None) -> Place:
        """For one that is to be started; the least recently used that is idle makes room for it.

        Raises BackendUnavailable, naming the limit, when all are busy.
        """
        if user is not None:
            self._make_room(self.limits.processes_per_user, "for one user", lambda place: place.user == user)
        self._make_room(self.limits.processes_per_server, f"of {backend}", lambda place: place.backend == backend)
        self._make_room(self.limits.processes, "for all servers together", lambda place: True)
        place = Place(self, backend, user)
        self._places[place] = None
        place.used()
        return place

    def beside(self, backend: str) -> Place:
        """Beyond all limits, and in nobody's way."""
        return Place(self, backend, None)

    def stop_idle(self, backend: str) -> None:
        now = self._ambient.now()
        for place in list(self._places):
            if place.backend != backend or place.child is None or place.ending or place.idle_stop is None:
                continue
            if place.child.busy:
                place.used_at = now
            elif place.used_at + place.idle_stop <= now:
                self._stop(place, "it was idle")

    def used(self, place: Place) -> None:
        if place in self._places:
            del self._places[place]
            self._places[place] = None
            place.used_at = self._ambient.now()

    def forget(self, place: Place) -> None:
        self._places.pop(place, None)

    def _make_room(self, limit: int, of_what: str, counts: Callable[[Place], bool]) -> None:
        counted = [place for place in self._places if counts(place)]
        if len(counted) >= 2 * limit:
            raise BackendUnavailable(f"too many processes {of_what} are still ending; wait a moment")
        staying = [place for place in counted if not place.ending]
        if len(staying) < limit:
            return
        idle = next((place for place in staying if place.idle), None)
        if idle is None:
            raise BackendUnavailable(f"all {limit} processes {of_what} are busy; try again later")
        self._stop(idle, "it made room for another")

    def _stop(self, place: Place, why: str) -> None:
        if place.child is None:
            return
        logger.info("backend_stopped", extra=log.fields(backend=place.backend, reason=why))
        place.ending = True
        task = asyncio.create_task(place.child.close(why))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
