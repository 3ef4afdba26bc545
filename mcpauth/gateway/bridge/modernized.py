"""What a server of the older era says, as modern clients are told it; and their requests, as it is asked."""

from typing import Any

import msgspec

from ...errors import GatewayError
from .. import frames
from ..eras import CAPABILITIES, CLIENT, LOG_LEVEL, MODERN, SERVER, VERSION
from ..frames import Frame
from . import tasks
from .request_state import OWN

# Of the results of these, clients are told how long they may be kept. We cannot know: not at all.
CACHED = {
    "server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read",
}  # fmt: skip
UNCACHED = {"ttlMs": frames.raw(0), "cacheScope": frames.raw("private")}
COMPLETE = frames.raw("complete")

RESOURCE_NOT_FOUND, URL_ELICITATION_REQUIRED = -32002, -32042
UNKNOWN_METHOD, INVALID_PARAMETERS, SERVER_ERROR = -32601, -32602, -32000
# The protocol's own since 2026-07-28. What a server of the older era meant by them is not what clients would think.
RESERVED = range(-32099, -32019)

ENVELOPE = {VERSION, CAPABILITIES, CLIENT, LOG_LEVEL}


class MissingCapability(GatewayError):
    """The client would have to declare more of itself (JSON-RPC -32021)."""

    code = -32021

    def __init__(self, message: str, required: Any) -> None:
        super().__init__(message)
        self.data = {"requiredCapabilities": required}


def discovered(to: msgspec.Raw, greeting: Frame) -> Frame:
    """The answer to server/discover, of what a server said to initialize."""
    about: dict[str, Any] = {
        "supportedVersions": list(MODERN),
        "capabilities": {
            key: value for key, value in tasks.undeclared(greeting.get("capabilities")).items() if key != "logging"
        },
    }
    if "instructions" in greeting:
        about["instructions"] = greeting["instructions"]
    return result(frames.result(to, about), "server/discover", greeting.get("serverInfo"))


def result(frame: Frame, method: str, server: msgspec.Raw | None) -> Frame:
    given = {**frames.members(frame["result"]), "resultType": COMPLETE}
    if method in CACHED:
        given |= UNCACHED
    if method == "tools/list":
        given = tasks.unlisted(given)
    if server is not None:
        given["_meta"] = frames.raw({**frames.members(given.get("_meta")), SERVER: server})
    return {**frame, "result": frames.raw(given)}


def error(frame: Frame, method: str) -> Frame:
    code = frames.error_code(frame)
    if code == UNKNOWN_METHOD and method == "tools/call":
        code = INVALID_PARAMETERS  # It is that tool which cannot be called, or only as a task.
    elif code in (RESOURCE_NOT_FOUND, URL_ELICITATION_REQUIRED):
        code = INVALID_PARAMETERS
    elif code in RESERVED:
        code = SERVER_ERROR
    else:
        return frame
    return {**frame, "error": frames.raw({**frames.members(frame["error"]), "code": code})}


def request(number: int, frame: Frame) -> Frame:
    """Without what only this revision has; under a number, which is the progress token where there is one."""
    sent = {**frame, "id": frames.raw(number)}
    if "params" not in frame:
        return sent
    params = tasks.unasked(frames.text(frame["method"]), frames.members(frame["params"]))
    meta = {key: value for key, value in frames.members(params.get("_meta")).items() if key not in ENVELOPE}
    if "progressToken" in meta:
        meta["progressToken"] = frames.raw(number)
    asked = {key: value for key, value in params.items() if key not in OWN}
    return {**sent, "params": frames.raw({**asked, "_meta": meta} if meta else asked)}
