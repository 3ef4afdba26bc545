"""What another takes the place of, or nobody needs any more, still answers those who wait for it."""

import asyncio
from typing import Protocol

# How long requests may go on there, and how often that is looked at.
LEAVING, GLANCE = 600.0, 0.2


class Leaving(Protocol):
    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        ...

    async def close(self) -> None: ...


async def leave(one: Leaving, patience: float) -> None:
    """It ends when nobody waits for it any more, or after ``patience`` seconds."""
    until = asyncio.get_running_loop().time() + patience
    while one.busy and asyncio.get_running_loop().time() < until:  # noqa: ASYNC110 - no kind tells the end
        await asyncio.sleep(GLANCE)
    await one.close()
