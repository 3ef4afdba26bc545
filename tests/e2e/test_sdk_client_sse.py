"""The mcp SDK's client of HTTP+SSE with its own OAuth, as a program of 2024 is told the address."""

import time

import pytest
from mcp import ClientSession
from mcp.client.sse import sse_client

from tests.e2e.person import PlainPerson
from tests.e2e.test_sdk_client import SDKClient, Storage
from tests.live import LiveServer

pytestmark = pytest.mark.gen_test(timeout=120)


async def test_the_sdk_client_connects_calls_and_refreshes_over_http_and_sse(real_server: LiveServer) -> None:
    storage = Storage()
    sdk = SDKClient(f"{real_server.origin}/sse", storage, PlainPerson(real_server))
    tokens = set()
    for _ in range(2):
        async with sse_client(sdk.url, auth=sdk.oauth) as streams, ClientSession(*streams) as session:
            await session.initialize()
            assert "test_simple_text" in {tool.name for tool in (await session.list_tools()).tools}
            answer = await session.call_tool("test_simple_text", {})
            assert answer.content[0].text == "This is a simple text response for testing."
            assert storage.tokens is not None
            tokens.add(storage.tokens.access_token)
        # As if an hour had passed for the client.
        sdk.oauth.context.token_expiry_time = time.time() - 1
    assert len(tokens) == 2
    assert sdk.asked == 1
