"""/mcp and /mcp/{backend}: the streamable HTTP transport."""

from functools import lru_cache
from typing import Any

from ..errors import GatewayError, InsufficientScope, InvalidMessage
from ..gateway.answer import Answer, Messages, Pending
from ..gateway.batch import Resumable
from ..gateway.eras import is_modern_version
from ..gateway.event_log import Event, EventStream, Reader
from ..gateway.gateway import Gateway
from ..gateway.modern.replies import ModernReplies
from ..gateway.modern.subscription import Subscription
from .event_stream import EVENT_STREAM, EventStreamHandler
from .gate import Gate
from .guarded import STATUS, STATUS_OF_CODE
from .overdue import Overdue

# An answer that takes longer is sent as a stream, which can be kept alive.
JSON_WITHIN = 5.0
LONGEST_ACCEPT = 1000


class McpHandler(EventStreamHandler):
    def initialize(self, gateway: Gateway, gate: Gate, slow: Overdue) -> None:  # type: ignore[override]
        """``slow`` are the requests whose answer has not come within ``JSON_WITHIN``."""
        super().initialize(gateway, gate)
        self._slow = slow
        self._replies: Messages | None = None
        self._listener: Reader | None = None
        self._stream: EventStream | None = None

    async def post(self, backend: str | None = None) -> None:
        if self.is_refused():
            return
        answer = await self._gateway.forward(
            self._principal,
            self.take_body(),
            backend=backend,
            session_id=self._session_id,
            protocol_version=self._protocol_version,
            headers=self.request.headers.get_all(),
        )
        if answer.pending is not None:
            answer = await self._wait(answer.pending, answer.session_id)
        if answer.error is not None:
            self.tell_refusal(answer.error)
        if answer.session_id is not None:
            self.set_header("Mcp-Session-Id", answer.session_id)
        if answer.replies is not None:
            await self._relay(answer.replies)
        elif self._streaming:
            if answer.reply is not None:
                await self._write_event(Event(None, answer.reply))
            self.finish()
        elif answer.reply is not None:
            self.write_message(_status(answer), answer.reply)
        else:
            self.set_status(202)
            self.finish()

    async def get(self, backend: str | None = None) -> None:
        if self.is_refused():
            return
        session_id = self._session_id
        if self._is_modern:
            self._refuse_as_modern()
            return
        if session_id is None or self._accepted.isdisjoint((EVENT_STREAM, "text/*", "*/*")):
            # Clients take a 405 for "there is no such stream", anything else for a failure.
            self.set_header("Allow", ", ".join(self.allowed_methods()))
            self.refuse(405, "a stream needs an Mcp-Session-Id, and Accept: text/event-stream")
            return
        try:
            listener = self._gateway.listen(
                self._principal,
                backend=backend,
                session_id=session_id,
                last_event_id=self.request.headers.get("Last-Event-ID"),
            )
        except GatewayError as error:
            self.refuse_with(error)
            return
        if self.request.method == "HEAD":
            listener.close()
            self._begin_stream(None)
            self.finish()
            return
        self._listener = listener
        try:
            self._begin_stream(listener.primer)
            self._keep_alive()
            async for event in listener:
                await self._write_event(event)
            self.finish()
        finally:
            listener.close()
            self._stop_timer()

    async def head(self, backend: str | None = None) -> None:
        await self.get(backend)

    async def delete(self, backend: str | None = None) -> None:
        if self.is_refused():
            return
        if self._is_modern:
            self._refuse_as_modern()
            return
        if self._session_id is None:
            self.refuse(400, "Mcp-Session-Id is missing")
            return
        try:
            self._gateway.end_session(self._principal, backend=backend, session_id=self._session_id)
        except GatewayError as error:
            self.refuse_with(error)
            return
        self.set_status(204)
        self.finish()

    def on_connection_close(self) -> None:
        """A modern request is cancelled by that; a legacy one goes on."""
        super().on_connection_close()
        if self._replies is not None:
            self._replies.leave()
        if self._listener is not None:
            self._listener.close()

    @property
    def _protocol_version(self) -> str | None:
        return self.request.headers.get("MCP-Protocol-Version")

    @property
    def _is_modern(self) -> bool:
        return is_modern_version(self._protocol_version)

    def _refuse_as_modern(self) -> None:
        self.set_header("Allow", "POST")
        self.refuse(405, "this revision of MCP has no sessions: POST every request")

    @property
    def _session_id(self) -> str | None:
        return self.request.headers.get("Mcp-Session-Id")

    @property
    def _accepted(self) -> frozenset[str]:
        return _media_types(self.request.headers.get("Accept", "")[:LONGEST_ACCEPT])

    # A POST's answer.

    async def _wait(self, pending: Pending, session_id: str | None) -> Answer:
        """It may come when this is a stream, whose headers say already which session was begun."""
        if session_id is not None:
            self.set_header("Mcp-Session-Id", session_id)
        if EVENT_STREAM in self._accepted:
            self._slow.add(self._keep_alive)
        try:
            return await pending.answer()
        except InsufficientScope as error:
            if not self._streaming:
                raise
            return pending.refused(error)
        finally:
            self._stop_timer()
            self.clear_header("Mcp-Session-Id")

    async def _relay(self, replies: Messages) -> None:
        self._replies = replies
        replies.streams = EVENT_STREAM in self._accepted
        if not replies.streams and isinstance(replies, ModernReplies | Subscription) and replies.endless:
            self.write_message(406, replies.refuse(InvalidMessage("a subscription needs Accept: text/event-stream")))
            return
        if self._gone:
            replies.leave()
        if replies.streams:
            self._slow.add(self._keep_alive)
        try:
            async for message in replies:
                if replies.finished and not self._streaming:
                    self._tell_failure(replies)
                    self.write_message(_status(replies), message)
                    return
                self._begin_answer()
                if replies.error is not None:
                    self.tell_refusal(replies.error)
                event_id = None if self._stream is None else self._stream.put(message)
                await self._write_event(Event(event_id, message))
            self.finish()
        finally:
            replies.leave()
            self._replies = None  # It has the message, which counts for as long as it is there.
            if self._stream is not None:
                self._stream.end()
            self._stop_timer()

    def _tell_failure(self, replies: Messages) -> None:
        if replies.error is not None:
            self.tell_refusal(replies.error)
        elif replies.code is not None:
            self.tell(error=f"{replies.code}: an error of the server that was asked")

    def _begin_answer(self) -> None:
        """It is a stream; one that a client can come back to, where it knows how."""
        if self._streaming or self._gone:
            return
        if isinstance(self._replies, Resumable):
            self._stream = self._replies.begin_stream()
        if self._stream is not None:
            self._stream.holder = self._hang_up
        self._begin_stream(self._stream.at if self._stream is not None and self._stream.primed else None)

    def _hang_up(self) -> None:
        """The client reads on over another connection."""
        self._gone = True
        connection: Any = self.request.connection
        connection.stream.close()

    def _keep_alive(self) -> None:
        if not self._flushing:
            self._begin_answer()
        super()._keep_alive()

    def _stop_timer(self) -> None:
        self._slow.drop(self._keep_alive)
        super()._stop_timer()


@lru_cache(100)
def _media_types(accept: str) -> frozenset[str]:
    return frozenset(part.split(";")[0].strip() for part in accept.lower().split(","))


def _status(answer: Answer | Messages) -> int:
    if answer.error is None or answer.code is not None:
        return STATUS_OF_CODE.get(answer.code, 200)
    return STATUS.get(type(answer.error), 200)
