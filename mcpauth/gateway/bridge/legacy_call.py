"""A request of a modern client at a server of the older era, over all the rounds in which it is answered."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from ...errors import GatewayError, InvalidParameters, RequestCancelled
from .. import frames
from ..eras import LOG_LEVEL
from ..exchange import Exchange
from ..frames import Frame
from ..load import Unread
from ..log_message import LEVELS
from ..modern import results
from ..modern.caller import Caller
from . import modernized, questions
from .questions import Question

# A server that asks several things at once writes them one after the other.
MOMENT = 0.05

# Questions of one call that wait for the client.
QUESTIONS = 16

# Of the older era alone, or told to whoever subscribes.
UNTOLD = {"notifications/elicitation/complete", "notifications/tasks/status"}


class Round(Exchange):
    """One request of the client: the frames that belong to it, and at last the response, or the server's questions."""

    __slots__ = ("_call",)

    def __init__(self, frame: Frame, call: "LegacyCall | None" = None) -> None:
        super().__init__(frame["id"], lambda _: None if call is None else call.pace())
        self._call = call
        if call is not None:
            self.unread = call.caller.unread

    def _count(self, size: int, unread: Unread) -> None:
        """What came over was let in already."""
        unread.add(size)
        self._counted += size

    def cancel(self, error: GatewayError) -> None:
        if self._call is not None:
            self._call.leave(self, error)


class LegacyCall:
    """``suspended`` is called when its questions are on their way to the client, and gives the `requestState`;
    ``tell`` takes answers and cancellations to the server, ``left`` the questions that nobody has answered in it."""

    def __init__(self, caller: Caller, frame: Frame, suspended: Callable[["LegacyCall"], str]) -> None:
        self.caller = caller
        self.frame: Frame | None = frame  # until the server has it for good
        self.bound_to = b""  # what its requestState is bound to
        self.method = frames.text(frame["method"]) or ""
        self.number = 0  # its id at the server; none before it is sent
        self.answered = False  # by the server, with whatever
        self.server: msgspec.Raw | None = None  # what the server says of itself
        self.tell: Callable[[Frame], None] = lambda _: None
        self.left: Callable[[LegacyCall, list[Question]], None] = lambda call, questions: None
        self.grown: Callable[[], None] = lambda: None  # while it waits for the client
        self.task: asyncio.Task[None] | None = None
        self._suspended = suspended
        self._questions: dict[str, Question] = {}
        self._asked = 0
        self._round: Round | None = None
        self._token: msgspec.Raw | None = None
        self._level: str | None = None
        self._retries = False  # the server is to be asked again, with the same, once the client has answered
        self._ended: Frame | GatewayError | None = None
        self._room, self._news = asyncio.Event(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, frame: Frame) -> Round:
        """A round. What came while there was none is answered at once."""
        meta = frames.members(frames.members(frame.get("params")).get("_meta"))
        self._token, self._level = meta.get("progressToken"), frames.text(meta.get(LOG_LEVEL))
        current = self._round = Round(frame, self)
        self._room.set()
        self._news.set()
        if self._ended is not None:
            self._end(self._ended)
        elif self._questions:
            self._ask_soon()
        return current

    @property
    def level(self) -> str | None:
        """Of log messages that the client wants with this request."""
        return self._level if self._level in LEVELS else None

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn."""
        return self._round is None

    @property
    def ended(self) -> bool:
        return self._ended is not None

    @property
    def failure(self) -> GatewayError | None:
        """Why nothing comes of it."""
        return self._ended if isinstance(self._ended, GatewayError) else None

    @property
    def weight(self) -> int:
        """Of what the client has not got yet, or may have to be asked again."""
        ended = frames.weight(self._ended) if isinstance(self._ended, dict) else 0
        return ended + sum(frames.weight(question.frame) for question in self._questions.values())

    def pace(self) -> None:
        """The server's frames wait while the client is behind."""
        if self._round is not None and self._round.full:
            self._room.clear()
        else:
            self._room.set()

    async def room(self) -> None:
        await self._room.wait()

    @property
    def asks(self) -> bool:
        """Whether the client has to answer before it goes on."""
        return bool(self._questions or self.waits) and not self.ended

    async def unasked(self) -> None:
        while self.asks:
            self._news.clear()
            await self._news.wait()

    # What the server says.

    def heard(self, frame: Frame) -> None:
        """A notification in the course of it, or its response."""
        if "method" not in frame:
            self._respond(frame)
            return
        method = frames.text(frame["method"])
        if self._round is None or method in UNTOLD:
            return
        if method == "notifications/progress":
            if self._token is not None:
                params = {**frames.members(frame.get("params")), "progressToken": self._token}
                self._round.put({**frame, "params": frames.raw(params)})
        elif method != "notifications/message" or self._wants(frame):
            self._round.put(frame)

    def may_be_asked(self, frame: Frame) -> bool:
        params = frames.members(frame.get("params"))
        return (
            self.method in questions.ASKING
            and len(self._questions) < QUESTIONS
            and self._ended is None
            # All of them are one frame to the client.
            and self.weight + frames.weight(frame) <= frames.LIMIT
            and questions.may_be_asked(self.caller.capabilities, frames.text(frame["method"]), params)
        )

    def ask(self, question: Question) -> None:
        self._asked += 1
        self._questions[str(self._asked)] = question
        self.grown()
        if self._round is not None:
            self._ask_soon()

    def asks_no_more(self, request_id: int | str) -> None:
        """The server takes back what may be one of this call's questions."""
        for key, (frame, *_) in list(self._questions.items()):
            if "id" in frame and frames.identifier(frame["id"]) == request_id:
                del self._questions[key]
                self._news.set()

    def leave_questions(self) -> None:
        """They are to be asked elsewhere."""
        left = [question for question in self._questions.values() if "id" in question.frame]
        self._questions = {key: one for key, one in self._questions.items() if "id" not in one.frame}
        self._news.set()
        if left:
            self.left(self, left)

    def fail(self, error: GatewayError) -> None:
        """Nothing comes any more."""
        if self._ended is None:
            self._end(error)

    # What the client says.

    def resume(self, frame: Frame, responses: Frame) -> Round:
        """Its answers, and the next round. What it did not answer it is asked again."""
        for key in [key for key in self._questions if key in responses]:
            asked = self._questions.pop(key).frame
            if "id" in asked:
                self.tell({**frames.result(asked["id"], None), "result": responses[key]})
            elif frames.text(frames.members(responses[key]).get("action")) != "accept":
                self.fail(RequestCancelled("the person did not do what the server needs"))
        if not self.number:
            self.frame = frame
        return self.begin(frame)

    def is_to_be_sent_again(self) -> bool:
        """Whether the server has ended it, for what the person has done since. Says so once."""
        again, self._retries = self._retries and not self._questions and self._ended is None, False
        if again:
            self.answered, self.number = False, 0
        return again

    def leave(self, current: Round, error: GatewayError) -> None:
        if current is self._round:
            self.cancel(error)

    def cancel(self, error: GatewayError) -> None:
        """Nobody wants the answer any more: the server may stop, and waits for no answer of ours."""
        if self._ended is not None:
            self.leave_questions()
            return
        self._end(error)
        if self.number:
            told = {"requestId": self.number, "reason": error.message}
            self.tell(frames.notification("notifications/cancelled", told))
        elif self.task is not None:
            self.task.cancel()

    def _respond(self, frame: Frame) -> None:
        self.answered = True
        if self.method in questions.ASKING and frames.error_code(frame) == modernized.URL_ELICITATION_REQUIRED:
            self._needs_visit(frame)
        elif "error" in frame:
            self._end(modernized.error(frame, self.method))
        else:
            self._end(modernized.result(frame, self.method, self.server))

    def _needs_visit(self, frame: Frame) -> None:
        """The server has ended the call: the person is to open an address, then it may be called again."""
        about = frames.members(frame["error"])
        wanted = frames.members(about.get("data")).get("elicitations")
        elicitations: Any = None if wanted is None else frames.value(wanted)
        if not isinstance(elicitations, list) or not 0 < len(elicitations) <= QUESTIONS:
            self._end(modernized.error(frame, self.method))
            return
        asked = [
            frames.request(0, "elicitation/create", {"mode": "url", **one})
            for one in elicitations
            if isinstance(one, dict)
        ]
        if not asked or not all(self.may_be_asked(one) for one in asked):
            message = frames.text(about.get("message")) or "the person would have to open an address"
            self._end(modernized.MissingCapability(message, {"elicitation": {"url": {}}}))
            return
        self._retries = True
        for one in asked:
            del one["id"]
            self.ask(Question(one, 0, self))

    def _end(self, with_what: Frame | GatewayError) -> None:
        self._ended = with_what
        self._room.set()
        if self._timer is not None:
            self._timer.cancel()
        current, self._round = self._round, None
        if current is not None or self.failure is not None:
            self.leave_questions()  # Else the client is being asked, and may come back with an answer.
        if current is None:
            self.grown()
            return
        if isinstance(with_what, GatewayError):
            if not self.number and self.method == "tools/call":
                # Nothing was called: as with a tool that is not there.
                current.finish(results.tool_error(current.request_id, with_what.message))
            else:
                current.fail(with_what)
        else:
            current.finish({**with_what, "id": current.request_id})

    def _ask_soon(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT, self._ask)

    def _ask(self) -> None:
        self._timer = None
        if self._round is not None and self._questions and self._ended is None:
            current, self._round = self._round, None
            self._token = None  # It keeps the client's message.
            self._room.set()
            asked = {key: questions.asked(question.frame) for key, question in self._questions.items()}
            current.finish(questions.required(current.request_id, asked, self._suspended(self)))

    def _wants(self, log: Frame) -> bool:
        wanted, level = self.level, frames.text(frames.members(log.get("params")).get("level"))
        return wanted is not None and (level not in LEVELS or LEVELS.index(level) >= LEVELS.index(wanted))


def responses(params: Frame) -> Frame:
    """The client's answers, by the keys of the questions. Raises InvalidParameters."""
    given = frames.members(params.get("inputResponses"))
    if any(bytes(value)[:1] != b"{" for value in given.values()):
        raise InvalidParameters('"inputResponses" must have objects')
    return given
