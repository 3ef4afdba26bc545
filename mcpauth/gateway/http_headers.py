"""The headers that the owner wants sent to a remote server, with ``${NAME}`` taken from the environment."""

import re
from collections.abc import Mapping

from ..errors import SettingsError
from .configuration import FILE

# Some clients write ${env:NAME}.
REFERENCE = re.compile(r"\$\{(?:env:)?([^{}]*)\}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")

# How a message is framed is the connection's business.
FRAMING = {"connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"}
OURS = "MCP_OAUTH_"


def expand(server: str, headers: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Raises SettingsError, naming the header or the variable and never a value."""
    return {name: _expand(f"{FILE}: mcpServers.{server}.headers", name, headers[name], environ) for name in headers}


def _expand(where: str, name: str, value: str, environ: Mapping[str, str]) -> str:
    if not NAME.fullmatch(name):
        raise SettingsError(f"{where}: {name!a} is no name of a header")
    where = f"{where}.{name}"
    if name.lower() in FRAMING:
        raise SettingsError(f"{where}: mcpauth sets this header itself; remove it")

    def of_environment(reference: re.Match[str]) -> str:
        variable = reference[1]
        if not VARIABLE.fullmatch(variable):
            raise SettingsError(f"{where}: ${{...}} must hold the name of an environment variable")
        if variable.startswith(OURS):
            raise SettingsError(f"{where}: {variable} is a setting of mcpauth's; no server gets those")
        if variable not in environ:
            raise SettingsError(f"{where}: {variable} is not set in the environment that mcpauth was started with")
        return environ[variable]

    expanded = REFERENCE.sub(of_environment, value).strip()
    if CONTROL.search(expanded):
        raise SettingsError(f"{where}: the value has a line break or another control character in it")
    return expanded
