"""Who calls an MCP endpoint, and what they may use there."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict


class Principal(BaseModel):
    """The live grant behind a bearer token.

    ``servers`` is what the person ticked at consent: backend name to the names of its tools, or to None
    for all of them; None in place of the mapping for everything there is and will be. ``paused``: the owner
    has said that nothing is to be done for it at the moment.
    """

    model_config = ConfigDict(frozen=True)

    subject: str
    client_id: str
    grant_id: str
    session_id: str
    scopes: frozenset[str]
    servers: Mapping[str, frozenset[str] | None] | None = None
    paused: bool = False

    def ticked(self, backend: str, tool: str | None = None) -> bool:
        """Whether the person allowed this backend (and this tool of it) on the consent page."""
        if self.servers is None:
            return True
        if backend not in self.servers:
            return False
        tools = self.servers[backend]
        return tools is None or tool is None or tool in tools

    def scope_needed(self, backend: str, *, read_only: bool) -> str | None:
        """The scope a new consent would have to grant first; None when what is held suffices."""
        if "mcp" in self.scopes or f"mcp:{backend}" in self.scopes:
            return None
        if read_only and "mcp:read" in self.scopes:
            return None
        return "mcp"

    def permits(self, backend: str, tool: str | None, *, read_only: bool) -> bool:
        """Whether ``tool`` of ``backend`` is listed for, and may be called by, this principal."""
        return self.ticked(backend, tool) and self.scope_needed(backend, read_only=read_only) is None
