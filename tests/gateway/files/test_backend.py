"""The files backend as a client sees it: the protocol, the tools, their refusals."""

import base64
import json
import os

import jsonschema
import pytest

from mcpauth.errors import BackendUnavailable
from mcpauth.gateway.files.content import MAX_TEXT
from mcpauth.gateway.files.schemas import DEFAULT_PAGE, MAX_ENTRIES
from mcpauth.gateway.files.writing import MAX_WRITE
from mcpauth.gateway.frames import raw, value

READING = ["list_directory", "read_file", "search", "fetch"]
PNG = b"\x89PNG\r\n\x1a\n\0\0"


@pytest.mark.parametrize(
    ("asked", "given"),
    [(v, v) for v in ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")] + [("1999-01-01", "2025-11-25")],
)
async def test_initialize_agrees_on_a_version(serve, folder, asked, given):
    caller = await serve(folder)
    params = {"protocolVersion": asked, "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}
    result = (await caller.request("initialize", params))["result"]
    assert result["protocolVersion"] == given
    assert result["capabilities"] == {"tools": {}}
    assert set(result["serverInfo"]) == {"name", "title", "version"}
    assert result["instructions"]


async def test_ping_and_what_is_not_there(serve, folder):
    caller = await serve(folder)
    assert (await caller.request("ping"))["result"] == {}
    for method in ("logging/setLevel", "resources/list", "prompts/list"):
        assert (await caller.request(method, {}))["error"]["code"] == -32601


@pytest.mark.parametrize("params", [{"name": "nothing"}, {"name": "write_file"}, {}, {"name": 1}, None, []])
async def test_a_call_of_no_tool_is_invalid(serve, folder, params):
    caller = await serve(folder)
    assert (await caller.request("tools/call", params))["error"]["code"] == -32602


async def test_a_string_that_is_no_text_is_invalid(serve, folder):
    session = (await serve(folder))._session
    frame = {"jsonrpc": raw("2.0"), "id": raw(1), "method": raw("tools/call")}
    frame["params"] = type(raw(1))(b'{"name":"read_file","arguments":{"path":"\\ud800"}}')
    [answer] = [answer async for answer in session.request(frame)]
    assert value(answer["error"])["code"] == -32602


@pytest.mark.parametrize(("write", "names"), [(False, READING), (True, [*READING, "write_file"])])
async def test_tools_say_what_they_are(serve, folder, write, names):
    caller = await serve(folder, write=write)
    tools = (await caller.request("tools/list"))["result"]["tools"]
    assert [tool["name"] for tool in tools] == names
    for tool in tools:
        writes = tool["name"] == "write_file"
        assert tool["title"] == tool["annotations"]["title"]
        assert tool["annotations"]["readOnlyHint"] is not writes
        assert tool["annotations"]["destructiveHint"] is writes
        assert tool["annotations"]["openWorldHint"] is False
        for schema in (tool["inputSchema"], tool.get("outputSchema", {"type": "object"})):
            assert schema["type"] == "object"
            assert "$ref" not in json.dumps(schema)
            jsonschema.Draft202012Validator.check_schema(schema)


async def test_structured_content_keeps_to_its_schema(serve, folder):
    (folder / "a.md").write_text("hello")
    (folder / "b").mkdir()
    caller = await serve(folder, write=True)
    tools = {tool["name"]: tool for tool in (await caller.request("tools/list"))["result"]["tools"]}
    for name, arguments in {
        "list_directory": {},
        "search": {"query": "hello"},
        "fetch": {"id": "a.md"},
        "write_file": {"path": "c.md", "content": "x"},
    }.items():
        jsonschema.validate(arguments, tools[name]["inputSchema"])
        result = await caller.tool(name, **arguments)
        jsonschema.validate(result["structuredContent"], tools[name]["outputSchema"])
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


# list_directory


async def test_a_directory_is_listed_in_order(serve, folder):
    for name in ("b.md", "A.md", "c.md", ".hidden"):
        (folder / name).write_text("x")
    (folder / "a").mkdir()
    os.utime(folder / "b.md", (0, 0))
    caller = await serve(folder)
    listing = (await caller.tool("list_directory"))["structuredContent"]
    assert [entry["path"] for entry in listing["entries"]] == ["a", "A.md", "b.md", "c.md"]
    assert listing["entries"][0] == {"name": "a", "path": "a", "type": "directory"}
    assert listing["entries"][2]["modified"] == "1970-01-01T00:00:00Z"
    assert listing["entries"][2]["size"] == 1
    assert "note" not in listing


async def test_entries_name_their_path(serve, folder):
    (folder / "a").mkdir()
    (folder / "a" / "b.md").touch()
    caller = await serve(folder)
    [entry] = (await caller.tool("list_directory", path="./a/"))["structuredContent"]["entries"]
    assert entry["path"] == "a/b.md"


async def test_a_long_listing_is_cut_and_says_so(serve, folder):
    for number in range(MAX_ENTRIES + 1):
        (folder / f"{number:05}").touch()
    caller = await serve(folder)
    listing = (await caller.tool("list_directory", path=None))["structuredContent"]
    assert len(listing["entries"]) == MAX_ENTRIES
    assert listing["total"] == MAX_ENTRIES + 1
    assert f"{MAX_ENTRIES} of {MAX_ENTRIES + 1}" in listing["note"]


# read_file


async def test_a_file_is_read_twice_alike_and_then_as_it_has_become(serve, folder):
    (folder / "a.md").write_text("hello")
    caller = await serve(folder)
    assert await caller.tool("read_file", path="a.md") == {"content": [{"type": "text", "text": "hello"}]}
    assert await caller.text("read_file", path="a.md") == "hello"
    (folder / "a.md").write_text("changed")
    assert await caller.text("read_file", path="a.md") == "changed"
    (folder / "a.md").unlink()
    (folder / "a.md").symlink_to("/etc/passwd")
    assert "links are not followed" in await caller.refused("read_file", path="a.md")


async def test_a_long_file_is_paged(serve, folder):
    text = "".join(f"line {number}\n" for number in range(60_000))
    (folder / "long.txt").write_text(text)
    caller = await serve(folder)
    pages, offset = [], "0"  # Models send numbers as strings.
    while offset:
        content = (await caller.tool("read_file", path="long.txt", offset=offset))["content"]
        pages.append(content[0]["text"])
        offset = content[1]["text"].rstrip("]").split()[-1] if len(content) > 1 else None
    assert "".join(pages) == text
    assert {len(page) for page in pages[:-1]} == {DEFAULT_PAGE}


async def test_a_page_has_a_hard_limit(serve, folder):
    (folder / "long.txt").write_bytes(b"x" * (MAX_TEXT + 1))
    caller = await serve(folder)
    content = (await caller.tool("read_file", path="long.txt", limit=10**9))["content"]
    assert len(content[0]["text"]) == MAX_TEXT
    assert "beyond the end" in await caller.refused("read_file", path="long.txt", offset=10**9)
    assert "$.offset" in await caller.refused("read_file", path="long.txt", offset=10**30)


async def test_an_image_is_image_content(serve, folder):
    (folder / "a.txt").write_bytes(PNG)
    caller = await serve(folder)
    [image] = (await caller.tool("read_file", path="a.txt"))["content"]
    assert (image["type"], image["mimeType"]) == ("image", "image/png")
    assert base64.b64decode(image["data"]) == PNG


@pytest.mark.parametrize(
    "path",
    [
        "nothing.md",
        "../outside",
        "/etc/passwd",
        ".env",
        "a\0b",
        "link",
        "fifo",
        "directory",
        "binary",
        "",
        7,
        None,
    ],
)
@pytest.mark.parametrize("tool", ["read_file", "fetch"])
async def test_what_is_refused_is_a_tool_error_without_a_path_of_the_machine(serve, folder, tool, path):
    (folder / "link").symlink_to("/etc/passwd")
    (folder / "directory").mkdir()
    (folder / "binary").write_bytes(b"\0\1\2")
    (folder / ".env").write_text("secret")
    os.mkfifo(folder / "fifo")
    caller = await serve(folder)
    message = await caller.refused(tool, **{"id" if tool == "fetch" else "path": path})
    assert str(folder.parent) not in message
    assert "Traceback" not in message


async def test_a_missing_file_is_told_with_the_way_out(serve, folder):
    caller = await serve(folder)
    message = await caller.refused("read_file", path="./notes/x.md")
    assert message == "no such directory: notes; use list_directory without a path to see what there is"
    message = await caller.refused("read_file", path="x.md")
    assert message == "no such file: x.md; use list_directory to see what there is"


@pytest.mark.parametrize("arguments", [{}, {"path": ["a"]}, {"path": "a", "offset": -1}, {"path": "a", "limit": 0}])
async def test_wrong_arguments_are_a_tool_error(serve, folder, arguments):
    caller = await serve(folder)
    assert "do not fit" in await caller.refused("read_file", **arguments)


# fetch


async def test_search_and_fetch_have_the_shape_of_deep_research(serve, folder):
    (folder / "my plans").mkdir()
    (folder / "my plans" / "spring.md").write_text("plant tomatoes in May")
    caller = await serve(folder)
    [hit] = (await caller.tool("search", query="tomato"))["structuredContent"]["results"]
    url = "files://notes/my%20plans/spring.md"
    assert hit == {
        "id": "my plans/spring.md",
        "title": "spring.md",
        "url": url,
        "text": "plant tomatoes in May",
    }
    for handle in (hit["id"], url):
        fetched = (await caller.tool("fetch", id=handle))["structuredContent"]
        assert fetched == {
            "id": "my plans/spring.md",
            "title": "spring.md",
            "text": "plant tomatoes in May",
            "url": url,
            "metadata": {"size": "21"},
        }


async def test_fetch_cuts_a_long_text_and_says_how_to_go_on(serve, folder):
    (folder / "long.txt").write_bytes(b"x" * (MAX_TEXT + 1))
    (folder / "image").write_bytes(PNG)
    caller = await serve(folder)
    fetched = (await caller.tool("fetch", id="long.txt"))["structuredContent"]
    assert len(fetched["text"]) == MAX_TEXT
    assert str(MAX_TEXT) in fetched["metadata"]["truncated"]
    assert "read_file" in await caller.refused("fetch", id="image")


# write_file


async def test_a_file_is_written_and_read_back(serve, folder):
    caller = await serve(folder, write=True)
    for created in (True, False):
        result = await caller.tool("write_file", path="a/b.md", content="Grüße")
        assert result["structuredContent"] == {"path": "a/b.md", "created": created, "size": 7}
    assert await caller.text("read_file", path="a/b.md") == "Grüße"


async def test_a_text_too_long_is_not_written(serve, folder):
    caller = await serve(folder, write=True)
    assert "too long" in await caller.refused("write_file", path="a.md", content="ü" * (MAX_WRITE // 2 + 1))
    assert "dot" in await caller.refused("write_file", path=".bashrc", content="x")
    assert os.listdir(folder) == []


# start


async def test_a_root_that_is_not_there_is_named_by_its_key(serve, tmp_path):
    with pytest.raises(BackendUnavailable, match=r'change "root" of "notes" in mcp\.json') as error:
        await serve(tmp_path / "nothing")
    assert str(tmp_path) not in error.value.message


async def test_a_root_in_the_data_directory_does_not_start(serve, data_dir):
    with pytest.raises(BackendUnavailable, match="data directory"):
        await serve(data_dir / "keys")


META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}


async def test_modern_requests_get_modern_results(serve, folder):
    (folder / "a.txt").write_text("hello")
    caller = await serve(folder)
    discovered = (await caller.request("server/discover", {"_meta": META}))["result"]
    assert discovered["supportedVersions"] == ["2026-07-28"]
    assert discovered["capabilities"] == {"tools": {}}
    assert discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "mcpauth-files"
    listed = (await caller.request("tools/list", {"_meta": META}))["result"]
    assert [tool["name"] for tool in listed["tools"]] == READING
    for result in (discovered, listed):
        assert (result["resultType"], result["ttlMs"], result["cacheScope"]) == ("complete", 0, "private")
    params = {"name": "read_file", "arguments": {"path": "a.txt"}, "_meta": META}
    called = (await caller.request("tools/call", params))["result"]
    assert called["resultType"] == "complete"
    assert "hello" in called["content"][0]["text"]
    refused = (await caller.request("tools/call", {**params, "arguments": {"path": "b.txt"}}))["result"]
    assert refused["resultType"] == "complete"
    assert refused["isError"] is True
    for method in ("initialize", "ping", "subscriptions/listen", "resources/list", "x/new"):
        assert (await caller.request(method, {"_meta": META}))["error"]["code"] == -32601
