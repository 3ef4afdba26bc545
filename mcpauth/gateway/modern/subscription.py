"""One subscriptions/listen at /mcp: acknowledged by us, fed by a subscription with each backend that it concerns."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ... import log
from ...errors import GatewayError, InvalidParameters, RequestCancelled, UnknownMethod
from .. import frames
from ..eras import ACKNOWLEDGED, SUBSCRIPTION
from ..frames import Frame
from ..listing import LIST_CHANGED
from ..resource_updates import UPDATED, concerns
from ..served import Served
from .caller import Caller
from .results import COMPLETE

logger = logging.getLogger(__name__)

URIS = "resourceSubscriptions"

# Until a backend that ended or refused its subscription is asked again.
BACK_OFF = (1.0, 5.0, 15.0, 60.0)
# Different news that wait for the client, and what their URIs weigh: each is told once, however often it happened.
NEWS, HEAVY = 1000, 1024 * 1024

Wanted = dict[str, Any]  # as in params.notifications


class Target(NamedTuple):
    served: Served
    wanted: Wanted


class Subscription:
    """``targets`` says who is to be asked, and for what; ``changed`` is told whose lists have changed."""

    def __init__(
        self,
        request_id: msgspec.Raw,
        caller: Caller,
        meta: Frame,
        wanted: Wanted,
        *,
        targets: Callable[[], Mapping[str, Target]],
        changed: Callable[[str], None],
        ended: Callable[["Subscription"], None],
    ) -> None:
        self.finished = False  # what was given last is the response
        self.streams = True  # False: the client can take only the response
        self.code: int | None = None
        self.error: GatewayError | None = None  # it is in the code
        self.endless = True  # nothing comes of it but a stream
        self.grant_id = caller.grant_id
        self._id, self._caller, self._meta, self._wanted = request_id, caller, meta, wanted
        self._targets, self._changed, self._ended = targets, changed, ended
        self._following: dict[str, tuple[Target, asyncio.Task[None]]] = {}
        self._news: dict[tuple[str, str], Frame] = {}
        self._size = 0
        self._wake = asyncio.Event()
        self._begun = False
        self._last: Frame | None = None

    def __aiter__(self) -> "Subscription":
        return self

    async def __anext__(self) -> bytes:
        if self.finished:
            raise StopAsyncIteration
        if not self._begun:
            self._begun = True
            self.follow()
            if self.streams and self._last is None:
                return frames.encode(self._tagged(ACKNOWLEDGED, {"notifications": self._wanted}))
        while True:
            while self._news:
                method, uri = next(iter(self._news))
                news = self._news.pop((method, uri))
                self._size -= len(uri)
                if self.streams:
                    return frames.encode(news)
            if self._last is not None:
                self.finished = True
                self.code = frames.error_code(self._last)
                return frames.encode(self._last)
            self._wake.clear()
            await self._wake.wait()

    def leave(self) -> None:
        """The client is gone."""
        self.cancel(RequestCancelled("the client has left"))

    def refuse(self, error: GatewayError) -> bytes:
        """In place of all that would have come."""
        self.cancel(error)
        return frames.encode(frames.failure(self._id, error))

    def cancel(self, error: GatewayError) -> None:
        self._news.clear()
        self._size = 0
        self._end(frames.failure(self._id, error))

    def hang_up(self) -> None:
        self._end(frames.result(self._id, {**COMPLETE, "_meta": {SUBSCRIPTION: self._id}}))

    def lists_changed(self, method: str) -> None:
        """The merged list is another by now."""
        kind = method.split("/")[1]
        if f"{kind}ListChanged" in self._wanted:
            self._tell(method, "")

    def follow(self) -> None:
        """Listen to those that are to be listened to now, and to nobody else."""
        if not self._begun or self._last is not None:
            return
        targets = self._targets()
        for name, (target, task) in list(self._following.items()):
            if targets.get(name) != target:
                task.cancel()
                del self._following[name]
        for name, target in targets.items():
            if name not in self._following:
                self._following[name] = target, asyncio.create_task(self._follow(target))

    def _end(self, last: Frame) -> None:
        self._ended(self)
        self._last = self._last or last
        for _, task in self._following.values():
            task.cancel()
        self._following.clear()
        self._wake.set()

    async def _follow(self, target: Target) -> None:
        attempts = 0
        while True:
            try:
                await self._listen(target, again=attempts > 0)
            except (UnknownMethod, InvalidParameters) as error:
                about = log.bounded(backend=target.served.name, reason=error.message)
                logger.info("backend_not_listened_to", extra=about)
                return
            except GatewayError as error:
                about = log.bounded(backend=target.served.name, reason=error.message)
                logger.info("backend_listening_ended", extra=about)
            except Exception:
                logger.exception("request_failed", extra=log.fields(backend=target.served.name))
            await asyncio.sleep(BACK_OFF[min(attempts, len(BACK_OFF) - 1)])
            attempts += 1

    async def _listen(self, target: Target, *, again: bool) -> None:
        """Until the backend ends it. Raises what it answers."""
        params = {"notifications": target.wanted, "_meta": self._meta}
        frame = frames.request(0, "subscriptions/listen", params) | {"id": self._id}
        session = await target.served.join(self._caller)
        answers = session.request(frame)
        try:
            async for message in answers:
                if "method" in message:
                    self._heard(target, message, again=again)
                elif (code := frames.error_code(message)) is not None:
                    refusals = {error.code: error for error in (UnknownMethod, InvalidParameters)}
                    raise refusals.get(code, GatewayError)("it refused the subscription")
        except asyncio.CancelledError:
            session.cancel(answers, RequestCancelled("nobody listens any more"))
            raise

    def _heard(self, target: Target, message: Frame, *, again: bool) -> None:
        method = frames.text(message["method"])
        uris: list[str] = target.wanted.get(URIS, [])
        if method == ACKNOWLEDGED and again:
            # What happened in between, nobody has told.
            self._changed(target.served.name)
            for uri in uris:
                self._tell(UPDATED, uri)
        elif method in LIST_CHANGED:
            self._changed(target.served.name)  # The client is told when the merged list has changed.
        elif method == UPDATED:
            # Of what it was asked for, or a part of that. What is another's is not its business.
            updated = frames.text(frames.members(message.get("params")).get("uri"))
            if updated is not None and concerns(updated, uris):
                self._tell(UPDATED, updated)

    def _tell(self, method: str, uri: str) -> None:
        if (method, uri) in self._news:
            return
        if self._last is None and len(self._news) < NEWS and self._size + len(uri) <= HEAVY:
            self._size += len(uri)
            self._news[method, uri] = self._tagged(method, {"uri": uri} if uri else {})
            self._wake.set()

    def _tagged(self, method: str, params: dict[str, Any]) -> Frame:
        return frames.notification(method, {**params, "_meta": {SUBSCRIPTION: self._id}})
