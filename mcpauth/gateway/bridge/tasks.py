"""Tasks of 2025-11-25, and extensions: no bridge carries them, so neither side hears that the other has them.

MCP Apps are the exception: tools and resources like any other, and the same in either era.
"""

from typing import Any

import msgspec

from .. import frames, tools
from ..frames import Frame

# Of what clients and servers declare.
CAPABILITIES = {"tasks", "extensions"}
# `tasks/get` and its neighbours: in each era they mean something else.
METHODS = "tasks/"
RELATED = "io.modelcontextprotocol/related-task"
# The extension of MCP Apps (SEP-1865).
APPS = "io.modelcontextprotocol/ui"


def undeclared(capabilities: msgspec.Raw | None) -> Frame:
    """What is declared, less what is not carried."""
    declared = frames.members(capabilities)
    apps = frames.members(declared.get("extensions")).get(APPS)
    carried = {key: value for key, value in declared.items() if key not in CAPABILITIES}
    return carried if apps is None else {**carried, "extensions": frames.raw({APPS: apps})}


def unasked(method: str | None, params: Frame) -> Frame:
    """The parameters of a request that is no task: who does not declare tasks answers it like any other."""
    left = {key: value for key, value in params.items() if key != "task" or method != "tools/call"}
    meta = frames.members(left.get("_meta"))
    if meta.pop(RELATED, None) is not None:
        left["_meta"] = frames.raw(meta)
    return left


def unlisted(result: Frame) -> Frame:
    """A tools/list result with the tools that can be called, as the other era has them."""
    if tools.EXECUTION not in bytes(result.get("tools", b"")):
        return result
    called: list[Any] = [plain for tool in tools.listed(result) if (plain := tools.plain(tool)) is not None]
    return {**result, "tools": frames.raw(called)}
