"""`/mcp/{backend}`, legacy era: the backend as it is, less what the principal may not use.

The scope `mcp:read` means tools that only read. What else a backend has cannot be judged: its lists are shown
empty (clients ask for them unprompted, and a refusal would send the person to the consent page), reading a
resource or a prompt needs `mcp`.
"""

from ..errors import NotAllowed, UnknownMethod
from ..models.principal import Principal
from . import frames, tools
from .answer import Answer, Replies
from .catalogue import Catalogue
from .frames import Frame
from .handshake import LASTING, SET_LEVEL, SUBSCRIBE
from .listing import KINDS
from .log_message import LEVELS
from .mcp_session import McpSession
from .served import Served

# What a client may ask before the backend is needed, and what is then told from memory.
BY_METHOD = {kind.method: kind for kind in KINDS}

HARMLESS = {"initialize", "ping", "logging/setLevel"}
EMPTY = {
    "prompts/list": "prompts",
    "resources/list": "resources",
    "resources/templates/list": "resourceTemplates",
}


class Single:
    def __init__(self, served: Served, catalogue: Catalogue) -> None:
        self.name = served.name
        self._served, self._catalogue = served, catalogue

    def admit(self, principal: Principal) -> None:
        """Raises what stands against any use at all."""
        if not principal.ticked(self.name):
            raise NotAllowed(
                f"the server {self.name} was not allowed when this client was connected; "
                "connect the client again and allow it"
            )
        self._served.require(principal, read_only=True)

    async def initialize(self, session: McpSession, frame: Frame) -> Frame:
        """Of a backend that costs a process, the answer that it would give; it is started when it is needed."""
        if self._served.starts_processes:
            await session.ready(self._served)
            known = self._catalogue.greeting(self.name, frame)
            if known is not None:
                return frames.result(frame["id"], known)
        answer = await session.greet(self._served)
        if "result" in answer:
            self._catalogue.greeted(self.name, frame, frames.members(answer["result"]))
        return answer

    async def request(self, principal: Principal, session: McpSession, method: str, frame: Frame) -> Answer:
        if self._served.starts_processes and not session.linked(self.name):
            answer = await self._from_memory(principal, session, method, frame)
            if answer is not None:
                return Answer(reply=frames.encode(answer))
        if self._served.unrestricted(principal):
            return self._relay(session, method, frame)
        if method == "tools/list":
            return Answer(replies=Replies(session, self._served, frame, lambda answer: self._list(principal, answer)))
        if method == "tools/call":
            return await self._call(principal, session, frame)
        if method not in HARMLESS and principal.scope_needed(self.name, read_only=False) is not None:
            if method in EMPTY:
                return Answer(reply=frames.encode(frames.result(frame["id"], {EMPTY[method]: []})))
            self._served.require(principal, read_only=False)
        return self._relay(session, method, frame)

    def _relay(self, session: McpSession, method: str, frame: Frame) -> Answer:
        if method not in LASTING:
            return Answer(replies=Replies(session, self._served, frame))
        params = frames.members(frame.get("params"))
        uri, level = frames.text(params.get("uri")), frames.text(params.get("level"))
        if method == SUBSCRIBE and uri is not None:
            session.handshake.make_room(uri)

        def answered(answer: Frame) -> Frame:
            if "error" not in answer:
                if level in LEVELS and method == SET_LEVEL:
                    session.wants_logs(level)
                elif uri is not None and method == SUBSCRIBE:
                    session.follow(uri, self.name)
                elif uri is not None:
                    session.leave(uri)
            return answer

        return Answer(replies=Replies(session, self._served, {**frame, "params": frames.raw(params)}, answered))

    async def _from_memory(self, principal: Principal, session: McpSession, method: str, frame: Frame) -> Frame | None:
        """The answer to what is no reason to start a process; None when the backend itself must answer."""
        if method == "ping":
            return frames.result(frame["id"], {})
        params = frames.members(frame.get("params"))
        level = frames.text(params.get("level"))
        if method == SET_LEVEL and level in LEVELS and "logging" in session.handshake.capabilities:
            session.wants_logs(level)
            return frames.result(frame["id"], {})
        kind = BY_METHOD.get(method)
        if kind is None or "cursor" in params:
            return None
        offer = await self._catalogue.remembered(self.name)
        if offer is None or session.linked(self.name):
            return None
        offer = offer.to(session.handshake.declared)
        listing = offer.listing if offer.greeting is not None else offer.without_tasks
        if not listing.declares(kind.capability):
            return frames.failure(frame["id"], UnknownMethod(f"the server {self.name} has no {kind.capability}"))
        return frames.result(frame["id"], {kind.member: self._served.listed(principal, listing, kind)})

    def _list(self, principal: Principal, answer: Frame) -> Frame:
        return tools.filtered(answer, lambda tool: self._served.lists(principal, tool))

    async def _call(self, principal: Principal, session: McpSession, frame: Frame) -> Answer:
        params, name = tools.called(frame)
        read_only = False
        if principal.scope_needed(self.name, read_only=False) is not None:
            tool = await self._catalogue.find(self.name, name)
            read_only = tool is not None and tool.read_only
        refusal = self._served.refusal(principal, name, read_only=read_only)
        if refusal is not None:
            return Answer(reply=frames.encode(tools.error(frame["id"], refusal)))
        # Encoded anew: of a name given twice, the backend gets the one that was judged.
        return Answer(replies=Replies(session, self._served, {**frame, "params": frames.raw(params)}))
