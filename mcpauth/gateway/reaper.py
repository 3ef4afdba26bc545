"""Ends what children leave behind, and all of them when the gateway was killed: a process at the other end of a pipe.

A child whose standard input closes should end by itself; what `npx` and `uvx` start often does not, and browsers make
themselves sessions of their own. The gateway names each child before it starts, its process group as soon as there is
one, and that it has ended; every process with that name in its environment is the child's.
"""

import asyncio
import logging
import os
import subprocess
import sys
from pathlib import Path

logger = logging.getLogger(__name__)

PROGRAM = Path(__file__).with_name("reaper_process.py")
# In the environment of a child and of all that it starts.
MARK = "MCPAUTH_CHILD"


class Reaper:
    """The gateway's end. One for all its backends; it is started with the first child.

    ``name`` is no other gateway's.
    """

    def __init__(self, name: str) -> None:
        self._name, self._last = name, 0
        self._process: subprocess.Popen[bytes] | None = None
        self._groups: dict[str, int] = {}  # 0 of one that is about to start

    @property
    def watching(self) -> int:
        return len(self._groups)

    def expect(self) -> str:
        """The marker of a child that is about to start."""
        self._last += 1
        marker = f"{self._name}.{self._last}"
        self.watch(marker, 0)
        return marker

    def watch(self, marker: str, group: int) -> None:
        """It has started, in this group."""
        self._groups[marker] = group
        if os.name == "posix" and not self._tell(_line(marker, group)):
            self._start()

    def forget(self, marker: str) -> None:
        """It has ended: the number of its group may soon be another's. What it has left ends, too."""
        if self._groups.pop(marker, None) is not None:
            self._tell(f"-{marker}\n".encode())

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
        self._tell(b"".join(_line(*one) for one in self._groups.items()))

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


def _line(marker: str, group: int) -> bytes:
    return f"+{marker} {group}\n".encode()
