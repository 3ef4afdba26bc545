"""The browser that programs open by themselves, replaced: each link arrives at the test."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path


class Opener:
    """``environ`` is what such a program is started with; ``opened`` is the next link that it opens."""

    def __init__(self, home: Path, links: asyncio.StreamReader) -> None:
        self.environ = {
            "HOME": str(home),
            "PATH": os.environ["PATH"],
            "BROWSER": str(home / "browser"),
        }
        self._links = links

    async def opened(self) -> str:
        return (await self._links.readline()).decode().strip()


@asynccontextmanager
async def opener(home: Path) -> AsyncIterator[Opener]:
    """In ``home``, where the programs keep their files too."""
    pipe, browser = home / "links", home / "browser"
    os.mkfifo(pipe, 0o600)
    browser.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" >"{pipe}"\n')
    browser.chmod(0o700)
    links = asyncio.StreamReader()
    # Open for both, so that it does not end when the first program has closed it.
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(links), os.fdopen(os.open(pipe, os.O_RDWR), "rb", 0)
    )
    try:
        yield Opener(home, links)
    finally:
        transport.close()
