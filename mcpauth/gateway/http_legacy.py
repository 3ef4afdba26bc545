"""Streamable HTTP of 2025-03-26 to 2025-11-25, towards a remote server."""

import asyncio
import contextlib
import re
from collections.abc import Callable, Mapping

from ..errors import BackendUnavailable, GatewayError, SessionLost
from . import frames
from .frames import Frame
from .http_client import Response
from .http_session import ANSWER, HttpSession, Room, follow
from .http_turns import Turn
from .http_upstream import EVENT_STREAM, JSON, Disconnected, Upstream, is_stream, media_type
from .in_flight import Sent
from .load import Unread
from .modern import headers
from .sse import EventSource

# Between two attempts to go on with a stream, unless its server says more; a request's answer is given up at the end.
BACK_OFF = (1.0, 2.0, 5.0, 15.0, 60.0)
# However soon the server wants us back.
SOON = 0.1

# For the server to begin its GET stream; some do so with its first message.
STREAM = 1.0
# A GET stream that lasted longer than this is none of the failures that are counted.
STABLE = 20.0

# A session id, a version: what may be put into a header.
VISIBLE = re.compile(r"[!-~]{1,4096}")


class LegacyHttpSession(HttpSession):
    """The answer to each POST is JSON or a stream of its own; a GET stream has what belongs to no request.

    Until it is initialized, the server can be asked things of the modern era: which of them it speaks.
    """

    def __init__(
        self,
        upstream: Upstream,
        listener: Callable[[Frame], None],
        ended: Callable[[HttpSession], None],
        unread: Unread | None = None,
        back_off: tuple[float, ...] = BACK_OFF,
    ) -> None:
        super().__init__(upstream, listener, ended, unread)
        self._back_off = back_off
        self._greeted = False
        self._session_id: str | None = None
        self._version: str | None = None

    async def _ask(self, sent: Sent, room: Room) -> None:
        with self._upstream.turns.of(sent.exchange.unread) as turn:
            await self._ask_in(turn, sent, room)

    async def _ask_in(self, turn: Turn, sent: Sent, room: Room) -> None:
        said = {} if self._greeted else headers.repeating(sent.came)
        with await self._send("POST", frames.encode(sent.frame), asking=sent, said=said) as response:
            if _is_greeting(sent):
                self._session_id = _visible(response.headers.get("Mcp-Session-Id"))
            if not is_stream(response):
                await self._take(response, sent, turn)
                await room.wait()
                return
            source = EventSource()
            await self._follow(response, source, sent, room, turn)
        failures = 0
        while sent.number in self._in_flight:
            # The stream ended without the response: it was cut, or the server would have us come back.
            if not source.last_event_id or failures == len(self._back_off):
                raise self._upstream.unavailable("ended its answer before it was complete")
            await asyncio.sleep(self._delay(source, failures))
            before, failures = source.last_event_id, failures + 1
            with contextlib.suppress(Disconnected), await self._send("GET", last_event_id=before) as response:
                if is_stream(response):
                    await self._follow(response, source, sent, room, turn)
                elif response.status < 500:
                    failures = len(self._back_off)
            if source.last_event_id != before:
                failures = 0

    async def _tell(self, frame: Frame) -> None:
        with await self._send("POST", frames.encode(frame)) as response:
            if not 200 <= response.status < 300:
                raise self._upstream.refusal(response)
        if frames.text(frame.get("method")) == "notifications/initialized" and self._listening is None:
            answered = asyncio.Event()
            self._listening = asyncio.create_task(self._listen(answered))
            # As long as there is none, what the server would say on it is lost: what it asks at once, as well.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STREAM):
                    await answered.wait()

    async def _leave(self) -> None:
        if self._session_id is not None:
            with await self._send("DELETE"):
                pass

    async def _listen(self, answered: asyncio.Event) -> None:
        """The GET stream, for as long as the server has one."""
        now = asyncio.get_running_loop().time
        source, failures = EventSource(), 0
        while self._over is None:
            began, before = now(), source.last_event_id
            try:
                with await self._send("GET", last_event_id=before) as response:
                    answered.set()
                    if response.status in (404, 405):
                        return
                    if is_stream(response):
                        events = self._upstream.events(response, source)
                        await follow(events, lambda data: self._hear(data, None), Room(), lambda: False)
                    elif response.status < 500:
                        raise self._upstream.refusal(response)
            except Disconnected:
                pass
            except BackendUnavailable as error:
                self._log("backend_not_listened_to", error.message)
                return
            except Exception:
                self._unexpected()
                return
            finally:
                answered.set()
            if source.last_event_id != before or now() - began > STABLE:
                failures = 0
            await asyncio.sleep(self._delay(source, failures))
            failures += 1

    async def _send(
        self,
        method: str,
        body: bytes | None = None,
        *,
        last_event_id: bytes = b"",
        asking: Sent | None = None,
        said: Mapping[str, str] | None = None,
    ) -> Response:
        sent = {**(said or {}), "Accept": EVENT_STREAM if method == "GET" else ANSWER}
        if body is not None:
            sent["Content-Type"] = JSON
        if self._session_id is not None:
            sent["Mcp-Session-Id"] = self._session_id
        if self._version is not None:
            sent["MCP-Protocol-Version"] = self._version
        if last_event_id:
            sent["Last-Event-ID"] = last_event_id.decode("utf-8", "surrogateescape")
        response = await self._upstream.send(method, sent, body)
        if response.status == 404 and "Mcp-Session-Id" in sent:
            response.release()
            raise self._lost(asking)
        return response

    async def _take(self, response: Response, sent: Sent, turn: Turn) -> None:
        """An answer that is no stream. The error of one that was refused is for whoever asked."""
        refused = 400 <= response.status < 500
        if media_type(response) != JSON or response.status in (401, 403) or not (refused or response.status == 200):
            raise await self._upstream.failure(response, turn)
        try:
            for frame in frames.messages(await self._upstream.body(response, turn)):
                if "error" in frame:
                    if response.status == 400 and self._session_id is not None and is_about_session(frame, sent):
                        raise self._lost(sent)
                    # Errors about the request as such come without its id, or with one of the server's.
                    frame["id"] = frames.raw(sent.number)
                self._heard(frame, sent)
        except BackendUnavailable:
            raise
        except GatewayError as error:
            self._log("backend_message_skipped", error.message)
        if sent.number in self._in_flight:
            raise self._upstream.refusal(response)

    async def _follow(self, response: Response, source: EventSource, sent: Sent, room: Room, turn: Turn) -> None:
        events = self._upstream.events(response, source, turn)
        await follow(events, lambda data: self._hear(data, sent), room, lambda: sent.number not in self._in_flight)

    def _heard(self, frame: Frame, sent: Sent | None) -> bool:
        if sent is not None and "result" in frame and _is_greeting(sent):
            self._greeted = True
            self._version = _visible(frames.text(frames.members(frame["result"]).get("protocolVersion")))
        return super()._heard(frame, sent)

    def _lost(self, asking: Sent | None) -> BackendUnavailable:
        """Nothing more is said in this session, not even good-bye. Only what was ``asking`` was not run."""
        error = self._upstream.unavailable("has ended the MCP session")
        if asking is not None:
            self._in_flight.fail(asking.number, SessionLost(error.message))
        self._session_id = None
        self._end(error)
        self._closed()
        return error

    def _delay(self, source: EventSource, failures: int) -> float:
        least = self._back_off[0] if source.retry is None else min(max(source.retry, SOON), self._back_off[-1])
        return max(least, self._back_off[min(failures, len(self._back_off) - 1)]) if failures else least


def is_about_session(frame: Frame, sent: Sent) -> bool:
    """Many servers say 400 where 404 is meant, with a text such as "No valid session ID provided".

    An error with the request's own id may be that of a tool, which must not run again.
    """
    message = frames.text(frames.members(frame["error"]).get("message")) or ""
    return "session" in message.lower() and frames.integer(frame.get("id")) != sent.number


def _is_greeting(sent: Sent) -> bool:
    return bytes(sent.came["method"]) == b'"initialize"'


def _visible(value: str | None) -> str | None:
    return value if value is not None and VISIBLE.fullmatch(value) else None
