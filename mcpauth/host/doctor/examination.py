"""All checks, in groups that are looked at side by side."""

import asyncio
import os
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path

from ...models.findings import Finding
from ...settings import Settings
from ..tailscale import LocalAPI
from . import backends, database, folder, running, tailnet
from .outside import Outside
from .running import Ask, Running

SETTINGS, SERVER, TAILSCALE, OUTSIDE = "Settings and data", "Server", "Tailscale", "As apps see it"


class Examination:
    """``held``: a process has the data directory. Without ``outside`` nothing beyond this machine is asked."""

    def __init__(
        self,
        settings: Settings,
        *,
        directory: Path,
        database: Path,
        environ: Mapping[str, str],
        ask: Ask,
        held: bool,
        tailscaled: LocalAPI,
        outside: Outside | None,
    ) -> None:
        self._settings, self._directory, self._database, self._environ = settings, directory, database, environ
        self._ask, self._held, self._tailscaled, self._outside = ask, held, tailscaled, outside

    async def look(self) -> AsyncGenerator[tuple[str, list[Finding]]]:
        """Each group with what was found, in their order."""
        status = asyncio.create_task(Running.ask(self._ask))
        groups: dict[str, asyncio.Task[list[Finding]]] = {
            SETTINGS: asyncio.create_task(self._at_home(status)),
            SERVER: asyncio.create_task(self._server(status)),
            TAILSCALE: asyncio.create_task(tailnet.look(self._settings, self._tailscaled)),
        }
        if self._outside is not None:
            groups[OUTSIDE] = asyncio.create_task(self._outside.look(self._settings, self._ask))
        try:
            for name, task in groups.items():
                yield name, await task
        finally:
            for one in (status, *groups.values()):
                one.cancel()
            await asyncio.gather(status, *groups.values(), return_exceptions=True)

    async def _at_home(self, status: asyncio.Task[Running]) -> list[Finding]:
        said = (await asyncio.shield(status)).status
        runs, refused = said is not None or self._held, (said or {}).get("configurationProblem")

        def look() -> list[Finding]:
            found, data_dir = folder.look(self._settings, self._directory), self._settings.data_dir
            if data_dir.is_dir() and not os.access(data_dir, os.R_OK | os.X_OK):
                return found  # It is another user's, which was said.
            known = database.look(self._database, runs)
            return [*found, *([known] if known else []), *backends.look(data_dir, self._environ, runs, refused)]

        return await asyncio.to_thread(look)

    async def _server(self, status: asyncio.Task[Running]) -> list[Finding]:
        said = await asyncio.shield(status)
        lacks = await asyncio.to_thread(backends.lacks, self._settings.data_dir, said.failed)
        return running.look(said, self._settings, self._held, lacks)
