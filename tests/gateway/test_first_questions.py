"""What a program asks a legacy client as soon as it is initialized, which is with the first call."""

import asyncio
import json
from pathlib import Path

import pytest

from mcpauth.gateway import links
from tests.fakes.mcp_client import Client

ROOTED = (str(Path(__file__).parent.parent / "fakes" / "mcp_legacy_server.py"), "--roots")
HOME = {"roots": [{"uri": "file:///home"}]}


@pytest.fixture(params=[None, "user"])
def begin(serve, child, request):
    """An initialized client that declares this."""

    async def start(**capabilities):
        gateway = await serve(child("rooted", args=ROOTED, share=request.param))
        await gateway.settled()  # From then on, initialize starts no program.
        client = Client(gateway, "rooted")
        info = {"name": "test", "version": "1"}
        about = {"protocolVersion": "2025-11-25", "capabilities": capabilities, "clientInfo": info}
        await client.initialize(about)
        return client

    return start


async def next_of(stream):
    return json.loads(await anext(stream))


async def test_a_client_that_listens_answers_it_first(begin):
    client = await begin(roots={})
    heard = client.listen()
    call = asyncio.create_task(client.text("where"))
    asked = await next_of(heard)
    assert asked["method"] == "roots/list"
    assert not call.done()
    await client.post({"jsonrpc": "2.0", "id": asked["id"], "result": HOME})
    assert await call == '["file:///home"]'


async def test_one_that_does_not_answer_is_not_waited_for_without_end(begin, monkeypatch):
    monkeypatch.setattr(links, "ANSWERING", 0.1)
    client = await begin(roots={})
    heard = client.listen()
    assert await client.text("where") == "access denied"
    assert (await next_of(heard))["method"] == "roots/list"


async def test_one_that_listens_nowhere_is_asked_on_the_calls_own_stream(begin):
    client = await begin(roots={})
    *asked, last = await client.frames(await client.calling("where"))
    assert [one["method"] for one in asked] in (["roots/list"], [])
    assert last["result"]["content"][0]["text"] == "access denied"


async def test_one_that_has_no_roots_is_not_asked(begin):
    client = await begin(elicitation={})
    heard = client.listen()
    assert await client.text("where") == "access denied"
    heard.close()
    assert [message async for message in heard] == []
