"""`trace`: connection attempts, for a person at a terminal."""

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ..errors import OperationError
from .show import clean, table

Ask = Callable[[str, dict[str, Any]], Awaitable[tuple[Any, bool]]]
AskRunning = Callable[[str, dict[str, Any]], Awaitable[Any]]

LOOKING = 1.0
MARKS = {"connected": "✓", "looked at": "✓", "signed out": "✓", "stopped": "✗", "waiting": "…", "going on": "…"}


async def show(arguments: argparse.Namespace, ask: Ask, ask_running: AskRunning) -> int:
    """1 when the attempt that was asked for has failed."""
    if arguments.story_id is not None:
        story, _ = await ask("trace show", {"story_id": arguments.story_id})
        _print(story, arguments.json, _whole)
        return 1 if story["state"] == "stopped" else 0
    stories, running = await ask("trace list", {})
    if arguments.follow:
        if not running:
            raise OperationError("no server is running: there is nothing to follow")
        await _follow(stories, arguments.json, ask_running)
    _print(stories, arguments.json, _list)
    return 0


async def _follow(stories: list[dict[str, Any]], as_json: bool, ask: AskRunning) -> None:
    """Until Ctrl-C, and while the server is started again: each attempt when something of it has changed."""
    known = {story["id"]: story for story in stories}
    _print(stories, as_json, _list)
    while True:
        await asyncio.sleep(LOOKING)
        try:
            stories = await ask("trace list", {})
        except OSError:
            continue  # Only a running server is asked: its files are for the next one.
        for story in stories:
            if known.get(story["id"]) != story:
                _print(story, as_json, _line)
        known = {story["id"]: story for story in stories}


def _print(answer: Any, as_json: bool, lines: Callable[[Any], Iterable[str]]) -> None:
    if as_json:
        print(json.dumps(answer), flush=True)
    else:
        for line in lines(answer):
            print(line, flush=True)


def _list(stories: list[dict[str, Any]]) -> Iterable[str]:
    if not stories:
        return [
            "Nobody has tried to connect yet. Add the MCP URL in an app; what it does is shown here.",
            "If an app says that it failed, nothing of it came this far: python server.py doctor",
        ]
    rows = [{**story, "client": _client(story), "verdict": _verdict(story)} for story in stories]
    return [*table(("id", "last_at", "client", "verdict"), rows), "", "What to do about one: trace ID"]


def _line(story: dict[str, Any]) -> Iterable[str]:
    yield f"{story['last_at']}  {story['id']}  {clean(_client(story))}  {clean(_verdict(story))}"


def _whole(story: dict[str, Any]) -> Iterable[str]:
    yield f"{_verdict(story)}"
    client_id = story["client_id"] if story["client_id"] != story["client"] else None
    yield f"  client   {clean(_client(story))}" + (f"  ({clean(client_id)})" if client_id else "")
    yield f"  from     {clean(', '.join(story['addresses']))}  {clean(story['user_agent'])}"
    yield ""
    for step in story["steps"]:
        times = f"  ({step['times']} times)" if step["times"] > 1 else ""
        error = f"  {clean(step['error'])}" if "error" in step else ""
        yield f"  {step['at']}  {step['kind']:<12}  {step['status']}  {clean(step['what'])}{error}{times}"
    if story["cause"]:
        yield ""
        yield f"  Likely cause: {story['cause']}"
        yield f"  What to do:   {story['fix']}"


def _client(story: dict[str, Any]) -> str:
    return story["client"] or story["user_agent"].split("/")[0] or "somebody"


def _verdict(story: dict[str, Any]) -> str:
    return f"{MARKS[story['state']]} {story['verdict']}"
