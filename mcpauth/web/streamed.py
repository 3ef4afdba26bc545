"""Requests whose body comes in pieces: it is kept only when the headers were found good."""

import asyncio
import sys
from asyncio import Future
from functools import cache
from typing import Any

from tornado import web
from tornado.httputil import HTTPHeaders

from ..errors import TooMuchUnderWay
from ..gateway import frames
from ..gateway.load import LARGE, Held
from .guarded import TOO_LONG, GuardedHandler, Refusal, declared_size

# What a client whose message is too long may still send before it reads why.
LINGER = 2.0
# A body that comes with its headers, nearly always.
SHORT = 16 * 1024


class Streamed(GuardedHandler):
    """A refusal is sent at once, but finished only when the body has come.

    Tornado closes the connection of a request that is finished earlier, and a client that is still sending may
    never see why.
    """

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._body: list[bytes] = []
        self._size = 0
        self._held: Held | None = None  # what has come of a large one, among all that its grant has under way
        self._reading = False
        self._refused = False  # the refusal was sent already
        self._ending: asyncio.TimerHandle | None = None

    async def prepare(self) -> None:
        self._reading = True
        connection: Any = self.request.connection
        # Counted here, and refused by an answer, not by a closed connection.
        connection.set_max_body_size(sys.maxsize)
        await super().prepare()

    def admit(self) -> None:
        self._endings = self._gateway.endings.count
        super().admit()

    def data_received(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if not self._refused:
            # Only a POST has a body that is looked at, and only of whom the bearer let in.
            if self.request.method == "POST":
                self._body.append(chunk)
            if self._size > frames.LIMIT:
                self.turn_away(Refusal(413, TOO_LONG))
            elif self._size > LARGE and self._body:
                self._hold()
        elif self._size > frames.LIMIT:
            self._linger()

    def is_refused(self) -> bool:
        self._reading = False
        if self._refused:
            self._end()
        elif self._grant_session is not None and self._endings != self._gateway.endings.count:
            self.admit()  # A body may take its time, and somebody's grant has ended since.
        return self._refused

    def take_body(self) -> bytes:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._drop_body()
        return body

    def on_connection_close(self) -> None:
        super().on_connection_close()
        self._drop_body()  # Who holds this handler may do so for long.

    def turn_away(self, refusal: Exception) -> None:
        self._refused = True
        self._drop_body()
        # Whoever waits to be asked for the body has its answer.
        self.request.headers.pop("Expect", None)
        if max(declared_size(self.request.headers), self._size) > frames.LIMIT:
            self._linger()
        super().turn_away(refusal)

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> "Future[None]":
        if not self._reading:
            return super().finish(chunk)
        if chunk is not None:
            self.set_header("Content-Length", str(len(chunk)))
            self.write(chunk)
        return self.flush()

    def _hold(self) -> None:
        try:
            self._held = self._gateway.load.hold(self._principal.grant_id, self._size, self._held)
        except TooMuchUnderWay as error:
            self.turn_away(Refusal(503, error.message))

    def _drop_body(self) -> None:
        self._body.clear()
        self._held = None

    def _linger(self) -> None:
        """A body that is too long is not read to its end: the connection is closed, a little later."""
        if self._ending is None:
            self.set_header("Connection", "close")
            self._ending = asyncio.get_running_loop().call_later(LINGER, self._end)

    def _end(self) -> None:
        self._reading = False
        if self._ending is not None:
            self._ending.cancel()
        if not self._finished:
            self.finish()


def is_short(headers: HTTPHeaders) -> bool:
    """Whether the body may just be waited for: it is small, and nothing that Tornado would take apart."""
    return (
        declared_size(headers) <= SHORT
        and "Transfer-Encoding" not in headers
        and headers.get("Content-Type", "application/json").startswith("application/json")
    )


@cache
def streamed(handler_class: type[GuardedHandler]) -> type[web.RequestHandler]:
    """The same handler for bodies that are long."""
    return web.stream_request_body(type(f"Streamed{handler_class.__name__}", (Streamed, handler_class), {}))
