"""What comes back for one modern request."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable

from ... import log
from ...errors import BackendUnavailable, GatewayError, RequestCancelled
from .. import frames
from ..backend import ModernSession
from ..eras import SUBSCRIPTION
from ..frames import Frame
from ..served import Served
from .caller import Caller
from .results import COMPLETE, tool_error

logger = logging.getLogger(__name__)


class ModernReplies:
    """A request on its way: the encoded frames that belong to it, the response last of all.

    To be read to the end, which comes soon after the client has left: that cancels the request. The ``others`` are
    asked in turn, for as long as the answer is an error.
    """

    def __init__(
        self,
        served: Served,
        caller: Caller,
        frame: Frame,
        *,
        heard: Callable[[Served, Frame], Frame],
        ended: Callable[["ModernReplies"], None],
        change: Callable[[Frame], Frame] | None = None,
        others: Iterable[Served] = (),
    ) -> None:
        self.finished = False  # what was given last is the response
        self.streams = True  # False: the client can take only the response
        self.code: int | None = None  # the response's, when it is an error
        self.error: GatewayError | None = None  # it is in the code
        self.endless = frames.text(frame["method"]) == "subscriptions/listen"  # nothing comes of it but a stream
        self.grant_id = caller.grant_id
        self.served = served  # who has the request, or had it last
        self.change = change  # what is made of the response
        self._caller, self._frame, self._others = caller, frame, list(others)
        self._heard, self._ended = heard, ended
        self._session: ModernSession
        self._answers: AsyncIterator[Frame] | None = None
        self._cancelled: GatewayError | None = None
        self._hung_up = False

    def __aiter__(self) -> "ModernReplies":
        return self

    async def __anext__(self) -> bytes:
        if self.finished:
            raise StopAsyncIteration
        while True:
            frame = await self._next()
            if "method" not in frame:
                if "error" in frame and self._others and self._cancelled is None:
                    self.served, self._answers = self._others.pop(0), None
                    continue
                self.finished = True
                self._ended(self)
                if self.change is not None:
                    frame = self.change(frame)
                self.code = frames.error_code(frame)
                return self._caller.unread.fitting(frames.encode(frame), frame["id"])
            frame = self._heard(self.served, frame)
            if self.streams:
                return frames.encode(frame)

    def leave(self) -> None:
        """The client is gone: nothing more is delivered, and the backend may stop."""
        if self.finished:
            return
        self.cancel(RequestCancelled("the client has left"))

    def refuse(self, error: GatewayError) -> bytes:
        """In place of all that would have come."""
        self.cancel(error)
        return frames.encode(frames.failure(self._frame["id"], error))

    def cancel(self, error: GatewayError) -> None:
        self._ended(self)
        self._cancelled = error
        if self._answers is not None:
            self._session.cancel(self._answers, error)

    def hang_up(self) -> None:
        """We are stopping: a subscription, which never ends by itself, ends now and in good order."""
        if self.endless:
            self._hung_up = True
            self.cancel(RequestCancelled("the server is stopping"))

    async def _next(self) -> Frame:
        try:
            if self._answers is None:
                self._refuse_cancelled()
                self._session = await self.served.join(self._caller)
                self._refuse_cancelled()
                self._answers = self._session.request(self._frame)
            frame = await anext(self._answers)
            if "method" not in frame:
                # To its end, so that a generator is not left half way.
                await anext(self._answers, None)
            return frame
        except GatewayError as error:
            return self._failed(error)
        except StopAsyncIteration:
            return self._failed(BackendUnavailable(f"the server {self.served.name} gave no answer"))
        except Exception:
            logger.exception("request_failed", extra=log.fields(backend=self.served.name))
            return self._failed(GatewayError("unexpected error, see the server's log"))

    def _refuse_cancelled(self) -> None:
        """Nothing is started, and nothing sent, for whom nobody waits any more."""
        if self._cancelled is not None:
            raise self._cancelled

    def _failed(self, error: GatewayError) -> Frame:
        to = self._frame["id"]
        if self._hung_up:
            return frames.result(to, {**COMPLETE, "_meta": {SUBSCRIPTION: to}})
        if self._answers is None and frames.text(self._frame["method"]) == "tools/call":
            return tool_error(to, error.message)  # Nothing was called: as with a tool that is not there.
        return frames.failure(to, error)
