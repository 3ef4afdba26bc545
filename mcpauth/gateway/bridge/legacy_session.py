"""A session with a server of the older era, for the requests of one modern client: a grant and what it declares."""

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ... import log
from ...ambient import Ambient
from ...errors import BackendUnavailable, InitializeRefused, SessionLost
from .. import frames
from ..backend import LEFT, RETIRED, BackendSession
from ..eras import NEWEST_LEGACY
from ..frames import Frame
from ..listing import LIST_CHANGED
from ..log_message import LEVELS
from ..modern.caller import Caller
from ..ourselves import ABOUT_US
from ..resource_updates import UPDATED
from . import modernized, tasks
from .legacy_call import LegacyCall
from .subscription import Subscription
from .unanswered import Unanswered

logger = logging.getLogger(__name__)

# For its answers to what nobody but us has asked.
PATIENCE = 20.0
# For a server to ask what it needs from the beginning; and to act by the answer, which it has taken before that.
ASKING, ACTING = 1.0, 0.2
# Answers that a server has not taken; one that asks more and reads nothing is not owed any.
UNREAD = 1000


class LegacySession:
    """``changed`` is called when the server says that a list of its has."""

    def __init__(self, name: str, caller: Caller, ambient: Ambient, changed: Callable[[], None]) -> None:
        self._name, self._caller, self._changed = name, caller, changed
        self._connection: BackendSession
        self._greeting: Frame = {}
        self._last = 0
        self._calls: dict[LegacyCall, None] = {}  # at the server, or soon; the newest last
        self._unanswered = Unanswered(caller, self._calls, self._tell, ambient)
        self._subscriptions: set[Subscription] = set()
        self._followed: Counter[str] = Counter()
        self._following = asyncio.Lock()
        self._level: int | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = False

    async def start(self, connection: BackendSession) -> None:
        """Raises BackendUnavailable."""
        self._connection = connection
        declared = {
            "protocolVersion": NEWEST_LEGACY,
            "capabilities": tasks.undeclared(self._caller.capabilities),
            "clientInfo": ABOUT_US,
        }
        try:
            answer = await self._request("initialize", declared)
            if "result" not in answer:
                raise InitializeRefused(self._name)
            self._greeting = frames.members(answer["result"])
            await connection.notify(frames.notification("notifications/initialized"))
            if "roots" in declared["capabilities"]:
                await self._let_it_ask()
        except BaseException:
            await connection.close()
            raise

    @property
    def over(self) -> bool:
        return self._over

    @property
    def busy(self) -> bool:
        """A call that waits for the client is one, too."""
        return bool(self._calls or self._subscriptions)

    @property
    def works(self) -> bool:
        return bool(self._calls)

    async def close(self, reason: str = LEFT) -> None:
        self._over = True
        error = BackendUnavailable(f"the session with {self._name} has ended: {reason}")
        self._unanswered.close(error)
        for call in list(self._calls):
            call.fail(error)
        for subscription in list(self._subscriptions):
            subscription.cancel(error)
        await self._connection.close()

    async def serve(self, call: LegacyCall) -> None:
        """Until the server has ended it. Raises SessionLost when it was not run."""
        call.server, call.tell, call.left = self._greeting.get("serverInfo"), self._tell, self._unanswered.left
        self._calls[call] = None
        try:
            try:
                await self._set_level(call.level)
                while await self._unanswered.before(call):
                    await self._let_it_act()
                if call.ended or call.frame is None:
                    return
                self._last += 1
                call.number = self._last
                answers = self._connection.request(modernized.request(call.number, call.frame))
            except BackendUnavailable as error:
                raise SessionLost(error.message) from None
            async for frame in answers:
                self._heard(frame, call)
                await call.room()
            if not call.answered:
                call.fail(BackendUnavailable(f"the server {self._name} gave no answer"))
        except SessionLost as error:
            lost = self._lost(error)
            if call.frame is None:
                raise BackendUnavailable(error.message) from None
            call.number = 0
            raise lost from None
        finally:
            del self._calls[call]

    async def follow(self, subscription: Subscription) -> None:
        """Raises SessionLost."""
        capabilities = frames.members(self._greeting.get("capabilities"))
        can_follow = bytes(frames.members(capabilities.get("resources")).get("subscribe", b"")) == b"true"
        self._subscriptions.add(subscription)
        try:
            for uri in subscription.uris if can_follow else []:
                if not subscription.over and await self._subscribe(uri):
                    subscription.followed.append(uri)
        except BackendUnavailable as error:
            self._subscriptions.discard(subscription)
            subscription.followed.clear()
            raise self._lost(error) from None
        subscription.ended = lambda: self._forget(subscription)
        if subscription.over:
            subscription.ended()
        subscription.acknowledge(capabilities)

    def retire(self) -> None:
        """The calls go on to their end. Who comes back with an answer would come to another server."""
        self._unanswered.close(BackendUnavailable(RETIRED))

    def look_after(self) -> None:
        """While somebody listens, the server is kept, and that it has ended is noticed."""
        self._unanswered.expire()
        if self._subscriptions and not self._over:
            self._spawn(self._ping())

    # What the server says.

    def hear(self, frame: Frame) -> None:
        """Outside of any request."""
        self._heard(frame, None)

    def _heard(self, frame: Frame, call: LegacyCall | None) -> None:
        method = frames.text(frame.get("method"))
        if "method" in frame and "id" in frame:
            self._unanswered.asked(frame, call)
        elif method == "notifications/cancelled":
            request_id = frames.members(frame.get("params")).get("requestId")
            if request_id is not None:
                self._unanswered.taken_back(request_id)
        elif method in LIST_CHANGED or method == UPDATED:
            if method != UPDATED:
                self._changed()
            for subscription in list(self._subscriptions):
                subscription.hear(frame)
        elif call is not None:
            call.heard(frame)

    # What it is told.

    def _tell(self, frame: Frame) -> None:
        if "method" not in frame:
            self._unanswered.answered(frame["id"])
        if len(self._tasks) < UNREAD:
            self._spawn(self._connection.notify(frame))

    async def _request(self, method: str, params: object) -> Frame:
        """What it answers to us."""
        self._last += 1
        number, answer = self._last, dict[str, msgspec.Raw]()
        try:
            async for frame in self._connection.request(frames.request(number, method, params)):
                if "method" in frame:
                    self._heard(frame, None)
                else:
                    answer = frame
        except asyncio.CancelledError:
            if method != "initialize":
                self._tell(frames.notification("notifications/cancelled", {"requestId": number}))
            raise
        return answer

    async def _let_it_ask(self) -> None:
        """Some ask for the roots when they are initialized, and can do nothing before they have them.

        What a server asks at once, it has asked when it answers a ping.
        """
        with contextlib.suppress(BackendUnavailable, TimeoutError):
            async with asyncio.timeout(ASKING):
                await self._request("ping", {})

    async def _let_it_act(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)
        await asyncio.sleep(ACTING)

    async def _set_level(self, level: str | None) -> None:
        """The most verbose one that was asked for. Each client gets of it what it wants."""
        if level is None or "logging" not in frames.members(self._greeting.get("capabilities")):
            return
        if self._level is None or LEVELS.index(level) < self._level:
            self._level = LEVELS.index(level)
            await self._ask("logging/setLevel", {"level": level})

    def _forget(self, subscription: Subscription) -> None:
        if subscription in self._subscriptions:
            self._subscriptions.discard(subscription)
            self._spawn(self._unsubscribe(subscription.followed))

    async def _subscribe(self, uri: str) -> bool:
        async with self._following:
            if not self._followed[uri] and not await self._ask("resources/subscribe", {"uri": uri}):
                return False
            self._followed[uri] += 1
            return True

    async def _unsubscribe(self, uris: list[str]) -> None:
        for uri in uris:
            async with self._following:
                self._followed[uri] -= 1
                if not self._followed[uri]:
                    del self._followed[uri]
                    with contextlib.suppress(BackendUnavailable):
                        await self._ask("resources/unsubscribe", {"uri": uri})

    async def _ask(self, method: str, params: object) -> bool:
        """Whether it agrees. Raises BackendUnavailable."""
        try:
            async with asyncio.timeout(PATIENCE):
                return "result" in await self._request(method, params)
        except TimeoutError:
            return False

    async def _ping(self) -> None:
        try:
            await self._ask("ping", {})
        except BackendUnavailable as error:
            self._lost(error)

    def _lost(self, error: BackendUnavailable) -> SessionLost:
        """It was over, without our being told."""
        if not self._over:
            self._over = True
            self._unanswered.close(error)  # What the next server asks may have the same ids.
            self._spawn(self.close("it was over"))
        return SessionLost(error.message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            logger.warning("backend_not_told", extra=log.bounded(backend=self._name, reason=str(error)))
