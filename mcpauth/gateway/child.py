"""One child process: lines in, lines out, and nothing left of it or of its own children at the end."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

from ..errors import BackendUnavailable
from .frames import LIMIT
from .reaper import Reaper
from .stderr import StderrLog

STDIN, STDOUT, STDERR = range(3)

# A frame of LIMIT with the ids that were exchanged in it, and some room.
LINE_LIMIT = LIMIT + 64 * 1024
# What may wait for a child to read it.
BACKLOG = 2 * LIMIT
# How long is read no more of what it complains, when that is too much.
BREATH = 0.1


class Child(asyncio.SubprocessProtocol):
    """A process in a group of its own. ``line`` gets what it writes, ``ended`` why it is gone.

    A protocol, not streams: a line reaches whoever waits for it in the callback that read it.
    """

    def __init__(
        self,
        name: str,
        line: Callable[[bytes], None],
        ended: Callable[[str], None],
        grace: float,
        reaper: Reaper | None,
    ) -> None:
        self._line, self._ended, self._grace, self._reaper = line, ended, grace, reaper
        self._stderr = StderrLog(name)
        self._partial = bytearray()
        self._lines: list[bytearray] = []
        self._reason: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._breath: asyncio.TimerHandle | None = None
        self._exited = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @classmethod
    async def spawn(
        cls,
        name: str,
        command: list[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        line: Callable[[bytes], None],
        ended: Callable[[str], None],
        grace: float,
        reaper: Reaper | None = None,
    ) -> "Child":
        """A running child. Raises BackendUnavailable, naming what to change."""
        try:
            _, child = await asyncio.get_running_loop().subprocess_exec(
                lambda: cls(name, line, ended, grace, reaper),
                *command,
                env=env,
                cwd=cwd,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise BackendUnavailable(
                f"{name}: {command[0]} does not start ({why}); see its command and cwd in mcp.json"
            ) from None
        return child

    def write(self, line: bytearray) -> None:
        """Lines of one turn of the loop are written at once: each write wakes the child."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(line)

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        if not self._stdin.is_closing():
            self._stdin.writelines(lines)

    @property
    def stuck(self) -> bool:
        """It has not taken for long what was written: no more should be."""
        return not self._writable.is_set() and self._stdin.get_write_buffer_size() > BACKLOG

    async def drain(self) -> None:
        """Until the child has taken most of what was written."""
        await self._writable.wait()

    def hold(self) -> None:
        """Read no more; the child's own writes will wait."""
        if not self._stdout.is_closing():
            self._stdout.pause_reading()

    def go_on(self) -> None:
        if not self._stdout.is_closing():
            self._stdout.resume_reading()

    async def close(self) -> None:
        """Ask by closing stdin, then by SIGTERM, then do not ask."""
        self._reason = "it was stopped"
        if self._gone.is_set():
            return
        self.go_on()
        self._listen()
        self._flush()
        self._stdin.close()
        for insist in (signal.SIGTERM, signal.SIGKILL):
            if await self._happens(self._exited):
                break
            self._signal(insist)
        await self._happens(self._exited)
        self._transport.close()
        await self._happens(self._gone)

    def kill(self) -> None:
        """Do not ask at all."""
        if not self._gone.is_set():
            self._signal(signal.SIGKILL)

    async def _happens(self, event: asyncio.Event) -> bool:
        """Whether it does in the time that a child is given."""
        try:
            await asyncio.wait_for(event.wait(), self._grace)
        except TimeoutError:
            return False
        return True

    def _signal(self, number: signal.Signals) -> None:
        # The group may be empty (macOS says so with EPERM).
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._transport.get_pid(), number)

    def _listen(self) -> None:
        """To its complaints again."""
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None
            if not self._complaints.is_closing():
                self._complaints.resume_reading()

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._signal(signal.SIGKILL)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.SubprocessTransport, transport)
        if self._reaper is not None:
            self._reaper.watch(self._transport.get_pid())
        self._stdin = cast(asyncio.WriteTransport, self._transport.get_pipe_transport(STDIN))
        self._stdout = cast(asyncio.ReadTransport, self._transport.get_pipe_transport(STDOUT))
        self._complaints = cast(asyncio.ReadTransport, self._transport.get_pipe_transport(STDERR))

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            if self._stderr.feed(data) and not self._exited.is_set() and self._reason is None:
                self._complaints.pause_reading()
                self._breath = asyncio.get_running_loop().call_later(BREATH, self._listen)
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            if self._partial:
                self._partial += line
                line = bytes(self._partial)
                self._partial.clear()
            if line and not line.isspace():
                self._line(line)
        self._partial += rest
        if len(self._partial) > LINE_LIMIT:
            self._partial.clear()
            self._kill(f"it wrote a line of more than {LIMIT // 1024**2} MiB")

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Mostly the process is ending. One that only hung up would never answer again."""
        if fd != STDERR and self._reason is None and not self._exited.is_set():
            why = "it closed its standard input or output"
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._kill, why)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def process_exited(self) -> None:
        self._exited.set()
        self._writable.set()
        self._listen()
        if self._timer is not None:
            self._timer.cancel()
        # Its own children must not outlive it, nor keep its pipes open.
        self._signal(signal.SIGKILL)
        if self._reaper is not None:
            self._reaper.forget(self._transport.get_pid())
        # One that made itself a session of its own could.
        self._timer = asyncio.get_running_loop().call_later(self._grace, self._transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The process has ended and all it wrote was read."""
        if self._timer is not None:
            self._timer.cancel()
        self._transport.close()
        self._stderr.close()
        self._gone.set()
        self._ended(self._reason or _describe(self._transport.get_returncode()))


def _describe(status: int | None) -> str:
    if status is not None and status < 0:
        return f"killed by signal {-status}"
    return f"exit status {status}"
