"""What a server of the older era has asked in one session, and the calls in which its client is asked that.

All calls of a session are one grant's. A question that comes while none is under way, or is left by one that has ended,
waits for the next, and is put before it; none stays without an answer.
"""

import asyncio
import contextlib
from collections.abc import Callable

import msgspec

from ...ambient import Ambient
from ...errors import GatewayError, InvalidMessage, RequestCancelled, UnknownMethod
from .. import frames
from ..frames import Frame
from ..modern.caller import Caller
from . import questions
from .legacy_call import QUESTIONS, LegacyCall
from .questions import Question
from .request_state import TTL

# How long calls wait for the roots that the client is asked for in another.
PATIENCE = 2.0

NOT_OFFERED = UnknownMethod("this client does not offer that, or not now")


class Unanswered:
    """``calls`` are those of the session that are under way, the newest last; ``tell`` takes errors to the server."""

    def __init__(
        self, caller: Caller, calls: dict[LegacyCall, None], tell: Callable[[Frame], None], ambient: Ambient
    ) -> None:
        self._caller, self._calls, self._tell, self._ambient = caller, calls, tell, ambient
        self._waiting: dict[int | str, Question] = {}  # for the next call
        self._roots: set[int | str] = set()  # those of them that ask for the roots, until there is an answer
        self._told = asyncio.Event()
        self._closed: GatewayError | None = None

    def asked(self, frame: Frame, call: LegacyCall | None) -> None:
        """Where it does not say in the course of what it asks, any call will do."""
        question = Question(frame, self._ambient.now(), call)
        try:
            frames.identifier(frame["id"])
        except InvalidMessage as error:
            self._refuse(question, error)
            return
        if call is None or self._closed is not None:
            self._put(question)
        elif call.may_be_asked(frame):
            call.ask(question)
        else:
            self._refuse(question, NOT_OFFERED)

    def left(self, call: LegacyCall, its: list[Question]) -> None:
        """Of a call that the server has answered they are another's; of one that was given up only what may be."""
        for question in its:
            if call.failure is not None and question.by is call:
                self._refuse(question, call.failure)
            else:
                self._put(question)

    def answered(self, request_id: msgspec.Raw) -> None:
        """Or it is asked no more."""
        with contextlib.suppress(InvalidMessage):
            self._roots.discard(frames.identifier(request_id))
        if not self._roots:
            self._told.set()

    def taken_back(self, request_id: msgspec.Raw) -> None:
        self.answered(request_id)
        with contextlib.suppress(InvalidMessage):
            key = frames.identifier(request_id)
            if self._waiting.pop(key, None) is not None:
                self._weigh()
            for call in self._calls:
                call.asks_no_more(key)

    async def before(self, call: LegacyCall) -> bool:
        """Until the client has answered what was asked before the call, which may need that. Whether there was any."""
        if call.method not in questions.ASKING or not (self._waiting or self._roots or call.asks):
            return False
        for key, question in list(self._waiting.items()):
            if call.may_be_asked(question.frame):
                del self._waiting[key]
                call.ask(question)
        self._weigh()
        if self._roots:
            await self._rooted()
        await call.unasked()
        return True

    def expire(self) -> None:
        """Nobody has called for long."""
        for key in [key for key, question in self._waiting.items() if self._is_old(question)]:
            self._refuse(self._waiting.pop(key), RequestCancelled("the client did not come back in time"))
        self._weigh()

    def close(self, error: GatewayError) -> None:
        """Nobody is asked any more."""
        self._closed = error
        self._refuse_waiting(error)
        for call in self._calls:
            call.leave_questions()

    async def _rooted(self) -> None:
        """Once: a client that does not answer is not waited for again."""
        try:
            async with asyncio.timeout(PATIENCE):
                await self._told.wait()
        except TimeoutError:
            self._roots.clear()
            self._told.set()

    def _put(self, question: Question) -> None:
        """To a call whose client waits for it, else to one that waits for its client, the newest first."""
        frame = question.frame
        under_way = [call for call in reversed(self._calls) if not call.ended]
        under_way.sort(key=lambda call: call.waits)
        call = next((call for call in under_way if call.may_be_asked(frame)), None)
        if self._closed is not None:
            self._refuse(question, self._closed)
        elif call is not None:
            call.ask(question)
        elif under_way or not self._may_wait(question):
            # One of them may be what asks: it would wait for a call that comes after it.
            self._refuse(question, NOT_OFFERED)
        else:
            self._wait(question)

    def _may_wait(self, question: Question) -> bool:
        method, params = frames.text(question.frame["method"]), frames.members(question.frame.get("params"))
        return (
            len(self._waiting) < QUESTIONS
            and self._weight + frames.weight(question.frame) <= frames.LIMIT
            and not self._is_old(question)
            and questions.may_be_asked(self._caller.capabilities, method, params)
        )

    def _wait(self, question: Question) -> None:
        key = frames.identifier(question.frame["id"])
        self._waiting[key] = question
        if frames.text(question.frame["method"]) == "roots/list":
            self._roots.add(key)
            self._told.clear()
        self._weigh()

    def _is_old(self, question: Question) -> bool:
        return question.asked_at + TTL < self._ambient.now()

    @property
    def _weight(self) -> int:
        return sum(frames.weight(question.frame) for question in self._waiting.values())

    def _weigh(self) -> None:
        """They count among all that waits for the client."""
        suspended = self._caller.unread.suspended
        if self._waiting:
            error = RequestCancelled("what waits for the client is too large together")
            suspended.keep(self, self._weight, lambda: self._refuse_waiting(error))
        else:
            suspended.release(self)

    def _refuse_waiting(self, error: GatewayError) -> None:
        waiting, self._waiting = self._waiting, {}
        self._weigh()
        for question in waiting.values():
            self._refuse(question, error)

    def _refuse(self, question: Question, error: GatewayError) -> None:
        self._tell(frames.failure(question.frame["id"], error))
