"""Answers of operations, for a person at a terminal."""

import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .. import __version__
from ..host.doctor.running import AGAIN, NOT_AGAIN
from ..operations.waiting import told

COLUMNS = {
    "user list": ("name", "role", "signs_in_with", "sessions", "created_at"),
    "client list": ("name", "client_id", "state", "kind", "registered", "sessions", "used_at"),
    "session list": ("session_id", "user", "of", "state", "last_used_at", "ends_at", "scope"),
}

NONE_YET = {
    "user list": "There are no users yet.",
    "client list": "There are no clients yet: one registers when you connect it.",
    "session list": "Nobody is signed in.",
}

DONE = {
    "user add": "Added {name} ({role}).",
    "user approve": "{name} may sign in now.",
    "user remove": "Removed {name}.",
    "user role": "{name} is now {role}.",
    "user password": "{name} has a new password, and was signed out of every browser.",
    "client remove": "Removed {client_id}; connections ended: {grants_ended}.",
    "client approve": "{name} may be connected now.",
    "client refuse": "{name} is kept out.",
    "client rename": "{client_id} is called {name} now.",
    "client pause": "Paused {client_id}: it keeps what it has, and can do nothing.",
    "client resume": "{client_id} can go on.",
    "client lifetime": "Access tokens that {client_id} gets from now on are good for {access_token_ttl}.",
    "client expire": "{connections} connections of {client_id} end: {ends_at}.",
    "client end": "Connections of {client_id} ended: {grants_ended}.",
    "session rename": "{session_id} is called {name} now.",
    "session pause": "Paused {session_id}: it keeps what it has, and can do nothing.",
    "session resume": "{session_id} can go on.",
    "session expire": "{session_id} ends: {ends_at}.",
    "session end": "Sessions ended: {ended}.",
    "rotate-keys": "Access tokens are signed with a new {algorithm} key now ({kid}). "
    "What the one before has signed is good as long as it would have been, until {previous_until} at most.",
}


REGISTRATION = {
    "open": "open: every app, with your Allow",
    "known": "known: apps that mcpauth knows, and those you approved",
    "approve": "approve: apps that you approved, and those that mcpauth knows for certain",
}


def clean(text: object) -> str:
    """A value without what could drive the terminal: some of these texts come from strangers."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def can_print(text: str) -> bool:
    """Whether the terminal, or whatever reads, knows these characters."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def lines(operation: str, answer: Any, running: bool) -> Iterable[str]:
    if operation in COLUMNS:
        return table(COLUMNS[operation], answer) if answer else [NONE_YET[operation]]
    if operation == "status":
        return status(answer, running)
    if operation == "client add":
        return client_added(answer)
    done = [clean(DONE[operation].format(**{name: _done(name, value) for name, value in answer.items()}))]
    if answer.get("still_allowed"):
        accounts = clean(", ".join(answer["still_allowed"]))
        done.append(f"An entry of MCP_OAUTH_ALLOWED_USERS fits {accounts}: it lets them in again.")
    return done


def table(columns: Sequence[str], rows: list[dict[str, Any]]) -> Iterable[str]:
    texts = [[column.upper().replace("_", " ") for column in columns]]
    texts += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(len(text[position]) for text in texts) for position in range(len(columns))]
    for text in texts:
        yield "  ".join(cell.ljust(width) for cell, width in zip(text, widths, strict=True)).rstrip()


def _done(name: str, value: Any) -> Any:
    if name == "access_token_ttl":
        return "as long as all others" if value is None else f"{value} seconds"
    return "never" if name == "ends_at" and value is None else value


def _cell(value: Any) -> str:
    if value is None or value == []:
        return "-"
    return clean(", ".join(map(str, value)) if isinstance(value, list) else value)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def client_added(answer: dict[str, Any]) -> Iterable[str]:
    yield f"client_id      {answer['client_id']}"
    if "client_secret" in answer:
        yield f"client_secret  {answer['client_secret']}"
        yield "The secret is shown only this once."


def status(answer: dict[str, Any], running: bool) -> Iterable[str]:
    """What it does not say is unknown: the server that runs may be older than this command."""
    unsaid = answer.get("version") != __version__
    yield f"mcpauth {clean(answer.get('version', 'unknown'))}  {'running' if running else 'not running'}"
    for name, tell in ABOUT.items():
        try:
            text = tell(answer)
        except KeyError:
            text, unsaid = "unknown", True
        if text:
            yield f"  {name:<10}  {text}"
    for one in answer.get("servers", []):
        tools = _count(len(one["tools"]), "tool") if one["state"] == "ok" else clean(one["reason"] or one["state"])
        yield f"  server      {one['name']}: {tools}" if running else f"  server      {one['name']}"
        if last_line := one.get("lastLine"):
            yield f"              it wrote last: {clean(last_line)}"
        if one["state"] == "ok" and (again := one["reason"]):
            yield f"! server {one['name']}: {NOT_AGAIN}: {clean(again)}"
            yield f"  What to do: {AGAIN}"
    for name in answer.get("switchedOff", []):
        yield f"  server      {name}: switched off"
    if answer.get("ownerNeeded"):
        yield "There is no owner yet: open the setup link that the server printed, or use: user add NAME --owner"
    if problem := answer.get("configurationProblem"):
        yield f"! What mcp.json says now is refused; what it said before holds: {clean(problem)}"
    for note in answer.get("configurationNotes", []):
        yield f"! {clean(note)}"
    for one in answer.get("problems", []):
        yield f"! {clean(one['check'])}: {clean(one['found'])}"
        yield f"  What to do: {clean(one['fix'])}"
    for one in answer.get("waiting", []):
        client_id = clean(shlex.quote(one["client_id"]))
        yield clean(f"! {one['asked_at']}  {told(one)}")
        yield f"  To let it in: client approve {client_id}"
        yield f"  To keep it out: client refuse {client_id}"
    for notice in answer.get("notices", []):
        yield f"! {clean(notice)}"
    if unsaid or any(one not in answer for one in WARNINGS):
        yield f"! What runs is another version of mcpauth than this command ({__version__}), and may not say it all."
        yield "  What to do: restart the server"


def _users(users: dict[str, int]) -> str:
    waiting = f", {users['pending']} waiting for approval (see: user list)" if users["pending"] else ""
    return f"{_count(users['owner'], 'owner')}, {_count(users['member'], 'member')}{waiting}"


ABOUT: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "MCP URL": lambda said: said["mcpUrl"],
    "older URL": lambda said: f"{said['sseUrl']}  (HTTP+SSE, MCP 2024-11-05)" if said["sseUrl"] else None,
    "public URL": lambda said: said["publicUrl"],
    "listens on": lambda said: said["listensOn"],
    "connecting": lambda said: REGISTRATION[said["registration"]],
    "data": lambda said: said["dataDir"],
    "sign-in": lambda said: ", ".join(said["signIn"]) or "none",
    "Tailscale": lambda said: clean(said.get("tailscale") or ""),
    "users": lambda said: _users(said["users"]),
    "apps": lambda said: str(said["clients"]),
    "sessions": lambda said: f"{said['sessions']['clients']} of apps, {said['sessions']['browsers']} of browsers",
    "processes": lambda said: f"{said['processes']['running']} of {said['processes']['most']} that servers may have",
}
WARNINGS = ("servers", "ownerNeeded", "configurationProblem", "configurationNotes", "problems", "waiting", "notices")
