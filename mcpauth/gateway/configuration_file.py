"""data/mcp.json while the server runs: a saved change is taken, one with a mistake is refused."""

import asyncio
import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from .. import log
from ..errors import SettingsError
from . import configuration
from .configuration import Configuration, Stamp

if sys.platform == "linux":
    from inotify_simple import INotify, flags  # type: ignore[import-untyped]

    # Of the directory, for editors replace files. Not MODIFY: the database beside it is written all the time.
    CHANGES = flags.CLOSE_WRITE | flags.ATTRIB | flags.CREATE | flags.DELETE | flags.MOVED_FROM | flags.MOVED_TO

logger = logging.getLogger(__name__)

# Between two looks at the file, where nothing tells of changes; where something does, it may not tell of all of them.
LOOK, LOOK_ANYWAY = 2.0, 60.0
# A burst of writes is over after so long a silence. What cannot be read then may still be half written.
SETTLED = 0.3
SECOND_LOOK = 1.0


class ConfigurationFile:
    """``take`` gets what a changed file says; it raises SettingsError when that cannot be, and then takes nothing.

    ``problem`` says why the file as it is now was refused; ``notes`` is what the owner should hear of what was taken,
    ``limits`` are those that hold; of the servers, ``switched_off`` are not served.
    """

    def __init__(self, path: Path, taken: Configuration, take: Callable[[Configuration], None]) -> None:
        self._path, self._take = path, take
        self.problem: str | None = None
        self.notes, self.limits, self.switched_off = taken.notes, taken.limits, taken.switched_off
        self._stamp = taken.stamp
        self._watching: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._tell()
        self._watching = asyncio.create_task(self._watch())

    async def close(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        news = _News(self._path)
        try:
            while True:
                await news.wait()
                if self._now() == self._stamp:
                    continue
                await self._settled(SETTLED)
                try:
                    await self._read()
                except Exception:
                    logger.exception("configuration_failed")
        finally:
            news.close()

    async def _settled(self, silence: float) -> None:
        while self._now() != self._stamp:
            self._stamp = self._now()
            await asyncio.sleep(silence)

    async def _read(self) -> None:
        try:
            given = await asyncio.to_thread(configuration.read, self._path)
        except SettingsError:
            await asyncio.sleep(SECOND_LOOK)
            await self._settled(SETTLED)
            try:
                given = await asyncio.to_thread(configuration.read, self._path)
            except SettingsError as error:
                self._refuse(error)
                return
        try:
            self._take(given)
        except SettingsError as error:
            self._refuse(error)
            return
        self.problem = None
        self.notes, self.limits, self.switched_off = given.notes, given.limits, given.switched_off
        logger.info("configuration_taken", extra=log.fields(servers=", ".join(given.servers)))
        self._tell()

    def _tell(self) -> None:
        for one in self.notes:
            logger.warning("configuration_noted", extra=log.fields(note=one))

    def _refuse(self, error: SettingsError) -> None:
        self.problem = str(error)
        logger.error("configuration_refused", extra=log.fields(reason=self.problem))

    def _now(self) -> Stamp:
        try:
            return configuration.stamp(self._path.stat())
        except OSError:
            return ()


class _News:
    """Returns from ``wait`` when the file may have changed, now and then without a cause."""

    def __init__(self, path: Path) -> None:
        self._path, self._name = path, path.name
        self._event = asyncio.Event()
        self._look = LOOK
        self._close: Callable[[], None] = lambda: None
        if sys.platform == "linux":
            with suppress(OSError):
                self._listen(INotify(nonblocking=True), path.parent)

    async def wait(self) -> None:
        # Of what a link leads to, its directory does not tell.
        look = LOOK if self._path.is_symlink() else self._look
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), look)
        self._event.clear()

    def close(self) -> None:
        self._close()

    def _listen(self, inotify: "INotify", directory: Path) -> None:
        loop = asyncio.get_running_loop()

        def told() -> None:
            if any(event.name == self._name or event.mask & flags.Q_OVERFLOW for event in inotify.read(timeout=0)):
                self._event.set()

        def close() -> None:
            loop.remove_reader(inotify.fileno())
            inotify.close()

        self._close = close
        inotify.add_watch(directory, CHANGES)
        loop.add_reader(inotify.fileno(), told)
        self._look = LOOK_ANYWAY
