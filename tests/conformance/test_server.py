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
    suite.need_suite()
    configure(tmp_path / "data")
    async with LiveServer(tmp_path) as server, InjectProxy(server.port) as proxy:
        token = await access_token(server, f"{server.origin}/mcp/fixture")
        proxy.headers = {"Authorization": f"Bearer {token}"}
        url = f"{proxy.origin}/mcp/fixture"
        outcome = await suite.run(tmp_path / "out", "server", "--url", url, *selection)
    assert outcome.failures == ""
    assert outcome.status == 0, outcome.printed
    assert len(outcome.checks) == scenarios
