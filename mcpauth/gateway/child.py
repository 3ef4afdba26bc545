"""One child process: lines in, lines out, and nothing left of it or of its own children at the end."""

import asyncio
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from ..errors import BackendUnavailable
from .frames import LIMIT
from .pipes import STDERR, STDIN, STDOUT, Pipes
from .process import Process
from .reaper import MARK, Reaper
from .stderr import StderrLog
from .stray import Stray

# A frame of LIMIT with the ids that were exchanged in it, and some room.
LINE_LIMIT = LIMIT + 64 * 1024
# What may wait for a child to read it.
BACKLOG = 2 * LIMIT
# Of what is no request, so much is accepted while the child takes nothing; whoever has more to say waits.
TOLD = 256 * 1024
# How long is read no more of what it complains, when that is too much.
BREATH = 0.1


class Child:
    """A process in a group of its own. ``line`` gets what it writes, and says how many messages in it nobody waits for;
    ``ended`` gets why it is gone.

    Not with streams: a line reaches whoever waits for it in the callback that read it.
    """

    def __init__(
        self,
        stderr: StderrLog,
        line: Callable[[bytes], int],
        ended: Callable[[str], None],
        grace: float,
        reaper: Reaper | None,
    ) -> None:
        self._line, self._ended, self._grace, self._reaper = line, ended, grace, reaper
        self._stderr = stderr
        self._pipes = Pipes(self)
        self._open = {STDIN, STDOUT, STDERR}
        self._partial = bytearray()
        self._lines: list[bytearray] = []
        self._turn = False  # something was written in this turn of the loop
        self._reason: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._breath: asyncio.TimerHandle | None = None
        self._stray = Stray()
        self._unheard: list[bytes] = []
        self._pause: asyncio.TimerHandle | None = None
        self._held = False
        self._exited = asyncio.Event()
        self._gone = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._told = 0  # since it takes nothing

    @classmethod
    async def spawn(
        cls,
        command: list[str],
        *,
        stderr: StderrLog,
        env: Mapping[str, str],
        cwd: Path,
        line: Callable[[bytes], int],
        ended: Callable[[str], None],
        grace: float,
        reaper: Reaper | None = None,
    ) -> "Child":
        """A running child. Raises BackendUnavailable, naming what to change."""
        child = cls(stderr, line, ended, grace, reaper)
        try:
            await child._start(command, env, cwd)
        except (OSError, ValueError) as error:
            raise BackendUnavailable(_obstacle(command[0], env, cwd, error)) from None
        return child

    async def _start(self, command: list[str], env: Mapping[str, str], cwd: Path) -> None:
        if self._reaper is not None:
            self._marker = self._reaper.expect()
            env = {**env, MARK: self._marker}
        try:
            await self._pipes.open()
            stdin, stdout, stderr = self._pipes.theirs
            self._process = Process(
                command, stdin=stdin, stdout=stdout, stderr=stderr, env=env, cwd=cwd, exited=self._process_exited
            )
        except BaseException:
            self._reason = "it did not start"
            self._pipes.abort()
            self._leave()
            raise
        self._pipes.given()
        if self._reaper is not None:
            self._reaper.watch(self._marker, self._process.group)

    def write(self, line: bytearray) -> None:
        """Lines of one turn of the loop are written at once, but the first of them: each write wakes the child."""
        if self._turn:
            self._lines.append(line)
            return
        self._turn = True
        asyncio.get_running_loop().call_soon(self._flush)
        if not self._pipes.stdin.is_closing():
            self._pipes.stdin.write(line)

    def _flush(self) -> None:
        lines, self._lines, self._turn = self._lines, [], False
        if lines and not self._pipes.stdin.is_closing():
            self._pipes.stdin.writelines(lines)

    @property
    def stuck(self) -> bool:
        """It has not taken for long what was written: no more should be."""
        return not self._writable.is_set() and self._pipes.stdin.get_write_buffer_size() > BACKLOG

    async def accept(self, size: int) -> None:
        """What was written, of that ``size``: at once when it is little, else until the child has taken most of it."""
        if not self._writable.is_set():
            self._told += size
            if self._told > TOLD:
                await self._writable.wait()

    def hold(self) -> None:
        """Read no more; the child's own writes will wait."""
        self._held = True
        self._read()

    def go_on(self) -> None:
        self._held = False
        self._read()

    def _read(self) -> None:
        """Or not."""
        if self._pipes.stdout.is_closing():
            return
        if self._held or self._pause is not None:
            self._pipes.stdout.pause_reading()
        else:
            self._pipes.stdout.resume_reading()

    async def close(self) -> None:
        """Ask by closing stdin, then by SIGTERM, then do not ask."""
        self._reason = "it was stopped"
        if self._gone.is_set():
            return
        self._line = lambda line: 0  # Nobody waits any more, so there is nothing to wait for either.
        self.go_on()
        self._listen()
        self._flush()
        self._pipes.stdin.close()
        for insist in (signal.SIGTERM, signal.SIGKILL):
            if await self._happens(self._exited):
                break
            self._process.signal(insist)
        await self._happens(self._exited)
        self._pipes.abort()
        await self._happens(self._gone)

    def kill(self) -> None:
        """Do not ask at all."""
        if not self._gone.is_set():
            self._process.signal(signal.SIGKILL)

    async def _happens(self, event: asyncio.Event) -> bool:
        """Whether it does in the time that a child is given."""
        try:
            await asyncio.wait_for(event.wait(), self._grace)
        except TimeoutError:
            return False
        return True

    def _listen(self) -> None:
        """To its complaints again."""
        if self._breath is not None:
            self._breath.cancel()
            self._breath = None
            if not self._pipes.stderr.is_closing():
                self._pipes.stderr.resume_reading()

    def _kill(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._process.signal(signal.SIGKILL)

    # What its pipes and its process tell.

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == STDERR:
            if self._stderr.feed(data) and not self._exited.is_set() and self._reason is None:
                self._pipes.stderr.pause_reading()
                self._breath = asyncio.get_running_loop().call_later(BREATH, self._listen)
            return
        *lines, rest = data.split(b"\n")
        if lines and self._partial:
            self._partial += lines[0]
            lines[0] = bytes(self._partial)
            self._partial.clear()
        self._hear(lines)
        self._partial += rest
        if len(self._partial) > LINE_LIMIT:
            self._partial.clear()
            self._kill(f"it wrote a line of more than {LIMIT // 1024**2} MiB")

    def _hear(self, lines: list[bytes]) -> None:
        for number, line in enumerate(lines, 1):
            stray = self._line(line) if line and not line.isspace() else 1
            if stray and (pause := self._stray.heard(stray)) is not None:
                self._unheard = lines[number:]
                self._pause = asyncio.get_running_loop().call_later(pause, self._paused)
                self._read()
                return

    def _paused(self) -> None:
        self._pause = None
        lines, self._unheard = self._unheard, []
        self._hear(lines)
        self._read()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Mostly the process is ending. One that only hung up would never answer again."""
        if fd != STDERR and self._reason is None and not self._exited.is_set():
            why = "it closed its standard input or output"
            self._timer = asyncio.get_running_loop().call_later(self._grace, self._kill, why)
        self._open.discard(fd)
        self._finish()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._told = 0
        self._writable.set()

    def _process_exited(self, status: int) -> None:
        self._reason = self._reason or _describe(status)
        self._exited.set()
        self._writable.set()
        self._listen()
        if self._timer is not None:
            self._timer.cancel()
        self._leave()
        # A child of its own that made itself a session could keep the pipes open.
        self._timer = asyncio.get_running_loop().call_later(self._grace, self._pipes.abort)
        self._finish()

    def _leave(self) -> None:
        if self._reaper is not None:
            self._reaper.forget(self._marker)

    def _finish(self) -> None:
        """When the process has ended and all it wrote was read."""
        if not self._exited.is_set() or self._open & {STDOUT, STDERR}:
            return
        if self._open:
            self._pipes.stdin.abort()
            return
        for timer in (self._timer, self._pause):
            if timer is not None:
                timer.cancel()
        self._stderr.close()
        self._gone.set()
        self._ended(self._reason or "")


def _obstacle(program: str, env: Mapping[str, str], cwd: Path, error: Exception) -> str:
    """Why it does not start. Clients read this: no path but the one that the entry calls it by."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        if not os.path.isdir(cwd):
            return f"there is no folder to start {program} in; see its cwd in mcp.json"
        if shutil.which(str(cwd / program) if "/" in program else program, path=env.get("PATH")) is None:
            return f"{program} is not found; see its command in mcp.json"
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return f"{program} does not start ({why}); see its command and cwd in mcp.json"


def _describe(status: int) -> str:
    if status < 0:
        return f"killed by signal {-status}"
    return f"exit status {status}"
