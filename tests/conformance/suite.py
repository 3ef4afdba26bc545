"""The official conformance suite, as npm has it (@modelcontextprotocol/conformance)."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.chromium import need
from tests.node import MODULES, node

SUITE = MODULES / "@modelcontextprotocol/conformance/dist/index.js"
OLDEST_NODE = 22

PATIENCE = 240.0

# server-tools-list-2026-11-23T08-31-51-711Z: what was examined, the scenario, when.
FOLDER = re.compile(r"(authorization-)?server-(?P<scenario>.+)-\d{4}-\d\d-\d\dT.+")


Check = dict[str, Any]


class Outcome(NamedTuple):
    """``checks`` are the scenarios that ran, and of each its checks; ``printed`` is what the suite said."""

    status: int
    printed: str
    checks: dict[str, list[Check]]

    @property
    def failures(self) -> str:
        """One line for each, to be read by a person; empty when there is none."""
        lines = [
            f"{scenario}: {check['id']}: {check.get('errorMessage', '')}"
            for scenario, checks in self.checks.items()
            for check in checks
            if check["status"] == "FAILURE"
        ]
        return "\n".join(lines)


def need_suite() -> None:
    need("the conformance suite (npm ci --prefix tests/npm)", SUITE.exists())
    need(f"Node {OLDEST_NODE} or newer", bool(node(OLDEST_NODE)))


async def run(output: Path, *arguments: str, heard: Callable[[str], Awaitable[None]] | None = None) -> Outcome:
    """The suite's command ``arguments``; ``heard`` gets each line that it prints, at once."""
    process = await asyncio.create_subprocess_exec(
        node(OLDEST_NODE),
        str(SUITE),
        *arguments,
        "-o",
        str(output),
        cwd=output.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    printed = ""
    try:
        async with asyncio.timeout(PATIENCE):
            async for line in process.stdout:
                printed += line.decode()
                if heard is not None:
                    await heard(line.decode().strip())
            status = await process.wait()
    except BaseException:
        process.kill()
        await process.wait()
        raise
    return Outcome(status, printed, _checks(output))


def _checks(output: Path) -> dict[str, list[Check]]:
    checks = {}
    for path in output.glob("*/checks.json"):
        folder = FOLDER.fullmatch(path.parent.name)
        assert folder is not None, path
        checks[folder["scenario"]] = json.loads(path.read_text())
    return checks
