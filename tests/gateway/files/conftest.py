"""A folder to serve, beside the data directory, and a backend on it."""

import json

import pytest

from mcpauth.gateway.files.backend import FilesBackend
from mcpauth.gateway.files.root import Root
from mcpauth.gateway.frames import raw, value


class Caller:
    """Speaks to one session of a backend."""

    def __init__(self, session):
        self._session = session

    async def request(self, method, params=None):
        frame = {"jsonrpc": raw("2.0"), "id": raw("a"), "method": raw(method)}
        if params is not None:
            frame["params"] = raw(params)
        [answer] = [answer async for answer in self._session.request(frame)]
        assert value(answer["id"]) == "a"
        return {name: value(member) for name, member in answer.items()}

    async def tool(self, name, /, **arguments):
        answer = await self.request("tools/call", {"name": name, "arguments": arguments})
        return answer["result"]

    async def text(self, name, /, **arguments):
        result = await self.tool(name, **arguments)
        assert not result.get("isError"), result
        return result["content"][0]["text"]

    async def refused(self, name, /, **arguments):
        """The message of a tool error."""
        result = await self.tool(name, **arguments)
        assert result.get("isError") is True, result
        return result["content"][0]["text"]

    async def found(self, query):
        result = await self.tool("search", query=query)
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
        assert "note" not in result["structuredContent"]
        return [hit["id"] for hit in result["structuredContent"]["results"]]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


@pytest.fixture
def data_dir(tmp_path):
    data_dir = tmp_path / "data"
    (data_dir / "files").mkdir(parents=True)
    (data_dir / "keys").mkdir()
    (data_dir / "mcp.json").write_text("secret")
    (data_dir / "keys" / "signing.pem").write_text("secret")
    (data_dir / "files" / "welcome.md").write_text("welcome")
    return data_dir


@pytest.fixture
def root(folder, data_dir):
    return Root(folder, data_dir, uri="files://notes/")


@pytest.fixture
def index(data_dir):
    return data_dir / "files-notes.index.sqlite3"


@pytest.fixture
def serve(io_loop, data_dir, index, ambient, tmp_path):
    """Start a backend on a folder; what is returned calls it."""
    # Files of these tests are as young as they look.
    ambient.time = int(tmp_path.stat().st_mtime)
    backends = []

    async def serve(folder, *, write=False):
        backend = FilesBackend("notes", folder, write=write, index=index, data_dir=data_dir, ambient=ambient)
        backends.append(backend)
        await backend.start()
        return Caller(await backend.open(print))

    yield serve
    for backend in backends:
        io_loop.run_sync(backend.close)
