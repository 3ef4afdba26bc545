"""One request to the fixture server, and its way to ask the client something: in both eras, in the era's own way."""

from collections.abc import Mapping
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CreateMessageRequest,
    CreateMessageResult,
    ElicitRequest,
    ElicitResult,
    ListRootsRequest,
    ListRootsResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Request = dict[str, Any]

# What a client must be able to do to be asked, and how it is asked when there are requests of the server's.
ASKED: Mapping[str, tuple[str, Any, Any]] = {
    "elicitation/create": ("elicitation", ElicitRequest, ElicitResult),
    "sampling/createMessage": ("sampling", CreateMessageRequest, CreateMessageResult),
    "roots/list": ("roots", ListRootsRequest, ListRootsResult),
}


def elicitation(message: str, **properties: Any) -> Request:
    """A form, all of whose fields are required."""
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"message": message, "requestedSchema": schema}}


def sampling(prompt: str, max_tokens: int = 100) -> Request:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": max_tokens}}


def roots() -> Request:
    return {"method": "roots/list", "params": {}}


class InputRequired(Exception):
    """The answer to a modern request that cannot be completed yet."""

    def __init__(self, requests: dict[str, Request], state: str | None) -> None:
        super().__init__("the client is asked")
        self.result: dict[str, Any] = {"resultType": "input_required", "inputRequests": requests}
        if state is not None:
            self.result["requestState"] = state


class Call:
    def __init__(self, context: ServerRequestContext[Any, Any]) -> None:
        params = context.params or {}
        self.context = context
        self.arguments: dict[str, Any] = params.get("arguments") or {}
        self.responses: dict[str, Any] = params.get("inputResponses") or {}
        self.state: str | None = params.get("requestState")

    @property
    def is_modern(self) -> bool:
        return self.context.protocol_version in MODERN_PROTOCOL_VERSIONS

    def can(self, capability: str) -> bool:
        """Whether the client declared it."""
        declared = self.context.session.client_capabilities
        return getattr(declared, capability, None) is not None

    def need(self, capability: str) -> None:
        if not self.can(capability):
            message = f"The client does not support {capability}"
            raise MCPError(MISSING_REQUIRED_CLIENT_CAPABILITY, message, {"requiredCapabilities": {capability: {}}})

    async def log(self, message: str) -> None:
        await self.context.session.send_log_message("info", message, related_request_id=self.context.request_id)

    async def progress(self, value: float, total: float) -> None:
        await self.context.session.report_progress(value, total)

    async def ask(self, requests: dict[str, Request], state: str | None = None) -> dict[str, Any]:
        """The client's answers, under the same keys. A modern client comes back with them, and with ``state``."""
        for request in requests.values():
            self.need(ASKED[request["method"]][0])
        if not self.is_modern:
            return {key: await self._send(request) for key, request in requests.items()}
        answers = {key: self.responses.get(key) for key in requests}
        if self.state != state or not all(map(_is_answer, requests.values(), answers.values())):
            raise InputRequired(requests, state)
        return answers

    async def _send(self, request: Request) -> dict[str, Any]:
        _, kind, expected = ASKED[request["method"]]
        answer = await self.context.session.send_request(
            kind.model_validate(request),
            expected,
            metadata=ServerMessageMetadata(related_request_id=self.context.request_id),
        )
        dumped: dict[str, Any] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
        return dumped


def _is_answer(request: Request, answer: Any) -> bool:
    if not isinstance(answer, dict):
        return False
    if request["method"] != "elicitation/create" or answer.get("action") != "accept":
        return True
    required = request["params"]["requestedSchema"]["required"]
    return required == [] or set(required) <= set(answer.get("content") or {})
