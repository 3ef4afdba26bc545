"""What a legacy session is told outside of its requests, by one `subscriptions/listen` at a modern server."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import msgspec

from ... import log
from ...errors import BackendUnavailable, GatewayError, RequestCancelled
from .. import frames
from ..backend import Backend
from ..eras import ACKNOWLEDGED
from ..frames import Frame
from ..listing import ANNOUNCED
from ..modern.caller import Caller
from ..resource_updates import UPDATED
from . import legacized
from .legacized import Envelope

logger = logging.getLogger(__name__)

# Between two attempts; one that was acknowledged is followed by the first.
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
# For the acknowledgement.
PATIENCE = 20.0


class Listening:
    """To the changes of ``lists``, and of the resources that are followed. ``hear`` gets them as legacy clients do."""

    def __init__(
        self, backend: Backend, caller: Caller, envelope: Envelope, lists: list[str], hear: Callable[[Frame], None]
    ) -> None:
        self.followed: dict[str, None] = {}
        self._backend, self._caller, self._envelope = backend, caller, envelope
        self._lists, self._hear = lists, hear
        self._again = False  # it was stopped, or broke
        self._closed: str | None = None  # why
        self._task: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()

    def start(self) -> None:
        if self._task is None and self._closed is None and (self._lists or self.followed):
            self._task = asyncio.create_task(self._listen(asyncio.get_running_loop().create_future()))

    def stop(self) -> None:
        """Until it is started again."""
        if self._task is not None:
            self._task.cancel()
            self._task, self._again = None, True

    def close(self, reason: str) -> None:
        self.stop()
        self._closed = reason

    async def follow(self, uri: str) -> None:
        """Raises BackendUnavailable when the server does not take the subscription, or not in time."""
        async with self._changing:
            if uri not in self.followed:
                self.followed[uri] = None
                try:
                    await self._renew(uri)
                except BaseException:
                    del self.followed[uri]
                    raise

    async def leave(self, uri: str) -> None:
        async with self._changing:
            if self.followed.pop(uri, uri) is None:
                with contextlib.suppress(BackendUnavailable):
                    await self._renew()

    async def _renew(self, uri: str | None = None) -> None:
        """Another subscription, with what is followed now. The one before is ended once there is the other."""
        task = None
        if self._lists or self.followed:
            honoured: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            task = asyncio.create_task(self._listen(honoured))
            try:
                async with asyncio.timeout(PATIENCE):
                    told = await honoured
                if uri is not None and not _follows(told, uri):
                    raise BackendUnavailable(f"the server {self._backend.name} does not tell of that resource")
                if self._closed is not None:
                    raise BackendUnavailable(self._closed)
            except BaseException as error:
                task.cancel()
                if isinstance(error, TimeoutError):
                    raise BackendUnavailable(f"the server {self._backend.name} does not tell of changes") from None
                raise
        if self._task is not None:
            self._task.cancel()
        self._task = task

    async def _listen(self, honoured: asyncio.Future[Frame]) -> None:
        """Again and again, for as long as somebody wants it. ``honoured`` becomes what the server agrees to tell.

        One that refuses from the beginning is not asked again.
        """
        failures = 0
        while True:
            try:
                if await self._once(honoured):
                    failures, self._again = 0, True
                elif not honoured.done():
                    honoured.set_result({})
                    return
            except GatewayError as error:
                about = log.bounded(backend=self._backend.name, reason=error.message)
                logger.info("backend_not_listened_to", extra=about)
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1

    async def _once(self, honoured: asyncio.Future[Frame]) -> bool:
        """Whether it was acknowledged, once it has ended. Raises BackendUnavailable."""
        wanted: dict[str, object] = dict.fromkeys(self._lists, True)
        if self.followed:
            wanted["resourceSubscriptions"] = list(self.followed)
        session = await self._backend.join(self._caller)
        asked = frames.request(0, "subscriptions/listen", {"notifications": wanted})
        answers = session.request(self._envelope.around(asked))
        began = False
        try:
            async for frame in answers:
                method = frames.text(frame.get("method"))
                if method == ACKNOWLEDGED:
                    began = True
                    if not honoured.done():
                        honoured.set_result(frames.members(frames.members(frame.get("params")).get("notifications")))
                    if self._again:
                        self._again = False
                        self._catch_up()
                elif method is not None:
                    self._hear(legacized.published(frame))
        finally:
            session.cancel(answers, RequestCancelled("nobody listens any more"))
        return began

    def _catch_up(self) -> None:
        """Nobody has listened for a while: what was missed is told as if it had just happened."""
        for key in self._lists:
            self._hear(frames.notification(ANNOUNCED[key].list_changed))
        for uri in self.followed:
            self._hear(frames.notification(UPDATED, {"uri": uri}))


def _follows(honoured: Frame, uri: str) -> bool:
    try:
        return uri in msgspec.json.decode(honoured.get("resourceSubscriptions", b"[]"), type=list[str])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
