"""The official suite's server scenarios, through the gateway, to a program and to a server elsewhere."""

import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.conformance import suite
from tests.conformance.inject_proxy import InjectProxy
from tests.live import LiveServer, run
from tests.oauth_client import OAuthClient

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"

pytestmark = [pytest.mark.gen_test(timeout=300), pytest.mark.parametrize("kind", ["stdio", "http"])]

FIXTURE = ["-m", "tests.fakes.conformance"]

Examine = Callable[..., Awaitable[suite.Outcome]]


@contextmanager
def fixture_server(kind: str) -> Iterator[dict[str, object]]:
    """Its entry in mcp.json; of the kind that is elsewhere, it runs meanwhile."""
    if kind == "stdio":
        yield {"command": sys.executable, "args": FIXTURE, "cwd": str(ROOT)}
        return
    # It is connected to before it is ready, and answers then.
    with socket.create_server(("127.0.0.1", 0)) as listening:
        command = [sys.executable, *FIXTURE, "--socket", str(listening.fileno())]
        with subprocess.Popen(command, cwd=ROOT, pass_fds=[listening.fileno()]) as process:
            try:
                yield {"url": f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"}
            finally:
                process.terminate()


def configure(data_dir: Path, fixture: dict[str, object]) -> None:
    data_dir.mkdir()
    (data_dir / "mcp.json").write_text(json.dumps({"mcpServers": {"fixture": fixture}}))
    (data_dir / "mcp.json").chmod(0o600)


async def access_token(server: LiveServer, resource: str) -> str:
    """What the owner, who is added here, lets a new client have."""
    added = await run(server.directory, "user", "add", "ada", "--owner", "--password-stdin", typed=PASSWORD)
    assert added[0] == 0, added
    client = OAuthClient(server.origin, server.origin)
    tokens = await client.connect(Browser(server.origin, server.origin), "ada", PASSWORD, resource=resource)
    token: str = tokens["access_token"]
    return token


async def test_a_legacy_client_finds_what_its_revision_requires(tmp_path: Path, kind: str) -> None:
    async with examined(tmp_path, kind) as examine:
        outcome = await examine("--requirements", "2025-11-25")
        assert outcome.failures == ""
        assert outcome.status == 0, outcome.printed
        assert len(outcome.checks) == 33  # All that it requires, and three that came later.
        # A stream begins with an event that a client can come back to. The suite only warns when there is none.
        polling = {check["id"]: check["status"] for check in outcome.checks["server-sse-polling"]}
        assert polling["server-sse-priming-event"] == polling["server-sse-retry-field"] == "SUCCESS"
        await examine_one(examine, "server-session-lifecycle", "2025-03-26")


async def test_a_modern_client_finds_what_its_revision_requires_and_more(tmp_path: Path, kind: str) -> None:
    async with examined(tmp_path, kind) as examine:
        outcome = await examine("--requirements", "2026-07-28")
        # The tasks extension is none of the requirements, and the fixture has none of it.
        assert [line for line in outcome.failures.splitlines() if not line.startswith("tasks-")] == []
        assert outcome.status == 0, outcome.printed
        assert len(outcome.checks) == 50  # The 37 that it requires, and what else the suite has of this revision.
        assert all(outcome.checks.values())
        for scenario in ("http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12"):
            await examine_one(examine, scenario, "2026-07-28")


@asynccontextmanager
async def examined(tmp_path: Path, kind: str) -> AsyncIterator[Examine]:
    """The suite, which gives its verdict on the gateway in front of the fixture server."""
    suite.need_suite()
    with fixture_server(kind) as fixture:
        configure(tmp_path / "data", fixture)
        async with LiveServer(tmp_path) as server, InjectProxy(server.port) as proxy:
            token = await access_token(server, f"{server.origin}/mcp/fixture")
            proxy.headers = {"Authorization": f"Bearer {token}"}
            url = f"{proxy.origin}/mcp/fixture"

            async def examine(*selection: str) -> suite.Outcome:
                return await suite.run(tmp_path / "-".join(selection), "server", "--url", url, *selection)

            yield examine


async def examine_one(examine: Examine, scenario: str, version: str) -> None:
    outcome = await examine("--scenario", scenario, "--spec-version", version)
    assert outcome.failures == ""
    assert outcome.status == 0, outcome.printed
    assert list(outcome.checks) == [scenario]
