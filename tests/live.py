"""`python server.py` as a process of its own, as the README starts it."""

import asyncio
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

SERVER = Path(__file__).parents[1] / "server.py"
PATIENCE = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class LiveServer:
    """In the folder ``directory``, whose data/ is its own; ``async with`` starts and stops it.

    ``printed`` is what it said on standard output, ``log`` what it said on standard error.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.port = free_port()
        self.origin = f"http://localhost:{self.port}"
        inherited = {name: value for name, value in os.environ.items() if "OAUTH" not in name}
        self.environ = {**inherited, "MCP_OAUTH_PORT": str(self.port), **settings}
        self.printed: list[str] = []
        self.log = ""
        self.process: asyncio.subprocess.Process | None = None
        self._reading: list[asyncio.Task[Any]] = []

    async def __aenter__(self) -> "LiveServer":
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        if self.process is not None and self.process.returncode is None:
            await self.stop()

    @property
    def setup_link(self) -> str:
        """The newest that was printed; empty when there is none."""
        links = re.findall(r"http\S+/setup\?code=\S+", "\n".join(self.printed))
        return links[-1] if links else ""

    async def start(self) -> None:
        """Until it has printed the line on tools: then it serves, and its backends have answered."""
        self.process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SERVER),
            cwd=self.directory,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.printed.clear()
        ready = asyncio.Event()
        self._reading = [
            asyncio.create_task(self._read_printed(self.process.stdout, ready)),
            asyncio.create_task(self._read_log(self.process.stderr)),
        ]
        await asyncio.wait_for(ready.wait(), PATIENCE)
        if self.process.returncode is not None:
            raise AssertionError(f"the server did not start: {self.log}")

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return await self.wait()

    async def wait(self) -> int:
        assert self.process is not None
        try:
            status = await asyncio.wait_for(self.process.wait(), PATIENCE)
        except TimeoutError:
            self.process.kill()
            raise AssertionError(f"the server did not stop: {self.log}") from None
        await asyncio.gather(*self._reading)
        return status

    async def restart(self) -> None:
        assert await self.stop() == 0, self.log
        await self.start()

    async def _read_printed(self, stream: asyncio.StreamReader | None, ready: asyncio.Event) -> None:
        assert stream is not None
        while line := (await stream.readline()).decode():
            self.printed.append(line.rstrip("\n"))
            if line.startswith("  tools "):
                ready.set()
        if self.process is not None:
            await self.process.wait()
        ready.set()

    async def _read_log(self, stream: asyncio.StreamReader | None) -> None:
        assert stream is not None
        while line := await stream.readline():
            self.log += line.decode("utf-8", "replace")


async def run(directory: Path, *arguments: str, typed: str = "", **settings: str) -> tuple[int, str, str]:
    """One command, `python server.py ARGUMENTS`: exit status, standard output, standard error."""
    inherited = {name: value for name, value in os.environ.items() if "OAUTH" not in name}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(SERVER),
        *arguments,
        cwd=directory,
        env={**inherited, **settings},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, said = await asyncio.wait_for(process.communicate(typed.encode()), PATIENCE)
    assert process.returncode is not None
    return process.returncode, printed.decode(), said.decode()
