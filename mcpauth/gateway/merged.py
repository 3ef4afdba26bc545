"""`/mcp`, legacy era: the tools of all backends in one list. Prompts and resources are not merged yet."""

from collections.abc import Mapping

import msgspec

from .. import __version__
from ..errors import InvalidParameters, UnknownMethod
from ..models.principal import Principal
from . import frames, tools
from .answer import Answer, Replies
from .catalogue import Catalogue
from .eras import LEGACY, NEWEST_LEGACY
from .frames import Frame
from .mcp_session import McpSession
from .names import PublishedNames
from .served import Served
from .tools import Tool

INSTRUCTIONS = (
    "These tools come from several MCP servers on one machine. A name of the form server__tool says which server "
    "the tool belongs to; the list may change while you are connected."
)


class Merged:
    name = None

    def __init__(self, backends: Mapping[str, Served], catalogue: Catalogue, names: PublishedNames) -> None:
        self._backends, self._catalogue, self._names = backends, catalogue, names

    def admit(self, principal: Principal) -> None:
        """Every principal may ask; what it gets depends on each backend."""

    async def initialize(self, session: McpSession, frame: Frame) -> Frame:
        asked = frames.text(frames.members(frame.get("params")).get("protocolVersion"))
        return frames.result(
            frame["id"],
            {
                "protocolVersion": asked if asked in LEGACY else NEWEST_LEGACY,
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "mcpauth", "version": __version__},
                "instructions": INSTRUCTIONS,
            },
        )

    async def request(self, principal: Principal, session: McpSession, method: str, frame: Frame) -> Answer:
        if method == "tools/call":
            return await self._call(principal, session, frame)
        if method == "tools/list":
            return _whole(frames.result(frame["id"], {"tools": await self._list(principal)}))
        if method == "ping":
            return _whole(frames.result(frame["id"], {}))
        raise UnknownMethod("not offered here: /mcp serves tools; a server's own address serves all it has")

    async def _list(self, principal: Principal) -> list[msgspec.Raw]:
        return [
            tools.renamed(tool, name)
            for name, backend, tool in await self._offered()
            if self._backends[backend].lists(principal, tool)
        ]

    async def _offered(self) -> list[tuple[str, str, Tool]]:
        """Every tool there is: its published name, the backend, and what the backend says of it."""
        offers = await self._catalogue.offers()
        offered = [
            (backend, tool)
            for backend, offer in offers.items()
            if offer.legacy is not None
            for tool in offer.legacy.tools.values()
        ]
        # All of them get their names now, in one order, whoever asks first and whatever they may see.
        names = await self._names.publish((backend, tool.name) for backend, tool in offered)
        return [(name, backend, tool) for name, (backend, tool) in zip(names, offered, strict=True)]

    async def _call(self, principal: Principal, session: McpSession, frame: Frame) -> Answer:
        params, published = tools.called(frame)
        owner = self._names.owner(published)
        if owner is None:
            await self._offered()  # The client may call before anybody has asked for a list.
            owner = self._names.owner(published)
        if owner is None:
            raise InvalidParameters("unknown tool; list the tools again")
        backend, name = owner
        served = self._backends.get(backend)
        if served is None:
            return _whole(tools.error(frame["id"], f"The server {backend}, which had this tool, is gone."))
        read_only = False
        if principal.scope_needed(backend, read_only=False) is not None:
            tool = await self._catalogue.find(backend, name)
            read_only = tool is not None and tool.read_only
        refusal = served.refusal(principal, name, read_only=read_only)
        if refusal is not None:
            return _whole(tools.error(frame["id"], refusal))
        params["name"] = frames.raw(name)
        return Answer(replies=Replies(session, served, {**frame, "params": frames.raw(params)}))


def _whole(frame: Frame) -> Answer:
    return Answer(reply=frames.encode(frame))
