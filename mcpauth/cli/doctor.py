"""`doctor`: what may keep clients from connecting, and what to do about it."""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import aclosing
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from ..ambient import Ambient
from ..control import ask
from ..host.doctor.examination import Examination
from ..host.doctor.outside import Outside
from ..host.doctor.public_names import PublicNames
from ..host.tailscale import LocalAPI
from ..models.findings import Finding
from ..settings import DATABASE, Settings
from .show import can_print, clean

MARKS = {"fine": "✓", "warning": "!", "problem": "✗"}
PLAIN_MARKS = {"fine": "ok", "warning": "!", "problem": "NO"}
LOOKING = "  looking …"
ERASE = "\r\x1b[K"


def start(arguments: argparse.Namespace, settings: Settings, environ: Mapping[str, str]) -> int:
    """Exit status: 1 when a problem was found. Raises SettingsError."""
    outside = None if arguments.offline else Outside(PublicNames(arguments.resolvers), Ambient())
    examination = Examination(
        settings,
        directory=Path.cwd(),
        database=settings.data_dir / DATABASE,
        environ=environ,
        ask=partial(ask, settings.data_dir),
        held=_held(settings.data_dir / "lock"),
        tailscaled=LocalAPI(settings.tailscale_socket),
        outside=outside,
    )
    return asyncio.run(examine(examination, Report(arguments.json)))


async def examine(examination: Examination, report: "Report") -> int:
    try:
        report.looking()
        async with aclosing(examination.look()) as groups:
            async for group, found in groups:
                report.group(group, found)
                report.looking()
    finally:
        report.done_looking()
    return report.end()


def _held(path: Path) -> bool:
    """Whether a process has the data directory. Nothing is made for somebody who only looks."""
    if not os.path.exists(path):
        return False
    try:
        with FileLock(path, timeout=0, mode=0o600):
            return False
    except (Timeout, PermissionError):
        return True


class Report:
    """Each group when it is there, for a person; or all of it at the end, as JSON."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._found: list[tuple[str, Finding]] = []
        self._marks = MARKS if can_print("".join(MARKS.values()) + LOOKING) else PLAIN_MARKS
        self._shows_progress = sys.stderr.isatty() and self._marks is MARKS

    def looking(self) -> None:
        if self._shows_progress:
            print(LOOKING, end="", file=sys.stderr, flush=True)

    def done_looking(self) -> None:
        if self._shows_progress:
            print(ERASE, end="", file=sys.stderr, flush=True)

    def group(self, name: str, found: list[Finding]) -> None:
        self.done_looking()
        self._found += [(name, one) for one in found]
        self._say(name)
        for one in found:
            self._say(f"  {self._marks[one.verdict]} {one.check}: {one.found}")
            if one.fix:
                self._say(f"    What to do: {one.fix}")

    def end(self) -> int:
        verdicts = [one.verdict for _, one in self._found]
        problems, warnings = verdicts.count("problem"), verdicts.count("warning")
        if self._as_json:
            findings = [{"group": group, **one.model_dump()} for group, one in self._found]
            print(json.dumps({"ok": problems == 0, "findings": findings}))
        elif problems or warnings:
            self._say("", f"Problems: {problems}, warnings: {warnings}.")
        else:
            self._say("", "All is well.")
        return 1 if problems else 0

    def _say(self, *lines: str) -> None:
        if not self._as_json:
            print("\n".join(map(clean, lines)), flush=True)
