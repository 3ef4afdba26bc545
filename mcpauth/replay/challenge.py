"""The WWW-Authenticate header as the clients read it (RFC 9110 §11.6.1, RFC 9728 §5.1)."""

import re

from ..errors import StepFailed
from .wire import Exchange

PARAMETER = re.compile(r'(\w+)="([^"]*)"')
FIX = "Let the header WWW-Authenticate through as mcpauth sends it: clients find everything else by it."


def read(exchange: Exchange) -> dict[str, str]:
    """Its parameters. Strict as the strictest: one header, `Bearer` in that case, quoted values. Raises StepFailed."""
    given = exchange.headers.getall("WWW-Authenticate", [])
    if len(given) != 1:
        raise StepFailed(f"{exchange} has {len(given)} WWW-Authenticate headers, not one", FIX)
    scheme, _, rest = given[0].partition(" ")
    if scheme != "Bearer" or not rest.strip():
        raise StepFailed(f"{exchange}: the challenge does not begin with `Bearer ` and parameters", FIX)
    if not given[0].isascii():
        raise StepFailed(f"{exchange}: the challenge is not ASCII", FIX)
    return dict(PARAMETER.findall(rest))
