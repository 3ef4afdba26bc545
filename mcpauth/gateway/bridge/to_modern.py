"""Legacy sessions with a backend that speaks the modern era alone."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

import msgspec

from ...ambient import Ambient
from ...errors import BackendUnavailable, GatewayError, InvalidParameters, TooMuchUnderWay, UnknownMethod
from .. import frames
from ..backend import ENDED, LEFT, RETIRED, Backend, ModernSession
from ..frames import Frame
from ..listing import ANNOUNCED
from ..log_message import LEVELS
from ..modern.caller import Caller
from ..offer import Offer
from . import legacized, questions, tasks
from .legacized import Envelope
from .listening import Listening
from .subscription import URIS

# How often a server may ask before it answers (as other clients do), and how much at once.
ROUNDS, QUESTIONS = 10, 16

COMPLETE = frames.raw("complete")


class ToModern:
    """``offer`` is what the server said of itself."""

    def __init__(self, backend: Backend, offer: Offer, ambient: Ambient) -> None:
        self.offer = offer
        self.retired = False
        self._backend, self._ambient = backend, ambient
        self._sessions: set[ToModernSession] = set()

    def open(self, listener: Callable[[Frame], None], caller: Caller) -> "ToModernSession":
        session = ToModernSession(self, self._backend, listener, caller, self._ambient, self._sessions.discard)
        self._sessions.add(session)
        return session

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer, be it that the server waits for one of the client's."""
        return any(session.busy for session in self._sessions)

    def retire(self) -> None:
        self.retired = True
        for session in self._sessions:
            session.retire()

    def stop_idle(self) -> None:
        for session in self._sessions:
            session.stop_idle()

    def end_grant(self, grant_id: str) -> None:
        """Its sessions are ended by whoever has them."""

    async def close(self) -> None:
        await asyncio.gather(*(session.close(LEFT) for session in list(self._sessions)))


class ToModernSession:
    """The session is ours: the server learns of it with each request anew."""

    def __init__(
        self,
        bridge: ToModern,
        backend: Backend,
        listener: Callable[[Frame], None],
        caller: Caller,
        ambient: Ambient,
        ended: Callable[["ToModernSession"], None],
    ) -> None:
        self._bridge, self._backend, self._ambient, self._ended = bridge, backend, ambient, ended
        self._used_at = ambient.now()
        self._listener, self._caller = listener, caller
        self._envelope = Envelope(caller.capabilities, None)
        self._listening: Listening | None = None
        self._initialized = False
        self._level: str | None = None
        self._relays: set[_Relay] = set()
        self._asked: dict[int, tuple[_Relay, asyncio.Future[Frame]]] = {}
        self._last = 0
        self._over: str | None = None

    def request(self, frame: Frame) -> AsyncIterator[Frame]:
        if self._bridge.retired:
            raise BackendUnavailable(RETIRED)
        if self._over is not None:
            raise BackendUnavailable(self._over)
        self._used_at = self._ambient.now()
        if self._initialized and self._listening is not None:
            self._listening.start()
        match frames.text(frame["method"]):
            case "initialize":
                return _reply(self._initialize(frame))
            case "ping":
                return _reply(frames.result(frame["id"], {}))
            case "logging/setLevel":
                return _reply(self._set_level(frame))
            case "resources/subscribe" | "resources/unsubscribe" as method:
                return self._follow(frame, begins=method == "resources/subscribe")
            case method if method is not None and method.startswith(tasks.METHODS):
                return _reply(frames.failure(frame["id"], UnknownMethod("this server's tasks are of another revision")))
        relay = _Relay(frame["id"])
        self._relays.add(relay)
        return self._relay(relay, frame)

    async def notify(self, frame: Frame) -> None:
        if "method" not in frame:
            relay, answer = self._asked.pop(frames.integer(frame["id"]) or 0, (None, None))
            if relay is not None and answer is not None and not answer.done():
                answer.set_result(frame)
                self._weigh(relay, relay.weight + frames.weight(frame))
            return
        match frames.text(frame["method"]):
            case "notifications/initialized" if self._listening is not None:
                self._initialized = True
                self._listening.start()
            case "notifications/cancelled":
                wanted = frames.members(frame.get("params")).get("requestId")
                for relay in list(self._relays):
                    if wanted is not None and relay.answers_to(wanted):
                        relay.cancel(BackendUnavailable("the request was cancelled"))

    @property
    def busy(self) -> bool:
        return bool(self._relays)

    @property
    def runs(self) -> bool:
        return self._backend.runs(self._caller)

    @property
    def serves(self) -> bool:
        return self._over is None and not self._bridge.retired

    def client_is_away(self) -> None:
        """It is followed on: the process may be others', too."""

    def retire(self) -> None:
        """Of changes, another tells by now."""
        if self._listening is not None:
            self._listening.close(RETIRED)

    async def close(self, reason: str = ENDED) -> None:
        self._over = self._over or reason
        if self._listening is not None:
            self._listening.close(self._over)
        for relay in list(self._relays):
            relay.cancel(BackendUnavailable(self._over))
        self._ended(self)

    def stop_idle(self) -> None:
        """Whoever only waits for changes of lists does not keep the server running for long."""
        listening = self._listening
        until = self._used_at + self._backend.idle_stop
        if listening is not None and not listening.followed and not self._relays and until <= self._ambient.now():
            listening.stop()

    def _initialize(self, frame: Frame) -> Frame:
        params = frames.members(frame.get("params"))
        declared = params.get("capabilities")
        capabilities = frames.raw(tasks.undeclared(declared))
        self._caller = self._caller._replace(capabilities=capabilities)
        self._envelope = Envelope(capabilities, params.get("clientInfo"))
        discovered = self._bridge.offer.to(capabilities).modern.discovered or {}
        served = frames.members(discovered.get("capabilities"))
        lists = [
            key
            for key, kind in ANNOUNCED.items()
            if bytes(frames.members(served.get(kind.capability)).get("listChanged", b"")) == b"true"
        ]
        self._listening = Listening(self._backend, self._caller, self._envelope, lists, self._listener)
        return legacized.greeting(frame, self._backend.name, discovered)

    def _set_level(self, frame: Frame) -> Frame:
        """Kept, and said with each request from now on."""
        level = frames.text(frames.members(frame.get("params")).get("level"))
        if level not in LEVELS:
            return frames.failure(frame["id"], InvalidParameters('"level" is none that is known'))
        self._level = level
        return frames.result(frame["id"], {})

    async def _follow(self, frame: Frame, *, begins: bool) -> AsyncIterator[Frame]:
        uri = frames.text(frames.members(frame.get("params")).get("uri"))
        listening = self._listening
        if uri is None or listening is None:
            raise InvalidParameters('"uri" must be a string')
        if not begins:
            await listening.leave(uri)
        elif len(listening.followed) >= URIS and uri not in listening.followed:
            raise InvalidParameters(f"no more than {URIS} resources can be followed")
        else:
            await listening.follow(uri)
        yield frames.result(frame["id"], {})

    async def _relay(self, relay: "_Relay", frame: Frame) -> AsyncIterator[Frame]:
        method = frames.text(frame["method"])
        more: Frame = {}
        try:
            for _ in range(1 + ROUNDS):
                response: Frame = {}
                session = relay.session
                if session is None or not self._bridge.retired:  # Else it goes on where it was begun, or nowhere.
                    session = await self._backend.join(self._caller)
                async for told in relay.begin(session, self._envelope.around(frame, self._level, more)):
                    if "method" in told:
                        yield told
                    else:
                        response = told
                if "result" not in response:
                    yield legacized.error(response, method)
                    return
                result = frames.members(response["result"])
                kind = frames.text(result.get("resultType", COMPLETE))
                if kind == "complete":
                    yield legacized.result(response, result, method)
                    return
                if kind != "input_required":
                    raise BackendUnavailable(f"the server {self._backend.name} answered as this client cannot read it")
                waiting = self._questions(relay, method, result)
                more = {"requestState": result["requestState"].copy()} if "requestState" in result else {}
                response, result = {}, {}  # They may be large, and people take their time.
                asked = sum(frames.weight(one.asked) for one in waiting.values())
                self._weigh(relay, asked + frames.weight(more))
                for question in waiting.values():
                    yield question.asked
                given = {key: _answer(one.asked, await one.answer) for key, one in waiting.items()}
                if given:
                    more["inputResponses"] = frames.raw(given)
                waiting, given = {}, {}
                self._weigh(relay, frames.weight(more))
            raise BackendUnavailable(f"the server {self._backend.name} asks without end")
        finally:
            self._relays.discard(relay)
            self._caller.unread.suspended.release(relay)
            for number in relay.asked:
                self._asked.pop(number, None)

    def _weigh(self, relay: "_Relay", weight: int) -> None:
        """What has been asked and answered in the course of it, until the server has answered for good."""
        relay.weight = weight
        error = TooMuchUnderWay("what servers ask this client, and it has answered, is too large together")
        self._caller.unread.suspended.keep(relay, weight, lambda: relay.cancel(error))

    def _questions(self, relay: "_Relay", method: str | None, result: Frame) -> dict[str, "_Question"]:
        """What is to be asked of the client. Raises BackendUnavailable for what must not be."""
        wanted = frames.members(result.get("inputRequests"))
        if method not in questions.ASKING or len(wanted) > QUESTIONS:
            raise BackendUnavailable(f"the server {self._backend.name} asks where it must not, or too much at once")
        found: dict[str, _Question] = {}
        for key, member in wanted.items():
            question = frames.members(member)
            about, params = frames.text(question.get("method")), frames.members(question.get("params"))
            if not questions.may_be_asked(self._caller.capabilities, about, params):
                raise BackendUnavailable(f"the server {self._backend.name} needs what this client does not offer")
            self._last += 1
            asked = frames.request(self._last, about or "", params)
            answer = relay.ask(self._last)
            self._asked[self._last] = relay, answer
            found[key] = _Question(asked, answer)
        return found


class _Question(NamedTuple):
    asked: Frame
    answer: asyncio.Future[Frame]


class _Relay:
    """One request of the client's, over all rounds at the server."""

    def __init__(self, request_id: msgspec.Raw) -> None:
        self.asked: list[int] = []
        self.weight = 0
        self.session: ModernSession | None = None  # where it was asked last
        self._request_id = frames.identifier(request_id)
        self._answers: AsyncIterator[Frame] | None = None
        self._questions: list[asyncio.Future[Frame]] = []
        self._error: GatewayError | None = None

    def answers_to(self, request_id: msgspec.Raw) -> bool:
        return frames.identifier(request_id) == self._request_id

    def begin(self, session: ModernSession, frame: Frame) -> AsyncIterator[Frame]:
        if self._error is not None:
            raise self._error
        self.session, self._answers = session, session.request(frame)
        return self._answers

    def ask(self, number: int) -> asyncio.Future[Frame]:
        self.asked.append(number)
        self._questions.append(asyncio.get_running_loop().create_future())
        return self._questions[-1]

    def cancel(self, error: GatewayError) -> None:
        """Whoever reads it gets ``error``, and the server may stop."""
        self._error = error
        if self.session is not None:
            self.session.cancel(self._answers, error)
        for question in self._questions:
            if not question.done():
                question.set_exception(error)
                question.exception()  # Whether anybody waits for this one or not.


def _answer(asked: Frame, answer: Frame) -> msgspec.Raw:
    """As it stands in `inputResponses`, which have no errors."""
    if "result" in answer:
        return answer["result"]
    if frames.text(asked["method"]) == "elicitation/create":
        return frames.raw({"action": "cancel"})
    raise BackendUnavailable(f"the client did not answer {frames.text(asked['method'])}")


async def _reply(frame: Frame) -> AsyncIterator[Frame]:
    yield frame
