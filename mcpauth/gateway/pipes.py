"""The three pipes between us and a child."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from typing import Protocol, cast

STDIN, STDOUT, STDERR = range(3)


class Receiver(Protocol):
    def pipe_data_received(self, fd: int, data: bytes) -> None: ...

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None: ...

    def pause_writing(self) -> None: ...

    def resume_writing(self) -> None: ...


class Pipes:
    """``theirs`` are the descriptors that the child gets; they are closed here once it has them."""

    stdin: asyncio.WriteTransport
    stdout: asyncio.ReadTransport
    stderr: asyncio.ReadTransport

    def __init__(self, receiver: Receiver) -> None:
        self.theirs: list[int] = []
        self._receiver = receiver
        self._ours: dict[int, asyncio.BaseTransport] = {}

    async def open(self) -> None:
        """Raises OSError."""
        await self._add(STDIN)
        self.stdout = cast(asyncio.ReadTransport, await self._add(STDOUT))
        self.stderr = cast(asyncio.ReadTransport, await self._add(STDERR))

    def given(self) -> None:
        """The child has its ends, or never will."""
        while self.theirs:
            os.close(self.theirs.pop())

    def abort(self) -> None:
        self.given()
        for number, transport in list(self._ours.items()):
            if number == STDIN:
                self.stdin.abort()
            else:
                transport.close()

    async def _add(self, number: int) -> asyncio.BaseTransport:
        loop = asyncio.get_running_loop()
        reading, writing = os.pipe()
        ours = os.fdopen(writing, "wb", 0) if number == STDIN else os.fdopen(reading, "rb", 0)
        self.theirs.append(reading if number == STDIN else writing)
        connect = loop.connect_write_pipe if number == STDIN else loop.connect_read_pipe
        try:
            transport, _ = await connect(lambda: _End(number, self._receiver, self._lost), ours)
        except BaseException:
            with contextlib.suppress(OSError):  # uvloop has closed it where this was given up.
                ours.close()
            raise
        if number == STDIN:
            self.stdin = cast(asyncio.WriteTransport, transport)
        self._ours[number] = transport
        return transport

    def _lost(self, number: int, exc: Exception | None) -> None:
        self._ours.pop(number, None)
        self._receiver.pipe_connection_lost(number, exc)


class _End(asyncio.Protocol):
    def __init__(self, number: int, receiver: Receiver, lost: Callable[[int, Exception | None], None]) -> None:
        self._number, self._receiver, self._lost = number, receiver, lost

    def data_received(self, data: bytes) -> None:
        self._receiver.pipe_data_received(self._number, data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(self._number, exc)

    def pause_writing(self) -> None:
        self._receiver.pause_writing()

    def resume_writing(self) -> None:
        self._receiver.resume_writing()
