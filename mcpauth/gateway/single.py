"""`/mcp/{backend}`, legacy era: the backend as it is, less what the principal may not use.

The scope `mcp:read` means tools that only read. What else a backend has cannot be judged: its lists are shown
empty (clients ask for them unprompted, and a refusal would send the person to the consent page), reading a
resource or a prompt needs `mcp`.
"""

from ..errors import NotAllowed
from ..models.principal import Principal
from . import frames, tools
from .answer import Answer, Replies
from .catalogue import Catalogue
from .frames import Frame
from .mcp_session import McpSession
from .served import Served

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
        return await session.greet(self._served)

    async def request(self, principal: Principal, session: McpSession, method: str, frame: Frame) -> Answer:
        if self._served.unrestricted(principal):
            return Answer(replies=Replies(session, self._served, frame))
        if method == "tools/list":
            return Answer(replies=Replies(session, self._served, frame, lambda answer: self._list(principal, answer)))
        if method == "tools/call":
            return await self._call(principal, session, frame)
        if method not in HARMLESS and principal.scope_needed(self.name, read_only=False) is not None:
            if method in EMPTY:
                return Answer(reply=frames.encode(frames.result(frame["id"], {EMPTY[method]: []})))
            self._served.require(principal, read_only=False)
        return Answer(replies=Replies(session, self._served, frame))

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
