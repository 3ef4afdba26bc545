"""`/mcp`, legacy era: all backends together."""

from collections.abc import Sequence

from ..errors import InvalidParameters, LegacyResourceNotFound, ToolRefused, UnknownMethod
from ..models.principal import Principal
from . import frames, log_message, tools
from .answer import Answer, Replies
from .eras import LEGACY, NEWEST_LEGACY
from .frames import Frame
from .mcp_session import McpSession
from .ourselves import ABOUT_US
from .served import Served
from .together import INSTRUCTIONS, LISTS, Together, text


class Merged:
    name = None

    def __init__(self, together: Together) -> None:
        self._together = together

    def admit(self, principal: Principal) -> None:
        """Every principal may ask; what it gets depends on each backend."""

    async def initialize(self, session: McpSession, frame: Frame) -> Frame:
        asked = frames.text(frames.members(frame.get("params")).get("protocolVersion"))
        return frames.result(
            frame["id"],
            {
                "protocolVersion": asked if asked in LEGACY else NEWEST_LEGACY,
                "capabilities": await self._together.capabilities(),
                "serverInfo": ABOUT_US,
                "instructions": INSTRUCTIONS,
            },
        )

    async def request(self, principal: Principal, session: McpSession, method: str, frame: Frame) -> Answer:
        params = frames.members(frame.get("params"))
        if method in LISTS:
            page = await self._together.page(principal, LISTS[method], params, session.handshake.declared)
            return _result(frame, page)
        match method:
            case "tools/call":
                return await self._call(principal, session, frame)
            case "prompts/get":
                served, name = await self._together.prompt(principal, text(params, "name"))
                return _ask(session, [served], frame, {**params, "name": frames.raw(name)})
            case "resources/read":
                return await self._read(principal, session, frame, params)
            case "resources/subscribe":
                return await self._subscribe(principal, session, frame, params)
            case "resources/unsubscribe":
                return await self._unsubscribe(session, frame, params)
            case "completion/complete":
                served, params = await self._together.reference(principal, params)
                return _ask(session, [served], frame, params)
            case "logging/setLevel":
                level = text(params, "level")
                if level not in log_message.LEVELS:
                    raise InvalidParameters('"level" is none of those that there are')
                await session.set_level(level, frame)
                return _result(frame, {})
            case "ping":
                return _result(frame, {})
        raise UnknownMethod("not offered here; a server's own address serves all it has")

    async def _call(self, principal: Principal, session: McpSession, frame: Frame) -> Answer:
        params, published = tools.called(frame)
        try:
            served, name = await self._together.tool(principal, published)
        except ToolRefused as error:
            return _whole(tools.error(frame["id"], error.message))
        params.pop("task", None)  # Nothing here declares tasks; who gets no answer to one could not ask for it.
        return _ask(session, [served], frame, {**params, "name": frames.raw(name)})

    async def _read(self, principal: Principal, session: McpSession, frame: Frame, params: Frame) -> Answer:
        uri = text(params, "uri")
        candidates = await self._together.resource(principal, uri, lambda served: _runs(session, served))

        def answered(answer: Frame) -> Frame:
            if "error" not in answer:
                self._together.found(principal, uri, replies.served)
            elif len(candidates) > 1:
                return frames.failure(frame["id"], LegacyResourceNotFound(uri))
            return answer

        replies = _replies(session, candidates, frame, params)
        replies.change = answered
        return Answer(replies=replies)

    async def _subscribe(self, principal: Principal, session: McpSession, frame: Frame, params: Frame) -> Answer:
        uri = text(params, "uri")
        candidates = await self._together.resource(principal, uri, lambda served: _runs(session, served))
        session.handshake.make_room(uri)

        def answered(answer: Frame) -> Frame:
            if "error" not in answer:
                session.follow(uri, replies.served.name)
            return answer

        replies = _replies(session, candidates, frame, params)
        replies.change = answered
        return Answer(replies=replies)

    async def _unsubscribe(self, session: McpSession, frame: Frame, params: Frame) -> Answer:
        served = self._together.served(session.leave(text(params, "uri")) or "")
        return _result(frame, {}) if served is None else _ask(session, [served], frame, params)


def _runs(session: McpSession, served: Served) -> bool:
    return not served.starts_processes or session.linked(served.name)


def _replies(session: McpSession, candidates: Sequence[Served], frame: Frame, params: Frame) -> Replies:
    # Encoded anew: of what is given twice, the backend gets what was judged.
    served, *others = candidates
    return Replies(session, served, {**frame, "params": frames.raw(params)}, others=others)


def _ask(session: McpSession, candidates: Sequence[Served], frame: Frame, params: Frame) -> Answer:
    return Answer(replies=_replies(session, candidates, frame, params))


def _result(frame: Frame, result: object) -> Answer:
    return _whole(frames.result(frame["id"], result))


def _whole(frame: Frame) -> Answer:
    return Answer(reply=frames.encode(frame))
