"""The requests a backend session has in flight: our ids and tokens towards it, the client's own on the way back."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ..errors import BackendUnavailable, GatewayError, InvalidMessage
from . import frames, unreadable
from .eras import LOG_LEVEL, SUBSCRIPTION
from .exchange import Exchange
from .frames import Frame
from .load import Unread

# Our numbers as some servers write them: "5", 5.0.
WRITTEN = re.compile(rb'"?(?P<number>[0-9]{1,15})(?:\.0+)?"?')
TAG = re.compile(rb"subscriptionId")

# By these a request is told from others', so there must be no second opinion on them.
META, TOKEN_NAME, REQUEST_ID = frozenset({"_meta"}), frozenset({"progressToken"}), frozenset({"requestId"})


class Sent(NamedTuple):
    """A request as it came, and as it is to be sent: under the number it has towards the backend."""

    number: int
    came: Frame
    frame: Mapping[str, Any]
    exchange: Exchange


class InFlight:
    """``listener`` gets what belongs to none of them; ``unread`` counts their answers, where all are one grant's."""

    def __init__(self, listener: Callable[[Frame], None], unread: Unread | None = None) -> None:
        self._listener, self._unread = listener, unread
        self._waiting: dict[int, Exchange] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, number: int) -> bool:
        return number in self._waiting

    @property
    def works(self) -> bool:
        """Whether one of them is more than a subscription."""
        return any(not exchange.whole for exchange in self._waiting.values())

    @property
    def only(self) -> Exchange | None:
        """The one that waits for its answer, when it is the only one; a subscription waits for other things."""
        found: Exchange | None = None
        for exchange in self._waiting.values():
            if not exchange.whole:
                if found is not None:
                    return None
                found = exchange
        return found

    def add(self, frame: Frame, hold: Callable[[Exchange], None]) -> Sent:
        """Raises InvalidMessage."""
        self._last += 1
        exchange = Exchange(frame["id"], hold)
        exchange.unread = self._unread
        number = msgspec.Raw(b"%d" % self._last)
        sent: dict[str, Any] = {**frame, "id": number}
        params = frames.members(frame.get("params"))
        _refuse_look_alike(params, META)
        if "_meta" in params:
            meta = frames.members(params["_meta"])
            _refuse_look_alike(meta, TOKEN_NAME)
            exchange.token, exchange.logs = meta.get("progressToken"), LOG_LEVEL in meta
            if exchange.token is not None:
                # The request's own number is unique among all that are active, so it serves as the token too.
                meta["progressToken"] = number
            # Encoded anew: of a member given twice, the backend gets the one that was looked at.
            sent["params"] = {**params, "_meta": meta} if meta else params
        self._waiting[self._last] = exchange
        return Sent(self._last, frame, sent, exchange)

    def heard(self, frame: Frame, about: Exchange | None, *, alone: bool = False) -> bool:
        """A frame of the backend's; where it does not say what it belongs to, it is ``about`` this request.

        ``alone``: it came on a stream that waits for nobody else. Whether it belongs to any.
        """
        method = frame.get("method")
        if method is None:
            return self._answered(frame, about)
        if frames.text(method) == "notifications/progress":
            return self._progressed(frame, about, alone)
        if (number := _subscription(frame.get("params"))) is not None:
            return self._published(number, frame)
        if about is not None:
            about.put(frame)
        else:
            self._listener(frame)
        return about is not None

    def spoilt(self, line: bytes, error: GatewayError) -> bool:
        """Of a line that cannot be read, whoever waits for what seems to be in it gets ``error``.

        That is the request whose answer it is by its id, or the only one. Whether there is one.
        """
        request_id = unreadable.answer(line)
        if request_id is None:
            return False
        written = WRITTEN.fullmatch(request_id)
        number = int(written["number"]) if written else None if request_id else self._number_of(self.only)
        if number is None or number not in self._waiting:
            return False
        self.fail(number, error)
        return True

    def of(self, owner: object) -> list[Exchange]:
        return [exchange for exchange in self._waiting.values() if exchange.owner is owner]

    def alone(self, exchange: Exchange) -> bool:
        """Whether nothing else waits; where it has no room, and an answer would be lost, nothing of anybody else's."""
        return all(
            one is exchange or (exchange.has_no_room and one.whose == exchange.whose) for one in self._waiting.values()
        )

    def owners(self) -> set[object]:
        return {exchange.owner for exchange in self._waiting.values()} - {None}

    def cancel(self, frame: Frame, owner: object = None) -> tuple[int, Frame] | None:
        """The number and the frame with it in place of the owner's id; None when no such request is waiting."""
        params = frames.members(frame.get("params"))
        _refuse_look_alike(params, REQUEST_ID)
        if "requestId" not in params:
            return None
        wanted = frames.identifier(params["requestId"])
        for number, exchange in self._waiting.items():
            if exchange.owner is owner and frames.identifier(exchange.request_id) == wanted:
                # The backend is not to answer it any more, and a stream must have an end.
                self.fail(number, BackendUnavailable("the request was cancelled"))
                return number, {**frame, "params": frames.raw({**params, "requestId": number})}
        return None

    def abandon(self, exchange: Exchange) -> int | None:
        """The number of a request whose answer nobody wants any more; None when it was answered."""
        number = self._number_of(exchange)
        if number is not None:
            del self._waiting[number]
        return number

    def fail(self, number: int, error: GatewayError) -> None:
        exchange = self._waiting.pop(number, None)
        if exchange is not None:
            exchange.fail(error)

    def fail_all(self, error: GatewayError) -> None:
        for number in list(self._waiting):
            self.fail(number, error)

    def _answered(self, frame: Frame, about: Exchange | None) -> bool:
        number = frames.integer(frame.get("id"))
        if number not in self._waiting:
            number = self._meant(frame, about)
        exchange = None if number is None else self._waiting.pop(number, None)
        if exchange is None:
            return False
        frame["id"] = exchange.request_id
        if _subscription(frame.get("result")) is not None:
            frame["result"] = _tagged(frame["result"], exchange.request_id)
        if "result" in frame or "error" in frame:
            exchange.finish(frame)
        else:
            exchange.fail(BackendUnavailable("the server's answer has neither a result nor an error"))
        return True

    def _meant(self, frame: Frame, about: Exchange | None) -> int | None:
        """Which it is when the id is not as it was sent. Other clients take that, too, so there are such servers.

        An error without an id is that of a request which could not be read. Raises InvalidMessage.
        """
        given = frame.get("id", frames.raw(None))
        if about is not None and "error" in frame and bytes(given) == b"null":
            return self._number_of(about)
        written = WRITTEN.fullmatch(given)
        if written is None:
            frames.identifier(given)
            return None
        return int(written["number"])

    def _number_of(self, exchange: Exchange | None) -> int | None:
        return next((number for number, one in self._waiting.items() if one is exchange), None)

    def _published(self, number: int, frame: Frame) -> bool:
        """What a subscriptions/listen asked for: the subscription has the request's id."""
        exchange = self._waiting.get(number)
        if exchange is not None:
            exchange.put({**frame, "params": _tagged(frame["params"], exchange.request_id)})
        return exchange is not None

    def _progressed(self, frame: Frame, about: Exchange | None, alone: bool) -> bool:
        params = frames.members(frame.get("params"))
        token = frames.integer(params.get("progressToken"))
        exchange = None if token is None else self._waiting.get(token)
        if exchange is None or exchange.token is None:
            return False
        if alone and exchange is not about and exchange.full:
            return True  # Nothing stops what comes, so it is left out; there will be more.
        frame["params"] = frames.raw({**params, "progressToken": exchange.token})
        exchange.put(frame)
        return True


def _refuse_look_alike(given: Frame, names: frozenset[str]) -> None:
    if frames.look_alike(given, names):
        raise InvalidMessage(f"a member is called almost as {', '.join(names)}")


def _subscription(member: msgspec.Raw | None) -> int | None:
    """The number of ours that parameters or a result are tagged with."""
    if member is None or not TAG.search(member):
        return None
    return frames.integer(frames.members(frames.members(member).get("_meta")).get(SUBSCRIPTION))


def _tagged(member: msgspec.Raw, request_id: msgspec.Raw) -> msgspec.Raw:
    """The same, tagged with the id that the client knows."""
    given = frames.members(member)
    meta = frames.members(given.get("_meta"))
    return frames.raw({**given, "_meta": {**meta, SUBSCRIPTION: request_id}})
