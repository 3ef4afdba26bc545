"""The official suite's server scenarios, through the gateway, to a stdio backend."""

import json
import sys
from pathlib import Path

import pytest

from tests.browser import Browser
from tests.conformance import suite
from tests.conformance.inject_proxy import InjectProxy
from tests.live import LiveServer, run
from tests.oauth_client import OAuthClient

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.gen_test(timeout=300)


def configure(data_dir: Path) -> None:
    data_dir.mkdir()
    fixture = {"command": sys.executable, "args": ["-m", "tests.fakes.conformance"], "cwd": str(ROOT)}
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


@pytest.mark.parametrize(
    ("selection", "scenarios"),
    [
        # All that 2025-11-25 requires, and three more that came later.
        (["--requirements", "2025-11-25"], 33),
        (["--scenario", "server-session-lifecycle", "--spec-version", "2025-03-26"], 1),
    ],
    ids=["2025-11-25", "2025-03-26"],
)
async def test_a_legacy_client_finds_what_its_revision_requires(
    tmp_path: Path, selection: list[str], scenarios: int
) -> None:
    outcome = await examine(tmp_path, *selection)
    assert outcome.failures == ""
    assert outcome.status == 0, outcome.printed
    assert len(outcome.checks) == scenarios


async def examine(tmp_path: Path, *selection: str) -> suite.Outcome:
    """The suite's verdict on the gateway in front of the fixture server."""
    suite.need_suite()
    configure(tmp_path / "data")
    async with LiveServer(tmp_path) as server, InjectProxy(server.port) as proxy:
        token = await access_token(server, f"{server.origin}/mcp/fixture")
        proxy.headers = {"Authorization": f"Bearer {token}"}
        url = f"{proxy.origin}/mcp/fixture"
        return await suite.run(tmp_path / "out", "server", "--url", url, *selection)


async def test_a_modern_client_finds_what_its_revision_requires(tmp_path: Path) -> None:
    outcome = await examine(tmp_path, "--requirements", "2026-07-28")
    # The tasks extension is none of the requirements, and the fixture has none of it.
    assert [line for line in outcome.failures.splitlines() if not line.startswith("tasks-")] == []
    assert outcome.status == 0, outcome.printed


@pytest.mark.parametrize(
    "scenario", ["http-header-validation", "http-custom-header-server-validation", "json-schema-2020-12"]
)
async def test_a_modern_client_finds_what_no_requirement_lists(tmp_path: Path, scenario: str) -> None:
    outcome = await examine(tmp_path, "--scenario", scenario, "--spec-version", "2026-07-28")
    assert outcome.failures == ""
    assert outcome.status == 0, outcome.printed
    assert list(outcome.checks) == [scenario]
