"""A child process and the requests it has."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from .. import log
from ..ambient import Ambient
from ..errors import BackendUnavailable, GatewayError, ParseError
from . import frames
from .back_off import BackOff
from .backend import ENDED, RETIRED
from .child import Child
from .children import Place
from .exchange import Exchange, Pace
from .frames import Frame
from .in_flight import InFlight
from .load import Unread
from .reaper import Reaper
from .stderr import StderrLog

logger = logging.getLogger(__name__)

# Of the questions of a child that nobody has answered, and of what a session has subscribed to, so many count.
OPEN = 1000


class Program(NamedTuple):
    """What is started, and how it is ended."""

    command: list[str]
    env: Mapping[str, str]
    cwd: Path
    grace: float
    reaper: Reaper | None


class StdioSession:
    """A child of one legacy session. Requests get ids of ours towards it, and their own back on the way out."""

    def __init__(
        self,
        name: str,
        listener: Callable[[Frame], None],
        ambient: Ambient,
        place: Place,
        ended: Callable[["StdioSession"], None],
        unread: Unread | None = None,
        *,
        probed: bool = False,
        reference: str | None = None,
    ) -> None:
        """Of one that is only ``probed``, whoever does that says in the log how it ended, where that matters.

        By the ``reference`` the owner finds its lines in the log.
        """
        self._name, self._ambient, self._place, self._forget = name, ambient, place, ended
        self._probed, self.reference = probed, reference or ambient.identifier()[:8]
        self.failed = False  # it has ended by itself
        self._in_flight = InFlight(listener, unread)
        self._asked: dict[int | str, None] = {}
        self._subscribed: dict[bytes, None] = {}
        self._closed = self._retired = self._answered = False
        self._proven: Callable[[], None] = lambda: None
        self._over: str | None = None
        self._stderr = StderrLog(name, self.reference)

    async def start(self, program: Program, back_off: BackOff) -> None:
        self._back_off, self._started_at = back_off, self._ambient.now()
        self._child = await Child.spawn(
            program.command,
            stderr=self._stderr,
            env=program.env,
            cwd=program.cwd,
            line=self._heard,
            ended=self._ended,
            grace=program.grace,
            reaper=program.reaper,
        )
        self._pace = self._paced()
        # Its lines on stderr have the same reference.
        about = log.fields(backend=self._name, reference=self.reference)
        logger.log(logging.DEBUG if self._probed else logging.INFO, "backend_started", extra=about)

    def _paced(self) -> Pace:
        return Pace(self._child.hold, self._child.go_on)

    @property
    def last_line(self) -> str:
        return self._stderr.last_line

    @property
    def over(self) -> bool:
        return self._over is not None

    @property
    def runs(self) -> bool:
        return self._over is None

    @property
    def serves(self) -> bool:
        return self._over is None and not self._retired

    @property
    def busy(self) -> bool:
        if self._retired:  # Of changes, another tells by now.
            return self._in_flight.works or bool(self._asked)
        return bool(self._in_flight or self._asked or self._subscribed)

    @property
    def proven(self) -> bool:
        """Whether it is at a client's service, and has answered."""
        return self.serves and self._answered and not self._probed

    def on_proven(self, tell: Callable[[], None]) -> None:
        """``tell`` is called when it has answered for the first time."""
        self._proven = tell

    def client_is_away(self) -> None:
        self._asked.clear()
        self._subscribed.clear()

    def retire(self) -> None:
        """Take no new request."""
        self._retired = True

    def request(self, frame: Frame) -> Exchange:
        self._refuse_retired()
        method = frames.text(frame["method"])
        if method == "resources/subscribe" or method == "resources/unsubscribe":
            self._subscribe(frame, method == "resources/subscribe")
        return self._send(frame)

    async def notify(self, frame: Frame) -> None:
        if "method" not in frame:
            self._asked.pop(frames.identifier(frame["id"]), None)
        elif frames.text(frame["method"]) == "notifications/cancelled":
            cancelled = self._in_flight.cancel(frame)
            if cancelled is None:
                return
            _, frame = cancelled
        self._tell(frame)
        await self._child.accept(frames.weight(frame))

    async def close(self, reason: str = ENDED) -> None:
        self._closed = True
        self._fail(reason)
        await self._child.close()

    def kill(self) -> None:
        self._child.kill()

    def _refuse_retired(self) -> None:
        if self._retired and self._over is None:
            raise BackendUnavailable(RETIRED)

    def _send(self, frame: Frame) -> Exchange:
        if self._over is not None:
            raise BackendUnavailable(self._over, self._stderr.last_line)
        if self._child.stuck:
            raise GatewayError(f"the server {self._name} does not read what it is asked; try again later")
        self._place.used()
        sent = self._in_flight.add(frame, self._pace)
        self._child.write(frames.encode_line(sent.frame))
        return sent.exchange

    def _tell(self, frame: Frame) -> None:
        """One that reads nothing for long is told nothing more, whatever it asks."""
        if self._over is None and not self._child.stuck:
            self._child.write(frames.encode_line(frame))

    def _subscribe(self, frame: Frame, begins: bool) -> None:
        uri = bytes(frames.members(frame.get("params")).get("uri", b""))
        if not begins:
            self._subscribed.pop(uri, None)
        elif len(self._subscribed) < OPEN:
            self._subscribed[uri] = None

    def _heard(self, line: bytes) -> int:
        """One line of the child's. How much of it is about no request."""
        stray = 0
        try:
            for frame in _read(line):
                stray += not self._deliver(frame)
        except GatewayError as error:
            begins = line[:200].decode("utf-8", "replace")
            about = log.bounded(backend=self._name, reason=error.message, line=begins)
            logger.warning("backend_line_skipped", extra=about)
            why = f"the server {self._name} gave an answer that cannot be read: {error.message}"
            return int(not self._in_flight.spoilt(line, BackendUnavailable(why)))
        if not self._answered:
            self._answered = True
            self._proven()
        return stray

    def _deliver(self, frame: Frame) -> bool:
        if "method" in frame:
            if frames.is_ping(frame):
                self._tell(frames.result(frame["id"], {}))
                return False
            self._note(frame)
        # Where nothing tells which request it is about: with one in flight, it is that one.
        return self._in_flight.heard(frame, self._in_flight.only)

    def _note(self, frame: Frame) -> None:
        """What it asks of the client, and that it asks no more."""
        if "id" in frame:
            self._asked[frames.identifier(frame["id"])] = None
            if len(self._asked) > OPEN:
                del self._asked[next(iter(self._asked))]
        elif frames.text(frame["method"]) == "notifications/cancelled":
            request_id = frames.members(frame.get("params")).get("requestId")
            if request_id is not None:
                self._asked.pop(frames.identifier(request_id), None)

    def _ended(self, reason: str) -> None:
        """The process is gone. Clients learn that, and where the owner finds more: stderr has the same reference."""
        self._place.leave()
        self._forget(self)
        if self._closed:
            return
        self.failed = True
        about = log.fields(backend=self._name, reason=reason, reference=self.reference, waiting=len(self._in_flight))
        logger.log(logging.DEBUG if self._probed else logging.ERROR, "backend_exited", extra=about)
        why = f"the server {self._name} ended ({reason}); log reference {self.reference}"
        self._back_off.ended(why, lived=self._ambient.now() - self._started_at, answered=self._answered)
        self._fail(why)

    def _fail(self, reason: str) -> None:
        """Every request that waits, and every later one, gets ``reason``."""
        self._over = self._over or reason
        self._in_flight.fail_all(BackendUnavailable(reason, self._stderr.last_line))


def _read(line: bytes) -> list[Frame]:
    """As other clients read it: a byte order mark at the beginning is none of its letters, nor is what is no UTF-8."""
    try:
        return frames.messages(line)
    except ParseError:
        text = line.decode("utf-8-sig", "replace").encode()
        if text == line:
            raise
        return frames.messages(text)
