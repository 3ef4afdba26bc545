"""Messages of the older era: each but the first belongs to an MCP session."""

import asyncio

import msgspec

from ..errors import BackendUnavailable, GatewayError, InvalidMessage
from ..models.principal import Principal
from . import batch, frames
from .answer import ACCEPTED, Answer, refused
from .frames import Frame
from .mcp_session import McpSession
from .mcp_sessions import McpSessions
from .merged import Merged
from .single import Single

Endpoint = Merged | Single


class LegacyMessages:
    """The client may use the endpoint. Every method raises what stands against its message."""

    def __init__(self, sessions: McpSessions) -> None:
        self._sessions = sessions

    async def initialize(self, endpoint: Endpoint, session: McpSession, frame: Frame) -> Answer:
        """``session`` was opened for it, and is dismissed when the server refuses."""
        try:
            answer = await endpoint.initialize(session, frame)
        except BaseException:
            self._sessions.dismiss(session)
            raise
        if "error" in answer:
            self._sessions.dismiss(session)
            refusal = BackendUnavailable(f"the server {endpoint.name} refused to initialize")
            return Answer(reply=frames.encode(answer), error=refusal)
        session.handshake.told(frames.members(answer["result"]))
        kept = self._sessions.keep(session)
        if kept is not None:
            await kept
        return Answer(reply=frames.encode(answer), session_id=session.session_id)

    async def forward(self, endpoint: Endpoint, principal: Principal, frame: Frame, session_id: str | None) -> Answer:
        method = frames.text(frame.get("method"))
        if method is None and ("method" in frame or not ("id" in frame and ("result" in frame or "error" in frame))):
            raise InvalidMessage("the message is no request, no notification and no response")
        if method is not None and "id" not in frame and not method.startswith("notifications/"):
            # Some servers would run it, and nobody would have judged whether the client may do that.
            raise InvalidMessage("a request must have an id")
        if session_id is None:
            raise InvalidMessage("Mcp-Session-Id is missing: begin with initialize")
        session = self._sessions.find(principal, endpoint.name, session_id)
        if method is not None and "id" in frame:
            return await endpoint.request(principal, session, method, frame)
        task = asyncio.current_task()
        session.begin(task, is_request=False)
        try:
            await (session.answer(frame) if method is None else session.notify(frame))
        finally:
            session.end(task)
        return ACCEPTED

    async def batch(self, endpoint: Endpoint, principal: Principal, body: bytes, session_id: str) -> Answer:
        session = self._sessions.find(principal, endpoint.name, session_id)
        parts = batch.split(body, session.handshake.version)
        # Requests begin when their answers are read: where one of them may not be, none is begun.
        answers = [await self._part(endpoint, principal, part, session_id) for part in parts]
        return batch.together(session, answers)

    async def _part(self, endpoint: Endpoint, principal: Principal, part: bytes, session_id: str) -> Answer:
        request_id: msgspec.Raw | None = None
        try:
            frame = frames.decode(part)
            request_id = frames.request_id(frame)
            if frames.text(frame.get("method")) == "initialize":
                raise InvalidMessage("initialize must not be part of a batch")
            return await self.forward(endpoint, principal, frame, session_id)
        except GatewayError as error:
            return refused(request_id, error)
