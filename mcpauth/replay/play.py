"""Plays an attempt step by step. The first step that fails ends it, as it would end the client's."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from ..errors import StepFailed
from . import advice, assertions, authorization, conversation, discovery
from .attempt import Attempt
from .sequence import Idle, Send, Step

NAMES = {
    "ask": "look",
    "challenge": "challenge",
    "resource": "resource metadata",
    "server": "server metadata",
    "register": "registration",
    "preflight": "look at the sign-in",
    "authorize": "sign-in and consent",
    "deny": "refusal",
    "refused": "wrong request",
    "redeem": "token",
    "refresh": "refresh",
    "begin": "first MCP request",
    "send": "MCP request",
    "listen": "event stream",
    "end": "end of the session",
    "idle": "long silence",
}


class Outcome(NamedTuple):
    """How a step went: ``note`` is what came of it, or why the client gave up; then ``fix`` says what to do."""

    step: str
    ok: bool
    note: str
    fix: str = ""
    warnings: tuple[str, ...] = ()


async def play(attempt: Attempt) -> AsyncIterator[Outcome]:
    for step in (*attempt.client.steps, *attempt.run.then):
        outcome = await _one(attempt, step)
        yield outcome
        if not outcome.ok:
            return


async def _one(attempt: Attempt, step: Step) -> Outcome:
    try:
        note = await STEPS[step.do](attempt, step)
    except StepFailed as failed:
        return Outcome(NAMES[step.do], False, failed.reason, failed.fix)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # Documents may come from anywhere, and have anything in them.
        reason = f"an answer has what no client can read ({type(error).__name__})"
        return Outcome(NAMES[step.do], False, reason, advice.SOMETHING_IN_FRONT)
    warnings = assertions.warnings(attempt, step.warns) if isinstance(step, Send) else []
    return Outcome(NAMES[step.do], True, note, warnings=tuple(warnings))


async def _idle(attempt: Attempt, step: Idle) -> str:
    if attempt.idle is None:
        attempt.spoilt = True
        return "a token that is no good stands in for one that has expired"
    await attempt.idle(step.seconds)
    return f"{step.seconds} s"


STEPS: dict[str, Callable[[Attempt, Any], Awaitable[str]]] = {
    "ask": discovery.ask,
    "challenge": discovery.be_challenged,
    "resource": discovery.find_resource,
    "server": discovery.find_server,
    "register": authorization.register,
    "preflight": authorization.preflight,
    "authorize": authorization.authorize,
    "deny": authorization.authorize,
    "refused": authorization.authorize,
    "redeem": authorization.get_tokens,
    "refresh": authorization.get_tokens,
    "begin": conversation.begin,
    "send": conversation.send,
    "listen": conversation.listen,
    "end": conversation.end,
    "idle": _idle,
}
