"""What can be told of a message that is no JSON, or is nested too deeply: the members of its outer object."""

import re
from itertools import islice

# So many bytes are looked at, and so many parts.
LENGTH, PARTS = 256 * 1024, 10_000

_PART = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL)
_ANSWERS = frozenset({b'"result"', b'"error"'})


def answer(line: bytes) -> bytes | None:
    """The id of an answer, empty where it has none that can be told; None of what is no answer."""
    names: set[bytes] = set()
    request_id = last = name = b""
    depth = 0
    for found in islice(_PART.finditer(line, 0, LENGTH), PARTS):
        part = found[0]
        if depth == 1 and part == b":":
            name = last
            names.add(name)
        elif depth == 1 and last == b":" and name == b'"id"':
            request_id = part
        depth += (part in (b"{", b"[")) - (part in (b"}", b"]"))
        last = part
        if depth == 0 or b'"method"' in names or (request_id and names & _ANSWERS):
            break
    if b'"method"' in names or not names & _ANSWERS:
        return None
    return request_id if request_id[:1] in b'"-0123456789' else b""
