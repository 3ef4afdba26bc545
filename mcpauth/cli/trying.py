"""`try`: the server is connected to as a client would do it, with the owner at the browser."""

import argparse
import asyncio
import contextlib
import json
import shlex
import signal
import sys
import threading
import webbrowser
from collections.abc import Coroutine
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from ..ambient import Ambient
from ..control import NAME, ask
from ..errors import OperationError, SettingsError, StepFailed
from ..host.doctor import place
from ..replay import authorization, sequence
from ..replay.attempt import Attempt
from ..replay.loopback import PATIENCE, Loopback, at_home
from ..replay.play import Outcome, play
from ..replay.sequence import Client, Run
from ..replay.wire import Wire
from ..settings import LOOPBACK_HOSTS, Settings, origin_of
from .show import can_print, clean, table

TICKS = {True: "✓", False: "✗"}
PLAIN_TICKS = {True: "ok", False: "NO"}
DEFAULT_PORTS = {"https": 443, "http": 80}
# Ctrl-C, what a supervisor sends, and a terminal that is closed.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def start(arguments: argparse.Namespace, settings: Settings) -> int:
    """Exit status: 0 connected, 1 not, 128 and its number after a signal. Raises SettingsError and OperationError."""
    known = sequence.names()
    if arguments.list:
        return _list(known, arguments.json)
    if arguments.client not in known:
        raise SettingsError(f"--as must be one of {', '.join(known)}")
    client = sequence.load(arguments.client)
    run, url = _way(client, arguments.way), _mcp_url(arguments.url) if arguments.url else None
    owner = Owner(Report(as_json=arguments.json), arguments.browser)
    return asyncio.run(_until_signal(_try(arguments, client.going(run), run, url, owner, settings)))


def _ways(client: Client) -> list[Run]:
    """Without those for which the owner would have to publish something."""
    return [run for run in client.runs if not run.document]


def _way(client: Client, name: str | None) -> Run:
    """Raises SettingsError."""
    ways = {run.name: run for run in _ways(client)}
    if name is None:
        return next(iter(ways.values()))
    if name not in ways:
        there_are = ", ".join(map(shlex.quote, ways))
        raise SettingsError(f"{client.title} is not played in that way; --way must be one of {there_are}")
    return ways[name]


async def _until_signal(work: Coroutine[Any, Any, int]) -> int:
    """The first signal lets ``work`` clean up, which no second one interrupts."""
    task = asyncio.ensure_future(work)
    caught: list[int] = []

    def stop(number: int) -> None:
        if not caught:
            caught.append(number)
            task.cancel()

    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup has it
            with contextlib.suppress(NotImplementedError):
                asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return await task
    except (asyncio.CancelledError, OSError):
        # A terminal that is gone takes no words either.
        if not caught:
            raise
        return 128 + caught[0]


async def _try(
    arguments: argparse.Namespace, client: Client, run: Run, url: str | None, owner: "Owner", settings: Settings
) -> int:
    report = owner.report
    status = await _status(settings)
    # The server may have been started with other settings than this command.
    url = url or _mcp_url(status["publicUrl"] if status else settings.origin)
    if status is not None:
        _check_server(url, status, settings)
    async with Loopback() as loopback, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        owner.loopback, owner.wire = loopback, Wire(http, client.timeout, place.command(settings))
        # Who names a way has time for all of it.
        run, notes = at_home(client, run, loopback, again=arguments.way is not None)
        report.begin(arguments.client, client, run, url, notes, _unreachable(client, url))
        attempt = Attempt(client, run, url, owner.wire, owner, Ambient())
        connected = False
        try:
            async for outcome in play(attempt):
                connected = outcome.ok
                report.step(outcome)
        finally:
            await _remove(attempt, report)
        report.end(connected)
        return 0 if connected else 1


async def _status(settings: Settings) -> dict[str, Any] | None:
    """What the running server says of itself; None when there is none, which the first step finds out."""
    if not (settings.data_dir / NAME).exists():
        return None
    try:
        status: dict[str, Any] = await ask(settings.data_dir, "status", {})
    except OSError:
        return None
    return status


def _check_server(url: str, status: dict[str, Any], settings: Settings) -> None:
    """Raises OperationError when the owner's own server, which runs, has nothing at ``url`` that clients try."""
    ours = {status["publicUrl"], *(f"http://{host}:{settings.port}" for host in LOOPBACK_HOSTS)}
    under, _, name = urlsplit(url).path.strip("/").partition("/")
    if origin_of(url) not in ours:
        return
    if under == "sse":
        raise OperationError(f"no client is played over HTTP+SSE; what is at {url} is at {origin_of(url)}/mcp too")
    if under != "mcp" or not name:
        return
    names = [one["name"] for one in status["servers"]]
    if name not in names:
        raise OperationError(
            f"there is no MCP server {name} at {origin_of(url)}; there are: {', '.join(names) or 'none'}. "
            f"All of them together are at {origin_of(url)}/mcp"
        )


async def _remove(attempt: Attempt, report: "Report") -> None:
    """Also after a signal: nothing stays that only this attempt needed."""
    client_id, registered = attempt.client_id, bool(attempt.registration)
    try:
        if await authorization.remove(attempt) is not None:
            what = "What it registered at the server was removed" if registered else "Its connection was ended"
            report.removed(f"{what} ({client_id}).", [])
    except StepFailed as failed:
        report.removed(f"It could not be removed: {failed.reason}.", [client_id])


class Owner:
    """The person at the terminal, with their own browser."""

    loopback: Loopback
    wire: Wire

    def __init__(self, report: "Report", browser: bool) -> None:
        self.report, self._browser = report, browser

    async def allow(self, url: str) -> str:
        return await self._decide("allow", url)

    async def deny(self, url: str) -> str:
        return await self._decide("deny", url)

    async def _decide(self, decision: str, url: str) -> str:
        # Before a person is sent there: what is wrong with the request shows without one.
        looked = await self.wire.send("GET", url, {"Accept": "application/json"})
        looked.expect(200, 302, 303)
        self.loopback.expect()
        self.report.sign_in(decision, url)
        if self._browser:
            # Some browsers keep the command that opened them until they are closed.
            threading.Thread(target=_open, args=(url,), daemon=True).start()
        return await self.loopback.wait()


def _open(url: str) -> None:
    """Where that fails, the person has the address."""
    with contextlib.suppress(Exception):
        webbrowser.open(url)


class Report:
    """Each step as it goes, for a person; or all of it at the end, as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._steps: list[Outcome] = []
        self._answer: dict[str, Any] = {}
        self._ticks = TICKS if can_print("".join(TICKS.values())) else PLAIN_TICKS

    def begin(self, name: str, client: Client, run: Run, url: str, notes: tuple[str, ...], warnings: list[str]) -> None:
        """``notes`` are what is different here, ``warnings`` are what will stand in the real client's way."""
        about = {"client": name, "title": client.title, "way": run.name, "url": url}
        self._answer = {**about, "notes": list(notes), "warnings": warnings, "left": []}
        others = [f"--way {shlex.quote(one.name)}" for one in _ways(client) if one.name != run.name]
        ways = [f"  Its way: {run.name}. It has others: {', '.join(others)}."] if others else []
        lines = [*ways, *(f"  {note}" for note in notes), *(f"  ! {warning}" for warning in warnings)]
        self._say(f"{client.title} connects to {url}", *lines)

    def step(self, outcome: Outcome) -> None:
        self._steps.append(outcome)
        lines = [f"  {self._ticks[outcome.ok]} {outcome.step:<20}  {outcome.note}"]
        lines += [f"    ! {warning}" for warning in outcome.warnings]
        self._say(*lines, *([f"    Fix: {outcome.fix}"] if outcome.fix else []))

    def sign_in(self, decision: str, url: str) -> None:
        """Said in any case: on standard error, where standard output is for JSON."""
        where = sys.stderr if self._as_json else sys.stdout
        print(f"  Sign in and {decision} it here: {clean(url)}", file=where)
        print(f"  (waiting for up to {PATIENCE // 60} minutes; Ctrl-C ends it)", file=where, flush=True)

    def removed(self, text: str, left: list[str]) -> None:
        self._answer["left"] = left
        self._say(text, *(f"Remove it yourself: python server.py client remove {shlex.quote(one)}" for one in left))

    def end(self, connected: bool) -> None:
        warned = any(one.warnings for one in self._steps) or bool(self._answer["warnings"])
        self._say(f"Connected{'; see what is marked with !' if warned else ''}." if connected else "Not connected.")
        if self._as_json:
            steps = [one._asdict() for one in self._steps]
            print(json.dumps({**self._answer, "connected": connected, "steps": steps}))

    def _say(self, *lines: str) -> None:
        if not self._as_json:
            print("\n".join(map(clean, lines)), flush=True)


def _mcp_url(given: str) -> str:
    """An origin alone stands for its /mcp. Raises SettingsError."""
    parts = urlsplit(given)
    try:
        origin_of(given)
    except ValueError as error:
        raise SettingsError(f"--url {error}") from None
    return given if parts.path.strip("/") else f"{parts.scheme}://{parts.netloc}/mcp"


def _unreachable(client: Client, url: str) -> list[str]:
    """Why the real client would not come as far as this computer does."""
    parts = urlsplit(url)
    found = []
    if client.where == "hosted" and parts.scheme != "https":
        found.append(f"{client.title} itself may run elsewhere, and then cannot reach {parts.scheme}://{parts.netloc}.")
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    if client.ports and port not in client.ports:
        found.append(f"{client.title} itself connects to port {', '.join(map(str, client.ports))} only, not to {port}.")
    return found


def _list(names: list[str], as_json: bool) -> int:
    rows = [{"client": name, **_facts(sequence.load(name))} for name in names]
    for line in [json.dumps(rows)] if as_json else table(("client", "title", "where"), rows):
        print(line)
    return 0


def _facts(client: Client) -> dict[str, Any]:
    return {
        "title": client.title,
        "where": client.where,
        "ways": [run.name for run in _ways(client)],
        "sources": list(client.sources),
        "gaps": list(client.gaps),
    }
