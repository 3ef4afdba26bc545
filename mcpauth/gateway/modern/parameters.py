"""`Mcp-Param-*`: the arguments that a tool's schema wants repeated in a header (`x-mcp-header`)."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from ...errors import HeaderMismatch
from .. import frames
from ..frames import Frame
from .headers import Headers, encoded

ANNOTATION = "x-mcp-header"
PREFIX = "Mcp-Param-"
TYPES = {"string", "integer", "boolean"}

TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")  # RFC 9110 §5.6.2
# Integers are compared as numbers. One of more digits is the same as none: nobody could tell, and it would take long.
DIGITS = 1000
DECIMAL = re.compile(rf"(?P<whole>-?[0-9]{{1,{DIGITS}}})(\.0{{1,{DIGITS}}})?")

Path = tuple[str, ...]

# Where else in a schema another schema stands. An annotation there makes the whole of them void.
ONE = {
    "items", "contains", "unevaluatedItems", "additionalProperties", "propertyNames", "unevaluatedProperties",
    "not", "if", "then", "else", "contentSchema",
}  # fmt: skip
SEVERAL = {"allOf", "anyOf", "oneOf", "prefixItems"}
NAMED = {"patternProperties", "dependentSchemas", "$defs", "definitions"}


class Parameter(NamedTuple):
    """An argument, by its path, and its header."""

    path: Path
    header: str
    is_integer: bool


ByTool = Mapping[str, tuple[Parameter, ...]]


def declared(definition: msgspec.Raw) -> tuple[Parameter, ...]:
    """Those of a tool. None of a schema that breaks the rules: clients do not use such a tool's headers either."""
    if ANNOTATION.encode() not in bytes(definition):
        return ()
    try:
        schema = frames.value(frames.members(definition)["inputSchema"])
    except (KeyError, msgspec.DecodeError, RecursionError):
        return ()
    found: dict[str, Parameter] = {}
    for path, part in _parts(schema):
        if ANNOTATION not in part:
            continue
        name, kind = part[ANNOTATION], part.get("type")
        if not path or not isinstance(name, str) or not TOKEN.fullmatch(name) or name.lower() in found:
            return ()
        if not isinstance(kind, str) or kind not in TYPES:
            return ()
        found[name.lower()] = Parameter(path, PREFIX + name, kind == "integer")
    return tuple(found.values())


def check(parameters: tuple[Parameter, ...], headers: Headers, params: Frame) -> None:
    """Argument and header are both there and say the same, or neither is. Raises HeaderMismatch.

    Also of arguments that cannot be read: a server might read them after all, and see what no header says.
    """
    if not parameters:
        return
    arguments = _arguments(params)
    if arguments is None:
        raise HeaderMismatch("the arguments cannot be compared with headers: a number is too long, or all too nested")
    for parameter in parameters:
        given = headers.decoded(parameter.header)
        value = _at(arguments, parameter.path)
        if given is None and value is None:
            continue
        if given is None or value is None or not _same(parameter, value, given):
            raise HeaderMismatch(f'{parameter.header} is not the argument "{".".join(parameter.path)}"')


def repeating(tools: ByTool, frame: Frame) -> dict[str, str]:
    """The headers, in lower case, that a request is sent with to a server whose ``tools`` these are."""
    if not tools or frames.text(frame["method"]) != "tools/call":
        return {}
    params = frames.members(frame.get("params"))
    parameters = tools.get(frames.text(params.get("name")) or "")
    if not parameters:
        return {}
    arguments = _arguments(params)
    found = {one.header.lower(): _text(one, _at(arguments, one.path)) for one in parameters}
    return {name: encoded(text) for name, text in found.items() if text is not None}


def _arguments(params: Frame) -> Any:
    """Decoded; None of what cannot be."""
    try:
        return frames.value(params["arguments"]) if "arguments" in params else {}
    except (msgspec.DecodeError, RecursionError):
        return None


def _parts(schema: Any) -> Iterator[tuple[Path | None, dict[str, Any]]]:
    """Every schema in this one, with its path where that leads through properties alone."""
    waiting: list[tuple[Path | None, Any]] = [((), schema)]
    while waiting:
        path, part = waiting.pop()
        if not isinstance(part, dict):
            continue
        yield path, part
        for keyword, value in part.items():
            if keyword == "properties" and isinstance(value, dict):
                waiting += [(None if path is None else (*path, name), inner) for name, inner in value.items()]
            elif keyword in ONE:
                waiting.append((None, value))
            elif keyword in SEVERAL and isinstance(value, list):
                waiting += [(None, inner) for inner in value]
            elif keyword in NAMED and isinstance(value, dict):
                waiting += [(None, inner) for inner in value.values()]


def _at(arguments: Any, path: Path) -> Any:
    """The value at the path; None where there is none, or one that no header can carry."""
    for key in path:
        arguments = arguments.get(key) if isinstance(arguments, dict) else None
    return None if isinstance(arguments, dict | list) else arguments


def _text(parameter: Parameter, value: bool | str | float | None) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return str(int(value) if parameter.is_integer and value == int(value) else value)
    except (ValueError, OverflowError):  # Longer than Python converts.
        return None


def _same(parameter: Parameter, value: Any, given: str) -> bool:
    if isinstance(value, bool):
        return given == ("true" if value else "false")
    if isinstance(value, str):
        return given == value
    if parameter.is_integer and value == int(value):
        number = DECIMAL.fullmatch(given)
        return number is not None and int(number["whole"]) == int(value)
    return given == str(value)
