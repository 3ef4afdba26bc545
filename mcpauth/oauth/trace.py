"""Connection attempts, taken down: what a client did from its first look to its first MCP request, and how it ended.

Clients say little when a connection fails ("Something went wrong"); here the owner sees where it stopped. A request
only leaves its step in a queue. Everything else is done behind it, a little at a time: ``stories`` joins the steps,
and now and then what has changed is saved.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from .. import log
from ..ambient import Ambient, fingerprint
from ..models.records import StepKind, Story
from ..store.stories import StoryStore
from . import pkce
from .course import went_well
from .stories import KEPT, MOST_STORIES, Stories
from .taken import Taken

logger = logging.getLogger(__name__)

# Steps that wait, of all and of one address. With SAVING they say how much work strangers can make.
MOST_WAITING, MOST_OF_ONE = 2000, 200
SAVING = 2.0
AT_ONCE = 20  # steps that are joined before others have their turn
# Strangers choose how long texts are; a key that begins before the end of what is shown is seen whole.
LONGEST, LONGEST_CLIENT_ID = 264, 576


def attempt_of(code_challenge: str) -> str:
    """The same for the authorization request, the pages after it and the token request: PKCE ties them."""
    return fingerprint(code_challenge)[:16]


def attempt_of_verifier(code_verifier: str) -> str | None:
    try:
        return attempt_of(pkce.challenge_of(code_verifier))
    except UnicodeEncodeError:
        return None


class _Waiting:
    """A step, its values those of Taken, and how many times in a row it was taken, the last time ``at``."""

    __slots__ = ("at", "taken", "times")

    def __init__(self, taken: tuple[Any, ...], at: int) -> None:
        self.taken, self.at, self.times = taken, at, 1


class Trace:
    def __init__(self, stories: StoryStore, ambient: Ambient) -> None:
        self._store, self._ambient = stories, ambient
        self._stories = Stories(ambient)
        self._waiting: deque[_Waiting] = deque()
        self._waiting_of: Counter[str] = Counter()  # by address
        # The last of what waits of each address, as long as nobody has said since whose step it is.
        self._last_of: dict[str, _Waiting] = {}
        self._left_out = 0
        self._looking: dict[str, None] = {}  # addresses that looked around since; the newest is the last

    async def load(self) -> None:
        self._stories.load(await self._store.list(self._ambient.now() - KEPT))

    def is_news(self, session_id: str, address: Callable[[], str]) -> bool:
        """Whether no MCP request of this session has been taken down since somebody at its ``address`` looked around.

        For every request, so the address is asked for only when somebody did, somewhere.
        """
        return session_id not in self._stories.heard or (bool(self._looking) and address() in self._looking)

    def add(
        self,
        kind: StepKind,
        status: int,
        method: str,
        path: str,
        address: str,
        user_agent: str,
        error: str | None = None,
        client_id: str | None = None,
        client_name: str | None = None,
        attempt: str | None = None,
        session_id: str | None = None,
    ) -> None:
        """Never raises, never waits. What is not known is None, ``attempt`` is of ``attempt_of``.

        The same again is only counted; what comes faster than it can be worked on is left out.
        """
        taken = (
            kind,
            status,
            method,
            path[:LONGEST],
            address,
            user_agent[:LONGEST],
            error and error[:LONGEST],
            client_id and client_id[:LONGEST_CLIENT_ID],
            client_name and client_name[:LONGEST],
            attempt,
            session_id,
        )
        if kind == "challenge" or kind == "discovery":
            self._looks(address)
        elif kind == "mcp" and session_id is not None:
            match went_well(kind, status, error):
                case True:
                    self._stories.heard.add(session_id)
                    self._looking.pop(address, None)
                case False:
                    self._stories.heard.discard(session_id)  # What makes it good again is news.
        waiting, names_nobody = self._waiting, not (client_id or attempt or session_id)
        last = self._last_of.get(address) if names_nobody else waiting[-1] if waiting else None
        if last is not None and last.taken == taken:
            last.times += 1
            last.at = self._ambient.now()
            return
        if len(waiting) >= MOST_WAITING or self._waiting_of[address] >= MOST_OF_ONE:
            self._left_out += 1
            return
        last = _Waiting(taken, self._ambient.now())
        waiting.append(last)
        self._waiting_of[address] += 1
        if names_nobody:
            self._last_of[address] = last
        else:
            self._last_of.clear()

    def _looks(self, address: str) -> None:
        self._looking.pop(address, None)
        self._looking[address] = None
        if len(self._looking) > MOST_STORIES:
            del self._looking[next(iter(self._looking))]

    async def stories(self) -> list[Story]:
        """The newest last."""
        await self._take_down()
        return self._stories.every()

    async def write(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(SAVING)
            await self.save()

    async def save(self) -> None:
        """Never raises: the next time may go better."""
        try:
            await self._take_down()
            changed, removed = self._stories.take_changes()
            if changed or removed:
                await self._store.save(changed, removed)
        except Exception:
            logger.exception("trace_not_saved")

    async def _take_down(self) -> None:
        left_out, self._left_out = self._left_out, 0
        if left_out:
            logger.warning("steps_not_traced", extra=log.bounded(count=left_out))
        for _ in range(0, len(self._waiting), AT_ONCE):
            for _ in range(min(AT_ONCE, len(self._waiting))):
                self._join(self._waiting.popleft())
            await asyncio.sleep(0)

    def _join(self, waiting: _Waiting) -> None:
        taken = Taken._make(waiting.taken)
        self._waiting_of[taken.address] -= 1
        if not self._waiting_of[taken.address]:
            del self._waiting_of[taken.address]
        if self._last_of.get(taken.address) is waiting:
            del self._last_of[taken.address]
        try:
            self._stories.join(taken, waiting.at, waiting.times)
        except Exception:
            logger.exception("step_not_traced", extra=log.fields(kind=taken.kind))
