"""A process in a session, and so in a group, of its own.

Started without the loop: uvloop leaves copies open in the child of what it gave it as input and output, so that
nobody would learn when the child hangs up.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path


class Process:
    """``exited`` is called once, with its status."""

    def __init__(
        self,
        command: list[str],
        *,
        stdin: int,
        stdout: int,
        stderr: int,
        env: Mapping[str, str],
        cwd: Path,
        exited: Callable[[int], None],
    ) -> None:
        """Raises OSError, ValueError."""
        self._exited = exited
        self._running = True
        self._process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, start_new_session=True
        )
        self.group = self._process.pid
        self._watch()

    def signal(self, number: int) -> None:
        """To it and its own children."""
        # The group may be empty (macOS says so with EPERM); later its number is another's.
        if self._running:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.group, number)

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            descriptor = os.pidfd_open(self.group)
        except (AttributeError, OSError):
            threading.Thread(target=self._wait, args=(loop,), daemon=True).start()
            return

        def told() -> None:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._end()

        loop.add_reader(descriptor, told)

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        """On a thread of its own, where the system has nothing better."""
        self._process.wait()
        with contextlib.suppress(RuntimeError):  # The loop has ended first.
            loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        # Its own children must not outlive it. As long as it is not waited for, the number of the group is its own.
        self.signal(signal.SIGKILL)
        self._running = False
        self._exited(self._process.wait())
