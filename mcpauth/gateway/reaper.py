"""Ends the children of a gateway that was killed: a tiny process at the other end of a pipe.

A child whose standard input closes should end by itself; what `npx` and `uvx` start often does not. The gateway
names each process group as it begins and ends; when the pipe closes, those that are left are killed.
"""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("reaper_process.py")


class Reaper:
    """The gateway's end. One for all its backends; it is started with the first child."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: set[int] = set()

    @property
    def watching(self) -> int:
        return len(self._groups)

    def watch(self, group: int) -> None:
        if os.name != "posix":
            return
        self._groups.add(group)
        if not self._tell(b"+%d\n" % group):
            self._start()

    def forget(self, group: int) -> None:
        """The group is empty: its number may soon be another's."""
        self._groups.discard(group)
        self._tell(b"-%d\n" % group)

    async def close(self) -> None:
        """Every child is gone."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await asyncio.get_running_loop().run_in_executor(None, process.wait)

    def _start(self) -> None:
        """Also when somebody has ended the one that there was: a new one gets to know all that there are."""
        try:
            # In a session of its own, so that a Ctrl-C at the terminal does not end it before its time.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={},
            )
        except OSError:
            logger.exception("reaper_failed")
        self._tell(b"".join(b"+%d\n" % group for group in self._groups))

    def _tell(self, lines: bytes) -> bool:
        """Whether it has been told."""
        process = self._process
        if process is None or process.stdin is None:
            return False
        try:
            os.write(process.stdin.fileno(), lines)
        except OSError:
            process.stdin.close()
            process.wait()
            self._process = None
            return False
        return True
