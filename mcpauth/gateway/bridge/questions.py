"""What servers ask of clients: in the older era by a request, in the modern one by a result."""

from typing import Any, NamedTuple

import msgspec

from .. import frames
from ..frames import Frame

# Of the modern era: the requests whose result may be a question.
ASKING = {"tools/call", "prompts/get", "resources/read"}

# What a client must have declared to be asked.
NEEDS = {"elicitation/create": "elicitation", "sampling/createMessage": "sampling", "roots/list": "roots"}


class Question(NamedTuple):
    """What a server of the older era asks; ``by`` is the call in the course of which it came, where that is known."""

    frame: Frame
    asked_at: int
    by: object = None


def may_be_asked(declared: msgspec.Raw, method: str | None, params: Frame) -> bool:
    """Whether a client that declares this of itself can answer."""
    needed = NEEDS.get(method or "")
    capabilities = frames.members(declared)
    if needed is None or needed not in capabilities or bytes(capabilities[needed]) == b"null":
        return False
    modes = frames.members(capabilities[needed])
    if method == "elicitation/create":
        # One that names no mode knows forms alone.
        mode = frames.text(params.get("mode")) or "form"
        return mode in modes or (mode == "form" and "url" not in modes)
    return method != "sampling/createMessage" or "tools" in modes or not ({"tools", "toolChoice"} & params.keys())


def asked(frame: Frame) -> dict[str, Any]:
    """A request as it stands in `inputRequests`."""
    params = frames.members(frame.get("params"))
    params.pop("task", None)
    meta = frames.members(params.get("_meta"))
    if meta.pop("progressToken", None) is not None:
        params["_meta"] = frames.raw(meta)
    question: dict[str, Any] = {"method": frame["method"]}
    return {**question, "params": params} if "params" in frame else question


def required(to: msgspec.Raw, questions: dict[str, Any], state: str) -> Frame:
    return frames.result(to, {"resultType": "input_required", "inputRequests": questions, "requestState": state})
