"""In which line of a JSON text something is, so that a mistake can be found by whoever made it."""

import json
import re
from collections.abc import Iterable

_decoder = json.JSONDecoder()
_gap = re.compile(r"[\s,:]*")
_token = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:]')


def line_of(text: str, path: Iterable[object]) -> int:
    """Of the member that ``path`` leads to, as far as there is one. The text must be JSON."""
    at = found = _past(text, 0)
    for key in path:
        if not (place := _member(text, at, key)):
            break
        found, at = place
    return text.count("\n", 0, found) + 1


def repeated(text: str) -> tuple[int, str] | None:
    """The line and the name of the first member that its object has already. The text must be JSON."""
    names: list[set[str]] = []  # of the objects and arrays that this is within
    last = ""
    for match in _token.finditer(text):
        if match[0] in "{[":
            names.append(set())
        elif match[0] in "}]":
            names.pop()
        elif match[0] == ":":
            name = json.loads(last)
            if name in names[-1]:
                return text.count("\n", 0, match.start()) + 1, name
            names[-1].add(name)
        else:
            last = match[0]
    return None


def _member(text: str, at: int, key: object) -> tuple[int, int] | None:
    """Where the member of the object or array at ``at`` begins, and where its value does."""
    if text[at] not in "{[":
        return None
    is_object, number = text[at] == "{", 0
    at = _past(text, at + 1)
    while text[at] not in "}]":
        begins = at
        name: object = number
        if is_object:
            name, at = _decoder.raw_decode(text, at)
            at = _past(text, at)
        if name == key:
            return begins, at
        _, at = _decoder.raw_decode(text, at)
        at, number = _past(text, at), number + 1
    return None


def _past(text: str, at: int) -> int:
    match = _gap.match(text, at)
    return at if match is None else match.end()
