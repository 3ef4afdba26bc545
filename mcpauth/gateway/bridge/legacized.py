"""What a server of the modern era says, as legacy clients are told it; and their requests, as it is asked."""

from typing import Any

import msgspec

from ... import __version__
from .. import frames
from ..eras import CAPABILITIES, CLIENT, LEGACY, LOG_LEVEL, MODERN, NEWEST_LEGACY, SERVER, SUBSCRIPTION, VERSION
from ..frames import Frame
from . import tasks

# Results have these for modern clients. Some older ones refuse an empty result that is not empty.
MODERN_ONLY = ("resultType", "ttlMs", "cacheScope")

INVALID_PARAMETERS, RESOURCE_NOT_FOUND, INTERNAL_ERROR = -32602, -32002, -32603
# Of the modern era's own: what they are about is between its server and us.
RESERVED = range(-32099, -32019)


def greeting(frame: Frame, backend: str, discovered: Frame) -> Frame:
    """The answer to initialize, of what a server said to server/discover."""
    asked = frames.text(frames.members(frame.get("params")).get("protocolVersion"))
    server = frames.members(discovered.get("_meta")).get(SERVER)
    about: dict[str, Any] = {
        "protocolVersion": asked if asked in LEGACY else NEWEST_LEGACY,
        "capabilities": tasks.undeclared(discovered.get("capabilities")),
        "serverInfo": {"name": backend, "version": __version__} if server is None else server,
    }
    if "instructions" in discovered:
        about["instructions"] = discovered["instructions"]
    return frames.result(frame["id"], about)


class Envelope:
    """What a session's requests say of their client, each of them."""

    def __init__(self, capabilities: msgspec.Raw, client: msgspec.Raw | None) -> None:
        self._about = {VERSION: frames.raw(MODERN[-1]), CAPABILITIES: capabilities}
        if client is not None:
            self._about[CLIENT] = client

    def around(self, frame: Frame, level: str | None = None, more: Frame | None = None) -> Frame:
        """The request, with ``more`` among its parameters. What it says of itself does not count."""
        params = tasks.unasked(frames.text(frame["method"]), frames.members(frame.get("params")))
        meta = {**frames.members(params.get("_meta")), **self._about}
        meta.pop(LOG_LEVEL, None)
        if level is not None:
            meta[LOG_LEVEL] = frames.raw(level)
        asked = {key: value for key, value in params.items() if key not in ("inputResponses", "requestState")}
        return {**frame, "params": frames.raw({**asked, **(more or {}), "_meta": meta})}


def result(frame: Frame, given: Frame, method: str | None) -> Frame:
    """The response with its result, ``given`` by its members, as legacy clients know it."""
    for name in MODERN_ONLY:
        given.pop(name, None)
    if method == "tools/list":
        given = tasks.unlisted(given)
    return {**frame, "result": frames.raw(given)}


def error(frame: Frame, method: str | None) -> Frame:
    code = frames.error_code(frame)
    if code == INVALID_PARAMETERS and method == "resources/read":
        code = RESOURCE_NOT_FOUND
    elif code in RESERVED:
        code = INTERNAL_ERROR
    else:
        return frame
    return {**frame, "error": frames.raw({**frames.members(frame["error"]), "code": code})}


def published(frame: Frame) -> Frame:
    """What a subscription says, without the subscription's name."""
    params = frames.members(frame.get("params"))
    meta = frames.members(params.pop("_meta", None))
    meta.pop(SUBSCRIPTION, None)
    if meta:
        params["_meta"] = frames.raw(meta)
    return {**frame, "params": frames.raw(params)}
