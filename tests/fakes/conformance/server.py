"""The fixture server on the SDK's low-level Server: one answer per method, the same in both eras."""

from typing import Any

from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.subscriptions import ListenHandler
from mcp_types import (
    CallToolRequestParams,
    CompleteRequestParams,
    GetPromptRequestParams,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    SetLevelRequestParams,
    SubscribeRequestParams,
    SubscriptionsListenRequestParams,
    UnsubscribeRequestParams,
)
from mcp_types.methods import CACHEABLE_METHODS

from . import content, tools
from .call import Call, InputRequired

NAME = "conformance fixture"

Context = ServerRequestContext[Any, Any]
Result = dict[str, Any]

WORDS = ["paris", "park", "party", "london"]


async def list_tools(context: Context, params: PaginatedRequestParams) -> Result:
    return {"tools": tools.listed_tools()}


async def call_tool(context: Context, params: CallToolRequestParams) -> Result:
    try:
        return await tools.run(params.name, Call(context))
    except InputRequired as question:
        return question.result


async def list_resources(context: Context, params: PaginatedRequestParams) -> Result:
    return {"resources": content.listed_resources()}


async def list_templates(context: Context, params: PaginatedRequestParams) -> Result:
    return {"resourceTemplates": content.TEMPLATES}


async def read_resource(context: Context, params: ReadResourceRequestParams) -> Result:
    return {"contents": [content.read(params.uri, context.protocol_version)]}


async def list_prompts(context: Context, params: PaginatedRequestParams) -> Result:
    return {"prompts": content.listed_prompts()}


async def get_prompt(context: Context, params: GetPromptRequestParams) -> Result:
    try:
        blocks = await content.prompt(params.name, Call(context))
    except InputRequired as question:
        return question.result
    return {"messages": [{"role": "user", "content": block} for block in blocks]}


async def complete(context: Context, params: CompleteRequestParams) -> Result:
    values = [word for word in WORDS if word.startswith(params.argument.value)]
    return {"completion": {"values": values, "total": len(values), "hasMore": False}}


async def accept(context: Context, params: Any) -> Result:
    return {}


HANDLERS: list[tuple[str, Any, Any]] = [
    ("tools/list", PaginatedRequestParams, list_tools),
    ("tools/call", CallToolRequestParams, call_tool),
    ("resources/list", PaginatedRequestParams, list_resources),
    ("resources/templates/list", PaginatedRequestParams, list_templates),
    ("resources/read", ReadResourceRequestParams, read_resource),
    ("resources/subscribe", SubscribeRequestParams, accept),
    ("resources/unsubscribe", UnsubscribeRequestParams, accept),
    ("prompts/list", PaginatedRequestParams, list_prompts),
    ("prompts/get", GetPromptRequestParams, get_prompt),
    ("completion/complete", CompleteRequestParams, complete),
    ("logging/setLevel", SetLevelRequestParams, accept),
]


def completed(handler: Any) -> Any:
    """The handler, whose result says to a modern client that it is the whole one."""

    async def handle(context: Context, params: Any) -> Result:
        result = await handler(context, params)
        return {"resultType": "complete", **result} if Call(context).is_modern else result

    return handle


def build() -> Server[Any]:
    server: Server[Any] = Server(
        NAME,
        version="1",
        cache_hints={method: CacheHint(ttl_ms=1000, scope="public") for method in CACHEABLE_METHODS},
        get_tool_input_schema=lambda name: tools.TOOLS[name].schema if name in tools.TOOLS else None,
    )
    for method, params, handler in HANDLERS:
        server.add_request_handler(method, params, completed(handler))
    server.add_request_handler("subscriptions/listen", SubscriptionsListenRequestParams, ListenHandler(tools.BUS))
    server.middleware.append(RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience=NAME))
    return server
