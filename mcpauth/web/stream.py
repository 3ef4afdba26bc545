"""Tornado's stream over a transport of the loop's, which watches a descriptor once, not anew for every request."""

import asyncio
import socket
from collections.abc import Awaitable
from typing import cast

from tornado.iostream import BaseIOStream, StreamClosedError, UnsatisfiableReadError
from tornado.log import gen_log

# What is read at once, and what may have come that was not asked for yet before the client has to wait.
AT_ONCE, AHEAD = 64 * 1024, 16 * 1024
END_OF_HEAD = b"\r?\n\r?\n"  # as HTTP1Connection writes it


class TransportStream(BaseIOStream, asyncio.BufferedProtocol):
    """An accepted connection. Of Tornado's stream it has what a read asks for, and how that is found and given out.

    A client's leaving is told to who waits for something, or wants to know it, and not in between: whoever began to
    wait for the end of a stream that is closed already would never hear of it.

    What comes, comes by way of ``buffer``, which all connections share: a loop that brings its own has one so large
    that many connections together would hold too much. ``read_into`` is not built: nothing here reads that way.
    """

    def __init__(self, connection: socket.socket, buffer: memoryview) -> None:
        super().__init__()
        self.socket, self._buffer = connection, buffer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._paused = False  # what comes is left to the kernel
        self._full = False  # what was written is not all with the kernel yet
        self._left = False
        self._looked_at = 0  # of what is buffered, in search of the end of a head

    async def open(self) -> None:
        if not self.closed():
            try:
                await self._loop.connect_accepted_socket(lambda: self, self.socket)
                return
            except OSError as error:
                self.close(error)
        self.socket.close()

    # What the transport tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        # A write is done when the kernel has all of it, as with Tornado's own streams.
        self._transport.set_write_buffer_limits(0)
        if self.closed():
            self._transport.abort()

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._read_buffer += self._buffer[:nbytes]
        self._read_buffer_size += nbytes
        if self._read_future is not None:
            try:
                found = self._find_read_pos()
            except UnsatisfiableReadError as error:
                gen_log.info("Unsatisfiable read, closing connection: %s", error)
                self.close(error)
                return
            if found is not None:
                self._read_from_buffer(found)
        if self._read_buffer_size > AHEAD and self._read_future is None and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._leave(None)
        return True  # Closed by us, and when somebody is told.

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._leave(error)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        while self._write_futures:
            _, future = self._write_futures.popleft()
            if not future.done():
                future.set_result(None)

    def _leave(self, error: Exception | None) -> None:
        self._left = True
        if self.error is None:
            self.error = error
        if self._read_future is not None or self._write_futures or self._close_callback is not None:
            self.close()

    def take(self, count: int) -> bytes | None:
        """So much of what has come already; None when that is less."""
        if self._read_buffer_size < count:
            return None
        data = self._consume(count)
        self._maybe_add_error_listener()
        return data

    @property
    def unsent(self) -> int:
        """The bytes that the kernel has not got yet: the client does not read them, or slowly."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    # What Tornado's half is built on.

    def write(self, data: bytes | memoryview) -> "asyncio.Future[None]":
        self._check_closed()
        written = self._loop.create_future()
        if self._transport is None:
            self.close()
            written.set_exception(StreamClosedError(self.error))
        else:
            self._transport.write(data)
            if not self._full:
                written.set_result(None)
                return written
            self._write_futures.append((0, written))
        # Not everybody who writes looks at what became of it.
        written.add_done_callback(lambda done: done.cancelled() or done.exception())
        return written

    def close_fd(self) -> None:
        """What is not with the kernel yet is dropped: somebody who does not read must not hold the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _read_to_buffer_loop(self) -> None:
        """What there is to read has come already."""

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        if regex != END_OF_HEAD:
            raise NotImplementedError  # ``_find_read_pos`` looks for nothing else.
        return super().read_until_regex(regex, max_bytes)

    def _find_read_pos(self) -> int | None:
        """What was gone through in vain is not gone through again: a head may come a byte at a time."""
        if self._read_regex is None:
            return super()._find_read_pos()
        size = self._read_buffer_size
        found = self._read_buffer.find(b"\n\r\n", self._looked_at)
        end = found + 3 if found >= 0 else size
        bare = self._read_buffer.find(b"\n\n", self._looked_at, end)
        if bare >= 0:
            found, end = bare, bare + 2
        self._looked_at = 0 if found >= 0 else max(0, size - 2)
        self._check_max_bytes(END_OF_HEAD, end)
        return end if found >= 0 else None

    def _maybe_add_error_listener(self) -> None:
        """Somebody may want to know now when the client leaves; and there may be room for more again."""
        if self._left:
            if self._close_callback is not None:
                self.close()
        elif self._paused and self._read_buffer_size <= AHEAD:
            self._resume()

    def _add_io_state(self, state: int) -> None:
        """A read needs more than there is."""
        if self._left:
            self.close()
        else:
            self._resume()

    def _resume(self) -> None:
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
