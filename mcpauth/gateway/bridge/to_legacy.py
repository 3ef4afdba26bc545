"""Modern callers at a backend that speaks the older era alone."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from ... import log
from ...ambient import Ambient
from ...errors import BackendUnavailable, GatewayError, InitializeRefused, SessionLost, UnknownMethod
from .. import frames
from ..backend import LEFT, Backend
from ..frames import Frame
from ..modern.caller import Caller
from ..modern.shared import SharedSessions
from ..offer import Offer
from . import modernized, tasks
from .legacy_call import LegacyCall, Round, responses
from .legacy_session import LegacySession
from .questions import ASKING
from .subscription import Subscription
from .waiting_calls import WaitingCalls

logger = logging.getLogger(__name__)

# For a server that was heard of to start and answer initialize.
OPENING = 60.0


class ToLegacy:
    """``offer`` is what the server said of itself."""

    def __init__(
        self,
        backend: Backend,
        offer: Offer,
        ambient: Ambient,
        changed: Callable[[], None],
        doubt: Callable[[], Awaitable[None]],
    ) -> None:
        self.offer = offer
        self._backend, self._ambient, self._changed, self._doubt = backend, ambient, changed, doubt
        self._sessions = SharedSessions(backend.name, self._open, "session", backend.idle_stop, ambient)
        self._opened: set[LegacySession] = set()
        self._waiting = WaitingCalls(ambient)
        self._tasks: set[asyncio.Task[None]] = set()

    def join(self, caller: Caller) -> "Joined":
        return Joined(self, caller)

    def request(self, caller: Caller, frame: Frame) -> Round | Subscription:
        """Raises what stands against it."""
        match frames.text(frame["method"]):
            case "server/discover":
                discovered = Round(frame)
                greeting = self.offer.to(caller.capabilities).greeting or {}
                discovered.finish(modernized.discovered(frame["id"], greeting))
                return discovered
            case "subscriptions/listen":
                subscription = Subscription(frame)
                self._spawn(self._follow(caller, subscription))
                return subscription
            case method if method is not None and method.startswith(tasks.METHODS):
                raise UnknownMethod("this server's tasks are not offered in this revision of MCP")
            case method:
                params = frames.members(frame.get("params")) if method in ASKING else {}
                if "requestState" in params or "inputResponses" in params:
                    return self._resume(caller, frame, params)
        call = LegacyCall(caller, frame, self._waiting.put)
        current = call.begin(frame)
        call.task = self._spawn(self._serve(call))
        return current

    def runs(self, caller: Caller) -> bool:
        return self._sessions.runs(caller)

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer, or the server for one of the client's."""
        return bool(self._tasks)

    def retire(self) -> None:
        """The backend itself takes no new request. Who comes back to a call that waits comes to another."""
        for session in self._opened:
            session.retire()
        self._waiting.close()

    def stop_idle(self) -> None:
        self._waiting.expire()
        self._sessions.stop_idle()
        for session in self._opened:
            session.look_after()

    def end_grant(self, grant_id: str) -> None:
        self._waiting.end_grant(grant_id)
        self._sessions.end_grant(grant_id)

    async def close(self) -> None:
        self._waiting.close()
        for task in self._tasks:
            task.cancel()
        await self._sessions.close()
        await asyncio.gather(*(session.close() for session in self._opened), *self._tasks, return_exceptions=True)

    async def _open(self, caller: Caller) -> LegacySession:
        name = self._backend.name
        session = LegacySession(name, caller, self._ambient, self._changed)
        try:
            async with asyncio.timeout(OPENING):
                await session.start(await self._backend.open(session.hear, caller))
        except InitializeRefused:
            await self._doubt()
            raise
        except TimeoutError:
            raise BackendUnavailable(f"the server {name} did not answer in {OPENING:.0f} seconds") from None
        self._opened = {one for one in self._opened if not one.over} | {session}
        return session

    def _resume(self, caller: Caller, frame: Frame, params: Frame) -> Round:
        given = responses(params)
        call = self._waiting.take(caller, frame, frames.text(params.get("requestState")))
        current = call.resume(frame, given)
        if call.is_to_be_sent_again():
            call.frame = frame
            call.task = self._spawn(self._serve(call))
        return current

    async def _serve(self, call: LegacyCall) -> None:
        try:
            await self._in_session(call.caller, lambda session: session.serve(call))
        except GatewayError as error:
            call.fail(error)
        except asyncio.CancelledError:
            call.fail(self._stopped())
            raise
        except Exception:
            logger.exception("request_failed", extra=log.fields(backend=self._backend.name))
            call.fail(GatewayError("unexpected error, see the server's log"))

    async def _follow(self, caller: Caller, subscription: Subscription) -> None:
        try:
            await self._in_session(caller, lambda session: session.follow(subscription))
        except GatewayError as error:
            subscription.cancel(error)
        except asyncio.CancelledError:
            subscription.cancel(self._stopped())
            raise

    def _stopped(self) -> BackendUnavailable:
        return BackendUnavailable(f"the server {self._backend.name} was stopped: {LEFT}")

    async def _in_session(self, caller: Caller, use: Callable[[LegacySession], Awaitable[None]]) -> None:
        """One that was over is opened again, once."""
        try:
            await use(await self._sessions.join(caller))
        except SessionLost:
            await use(await self._sessions.join(caller))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


class Joined:
    """One caller's use of it."""

    def __init__(self, bridge: ToLegacy, caller: Caller) -> None:
        self._bridge, self._caller = bridge, caller

    def request(self, frame: Frame) -> Round | Subscription:
        try:
            return self._bridge.request(self._caller, frame)
        except GatewayError as error:
            refused = Round(frame)
            refused.fail(error)
            return refused

    def cancel(self, answers: Round | Subscription, error: GatewayError) -> None:
        answers.cancel(error)
