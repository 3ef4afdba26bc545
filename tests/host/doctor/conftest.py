"""What is found, by the name of the check."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from mcpauth.models.findings import Finding
from mcpauth.settings import Settings
from tests.fakes.tailscaled import HOST

Read = Callable[..., Settings]


@pytest.fixture
def settings(tmp_path: Path) -> Read:
    """Settings from these variables, written without their prefix; the public URL is the one of the fake tailnet."""

    def settings(**environ: str) -> Settings:
        given = {"PUBLIC_URL": f"https://{HOST}", "DATA_DIR": str(tmp_path / "data"), **environ}
        return Settings.from_env({f"MCP_OAUTH_{name}": value for name, value in given.items()})

    return settings


def of(check: str, found: Sequence[Finding]) -> Finding:
    """The one finding of that check."""
    one = [each for each in found if each.check == check]
    assert len(one) == 1, found
    return one[0]


def verdicts(found: Sequence[Finding]) -> set[str]:
    return {one.verdict for one in found}
