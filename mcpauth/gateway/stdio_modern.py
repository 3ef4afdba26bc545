"""A child that speaks the modern era, with requests of several clients."""

from collections.abc import Callable

from ..ambient import Ambient
from ..errors import GatewayError, RequestCancelled, UnknownMethod
from . import frames
from .back_off import BackOff
from .backend import ENDED
from .children import Place
from .declared import NOTHING
from .exchange import Exchange, Pace, SharedPace
from .frames import Frame
from .listing import ANNOUNCED
from .modern.caller import Caller
from .modern.envelope import without_logs
from .probe import meta
from .stdio_session import Program, StdioSession

# What we want to know ourselves. The id is none of those that requests of clients have.
WANTED = {"notifications": dict.fromkeys(ANNOUNCED, True), "_meta": meta(NOTHING)}
LISTEN = frames.request("lists", "subscriptions/listen", WANTED)


class ModernChild(StdioSession):
    """What belongs to none of the clients goes to nobody.

    Log messages do not say which request they are about: they are passed on while a single one is in flight and
    wants them; a child that users share is not asked for any.
    """

    def __init__(
        self,
        name: str,
        ambient: Ambient,
        place: Place,
        ended: Callable[[StdioSession], None],
        *,
        private: bool,
    ) -> None:
        super().__init__(name, lambda frame: None, ambient, place, ended)
        self.private = private
        self._changed: Callable[[], None] = lambda: None
        self._wants_logs: Exchange | None = None  # the newest request that does

    async def start(self, program: Program, back_off: BackOff) -> None:
        await super().start(program, back_off)
        self._tell(LISTEN)

    def on_changed(self, tell: Callable[[], None]) -> None:
        """``tell`` is called when it says that a list of its has changed."""
        self._changed = tell

    def _paced(self) -> Pace:
        return SharedPace(self._child.hold, self._child.go_on, self._in_flight.alone, self._late)

    @property
    def works(self) -> bool:
        return self._in_flight.works

    def request(self, frame: Frame) -> Exchange:
        """Of one that is retired, too: who has joined it goes on with what was begun."""
        exchange = self._send(frame if self.private else without_logs(frame))
        exchange.whole = frames.text(frame["method"]) == "subscriptions/listen"
        if exchange.logs:
            self._wants_logs = exchange
        return exchange

    def cancel(self, exchange: Exchange, error: GatewayError) -> None:
        """Its reader gets ``error``, and the child is told; nothing of what was answered already."""
        number = self._in_flight.abandon(exchange)
        exchange.fail(error)
        if number is not None:
            told = {"requestId": number, "reason": error.message}
            self._tell(frames.notification("notifications/cancelled", told))

    def _late(self, exchange: Exchange) -> None:
        """Progress may have gaps; whoever subscribes again knows that there was one."""
        if exchange.whole:
            self.cancel(exchange, RequestCancelled("the client reads too slowly"))

    async def close(self, reason: str = ENDED) -> None:
        await super().close(f"the server {self._name} was stopped: {reason}")

    def _deliver(self, frame: Frame) -> bool:
        if "id" in frame and "method" in frame:
            # In this era a server asks by its result. One that asks anyway is not left waiting.
            self._tell(frames.failure(frame["id"], UnknownMethod("clients of this era take no requests")))
            return False
        method = frames.text(frame.get("method"))
        if method is not None and method.endswith("/list_changed"):
            self._changed()
        only = self._in_flight.only if method == "notifications/message" and self.private else None
        return self._in_flight.heard(frame, only if only is self._wants_logs else None)


class Joined:
    """One caller's use of it: others wait for its grant, or for its user where the child is everybody's."""

    __slots__ = ("_child", "_unread", "_whose")

    def __init__(self, child: ModernChild, caller: Caller) -> None:
        self._child, self._whose = child, caller.grant_id if child.private else caller.subject
        self._unread = caller.unread

    def request(self, frame: Frame) -> Exchange:
        exchange = self._child.request(frame)
        exchange.whose, exchange.unread = self._whose, self._unread
        return exchange

    def cancel(self, exchange: Exchange, error: GatewayError) -> None:
        self._child.cancel(exchange, error)
