"""The headers that the owner wants sent to a remote server, with ``${NAME}`` taken from the environment."""

import re
from collections.abc import Mapping

from ..errors import SettingsError

# Some clients write ${env:NAME}.
REFERENCE = re.compile(r"\$\{(?:env:)?([^{}]*)\}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# How a message is framed is the connection's business.
FRAMING = {"connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"}
OURS = ("MCP_OAUTH_", "OAUTH_")


class HeaderError(SettingsError):
    """A mistake in the header ``name`` of a server."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(what)
        self.name, self.what = name, what


def expand(headers: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Raises HeaderError, naming the variable and never a value."""
    return {name: _expand(name, value, environ) for name, value in headers.items()}


def _expand(name: str, value: str, environ: Mapping[str, str]) -> str:
    if not NAME.fullmatch(name):
        raise HeaderError(name, f"{name!a} is no name of a header")
    if name.lower() in FRAMING:
        raise HeaderError(name, "mcpauth sets this header itself; remove it")

    def of_environment(reference: re.Match[str]) -> str:
        variable = reference[1]
        if not VARIABLE.fullmatch(variable):
            raise HeaderError(name, "${...} must hold the name of an environment variable")
        if variable.startswith(OURS):
            raise HeaderError(name, f"{variable} is a setting of mcpauth's; no server gets those")
        if variable not in environ:
            missing = f"{variable} is not set in the environment that mcpauth was started with"
            raise HeaderError(name, f"{missing}: put {variable}=... into .env, and start mcpauth again")
        return environ[variable]

    expanded = REFERENCE.sub(of_environment, value).strip()
    if CONTROL.search(expanded):
        raise HeaderError(name, "the value has a line break or another control character in it")
    try:
        expanded.encode()
    except UnicodeEncodeError:
        raise HeaderError(name, "the value is no UTF-8") from None
    return expanded
