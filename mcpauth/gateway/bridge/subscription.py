"""A modern client's `subscriptions/listen` at a server of the older era."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec

from ...errors import GatewayError, InvalidParameters, RequestCancelled
from .. import frames
from ..eras import ACKNOWLEDGED, SUBSCRIPTION
from ..frames import Frame
from ..listing import ANNOUNCED
from ..resource_updates import UPDATED, concerns

# Resources that one subscription may follow, and changes that wait for a client that does not read, and their weight.
URIS, WAITING, HEAVY = 256, 1024, 1024 * 1024


class Subscription:
    """An async iterator of what it is told: first that it was acknowledged. That the same has changed is told once."""

    def __init__(self, frame: Frame) -> None:
        wanted = frames.members(frames.members(frame.get("params")).get("notifications"))
        self.request_id = frame["id"]
        self.lists = {key for key in ANNOUNCED if bytes(wanted.get(key, b"")) == b"true"}
        self.uris = _uris(wanted)
        self.followed: list[str] = []  # of these, the server took a subscription
        self.ended: Callable[[], None] = lambda: None
        self._methods: set[str] = set()
        self._waiting: dict[str, Frame] = {}
        self._weight = 0
        self._news = asyncio.Event()
        self._error: GatewayError | None = None

    @property
    def over(self) -> bool:
        return self._error is not None

    def acknowledge(self, capabilities: Frame) -> None:
        """What is really told: of what the server declares, and of the resources that are followed."""
        lists = {
            key
            for key in self.lists
            if bytes(frames.members(capabilities.get(ANNOUNCED[key].capability)).get("listChanged", b"")) == b"true"
        }
        self._methods = {ANNOUNCED[key].list_changed for key in lists}
        honoured: dict[str, Any] = dict.fromkeys(sorted(lists), True)
        if self.followed:
            honoured["resourceSubscriptions"] = self.followed
        self._tell(ACKNOWLEDGED, frames.notification(ACKNOWLEDGED, {"notifications": honoured}))

    def hear(self, frame: Frame) -> None:
        """Of the server, for whoever wants it."""
        method = frames.text(frame["method"])
        if method in self._methods:
            self._tell(method, frame)
        elif method == UPDATED:
            uri = frames.text(frames.members(frame.get("params")).get("uri"))
            if uri is not None and concerns(uri, self.followed):
                self._tell(uri, frame)

    def cancel(self, error: GatewayError) -> None:
        if self._error is None:
            self._error = error
            self._news.set()
            self.ended()

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> Frame:
        while not self._waiting:
            if self._error is not None:
                raise self._error
            self._news.clear()
            await self._news.wait()
        frame = self._waiting.pop(next(iter(self._waiting)))
        self._weight -= frames.weight(frame)
        return frame

    def _tell(self, what: str, frame: Frame) -> None:
        params = frames.members(frame.get("params"))
        meta = {**frames.members(params.get("_meta")), SUBSCRIPTION: self.request_id}
        self._weight -= frames.weight(self._waiting.get(what, {}))
        self._waiting[what] = {**frame, "params": frames.raw({**params, "_meta": meta})}
        self._weight += frames.weight(self._waiting[what])
        self._news.set()
        if len(self._waiting) > WAITING or self._weight > HEAVY:
            self.cancel(RequestCancelled("the client reads too slowly"))


def _uris(wanted: Frame) -> list[str]:
    """Raises InvalidParameters."""
    if "resourceSubscriptions" not in wanted:
        return []
    try:
        uris = msgspec.json.decode(wanted["resourceSubscriptions"], type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidParameters('"resourceSubscriptions" must be a list of URIs') from None
    if len(uris) > URIS:
        raise InvalidParameters(f"no more than {URIS} resources can be followed in one subscription")
    return list(dict.fromkeys(uris))
