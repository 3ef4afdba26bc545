"""Ends the children of a gateway that was killed: a tiny process at the other end of a pipe.

A child whose standard input closes should end by itself; what `npx` and `uvx` start often does not. The gateway
names each process group as it begins and ends; when the pipe closes, those that are left are killed.
"""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("reaper_process.py")


class Reaper:
    """The gateway's end. One for all its backends; it is started with the first child."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, group: int) -> None:
        if os.name != "posix":
            return
        if self._process is None:
            # In a session of its own, so that a Ctrl-C at the terminal does not end it before its time.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                env={},
            )
        self._tell(b"+%d\n" % group)

    def forget(self, group: int) -> None:
        """The group is empty: its number may soon be another's."""
        self._tell(b"-%d\n" % group)

    async def close(self) -> None:
        """Every child is gone."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            await asyncio.get_running_loop().run_in_executor(None, process.wait)

    def _tell(self, line: bytes) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            os.write(self._process.stdin.fileno(), line)
        except OSError:
            self._process = None  # Somebody ended it; the next child brings another.
