"""Which URIs a resource template could stand for (RFC 6570), roughly: any text may take an expression's place.

Without regular expressions: a template is a server's word, and could be one that never ends to match.
"""

import re

EXPRESSION = re.compile(r"\{[^{}]*\}")
SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")

# A longer URI is no template's.
LONGEST = 8192


def claims(template: str) -> bool:
    """Whether it says whose URIs it stands for: one that begins with an expression could be anybody's."""
    return SCHEME.match(template) is not None


def matches(template: str, uri: str) -> bool:
    first, *rest = EXPRESSION.split(template)
    if len(uri) > LONGEST or not uri.startswith(first):
        return False
    if not rest:
        return uri == first
    *between, last = rest
    at = len(first)
    for literal in between:
        at = uri.find(literal, at)
        if at < 0:
            return False
        at += len(literal)
    return len(uri) - at >= len(last) and uri.endswith(last)
