"""The checks that cost next to nothing: made at each start, and for `status`. Nothing beyond this machine is asked."""

import asyncio
from pathlib import Path

from ...models.findings import Finding
from ...settings import Settings
from ..tailscale import LocalAPI
from . import folder, tailnet


async def look(settings: Settings, directory: Path, tailscaled: LocalAPI) -> list[Finding]:
    """What is not fine. ``directory`` is where ``.env`` is."""
    found = [*await asyncio.to_thread(folder.look, settings, directory), *await tailnet.look(settings, tailscaled)]
    return [one for one in found if one.verdict != "fine"]
