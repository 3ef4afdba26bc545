"""Tools as a backend lists them: name and hints are read, the definition stays raw."""

from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec

from ..errors import InvalidParameters
from . import frames
from .frames import Frame

NAME = frozenset({"name"})
# Whether a tool can be called as a task, or only as one (2025-11-25, experimental).
EXECUTION = b'"execution"'


class Tool(NamedTuple):
    """``title``, ``description`` and the hints are what the server says of the tool itself."""

    name: str
    read_only: bool
    definition: msgspec.Raw
    destructive: bool = False
    title: str = ""
    description: str = ""


class _Annotations(msgspec.Struct):
    readOnlyHint: bool = False  # noqa: N815
    destructiveHint: bool = True  # noqa: N815
    title: str | None = None


class _Definition(msgspec.Struct):
    name: str
    title: str | None = None
    description: str | None = None
    annotations: _Annotations | None = None


_definition = msgspec.json.Decoder(_Definition)
_definitions = msgspec.json.Decoder(list[msgspec.Raw])


def listed(result: Frame) -> list[Tool]:
    """The tools of a tools/list result; one without a name is left out, an odd hint counts as none."""
    return [tool for tool in map(read, _raw(result)) if tool is not None]


def read(definition: msgspec.Raw) -> Tool | None:
    """None of one without a name; an odd hint counts as none."""
    try:
        about = _definition.decode(definition)
    except (msgspec.DecodeError, UnicodeDecodeError):
        name = frames.text(frames.members(definition).get("name"))
        return None if name is None else Tool(name, False, definition)
    hints = about.annotations or _Annotations()
    return Tool(
        about.name,
        hints.readOnlyHint,
        definition,
        destructive=hints.destructiveHint and not hints.readOnlyHint,
        title=about.title or hints.title or "",
        description=about.description or "",
    )


def filtered(frame: Frame, keep: Callable[[Tool], bool]) -> Frame:
    """The answer to tools/list with only the tools to ``keep``, each as it came; an error untouched."""
    if "result" not in frame:
        return frame
    result = frames.members(frame["result"])
    result["tools"] = frames.raw([tool.definition for tool in listed(result) if keep(tool)])
    return {**frame, "result": frames.raw(result)}


def renamed(tool: Tool, name: str) -> msgspec.Raw:
    if name == tool.name:
        return tool.definition
    return frames.raw({**frames.members(tool.definition), "name": name})


def plain(tool: Tool) -> msgspec.Raw | None:
    """The definition where there are no tasks; None of a tool that runs only as one."""
    if EXECUTION not in bytes(tool.definition):
        return tool.definition
    definition = frames.members(tool.definition)
    support = frames.members(definition.pop("execution", None)).get("taskSupport")
    return None if frames.text(support) == "required" else frames.raw(definition)


def called(frame: Frame) -> tuple[Frame, str]:
    """The parameters of a tools/call and the tool's name."""
    params = frames.members(frame.get("params"))
    return params, named(params)


def named(params: Frame) -> str:
    """The tool that these parameters of a tools/call are for."""
    name = frames.text(params.get("name"))
    if name is None or frames.look_alike(params, NAME):
        raise InvalidParameters('"name" must be a string, and there once')
    return name


def error(to: msgspec.Raw, reason: str) -> Frame:
    """A tool's result that says what went wrong: the model reads it, and can tell the person."""
    return frames.result(to, failed(reason))


def failed(reason: str) -> dict[str, Any]:
    return {"content": [{"type": "text", "text": reason}], "isError": True}


def _raw(result: Frame) -> list[msgspec.Raw]:
    try:
        return _definitions.decode(result["tools"])
    except (KeyError, msgspec.DecodeError):
        return []
