"""The mcp SDK's own client, from discovery to revocation, with a person at Chromium."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import httpx2
import pytest
from mcp import ClientSession
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.e2e.chromium import CHROMIUM, need, person
from tests.live import LiveServer

REDIRECT_URI = "http://127.0.0.1:33418/callback"
EVERYTHING = Path(__file__).parents[1] / "npm/node_modules/@modelcontextprotocol/server-everything/dist/index.js"

pytestmark = pytest.mark.gen_test(timeout=120)


class Storage:
    """Where the client keeps what it was given: on disk in real life, so it outlives the server."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class AtBrowser(Protocol):
    async def allow(self, url: str, redirect_uri: str) -> dict[str, str]: ...


class SDKClient:
    """The SDK's client with its own OAuth. ``asked`` counts how often it needed the person."""

    def __init__(self, url: str, storage: Storage, at_browser: AtBrowser | None, published: str | None = None) -> None:
        self.asked = 0
        self._at_browser = at_browser
        metadata = OAuthClientMetadata(
            client_name="SDK client",
            redirect_uris=[REDIRECT_URI],
            grant_types=["authorization_code", "refresh_token"],
            response_types=["code"],
            token_endpoint_auth_method="none",
        )
        self.url = url
        self.oauth = OAuthClientProvider(
            url, metadata, storage, self._redirect, self._callback, client_metadata_url=published
        )

    async def _redirect(self, url: str) -> None:
        self._url = url

    async def _callback(self) -> AuthorizationCodeResult:
        self.asked += 1
        assert self._at_browser is not None, "the client asked for a person"
        back = await self._at_browser.allow(self._url, REDIRECT_URI)
        return AuthorizationCodeResult(code=back["code"], state=back["state"], iss=back["iss"])

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[ClientSession]:
        async with (
            httpx2.AsyncClient(auth=self.oauth, timeout=60) as http,
            streamable_http_client(self.url, http_client=http) as streams,
            ClientSession(streams[0], streams[1]) as session,
        ):
            await session.initialize()
            yield session


def configure(data_dir: Path) -> None:
    """``files`` on a folder of notes, and the npm server-everything as a child."""
    data_dir.mkdir()
    notes = data_dir.parent / "notes"
    notes.mkdir()
    (notes / "hello.md").write_text("The walls have ears.\n")
    servers = {
        "files": {"builtin": "files", "root": "../notes"},
        "everything": {"command": "node", "args": [str(EVERYTHING), "stdio"]},
    }
    (data_dir / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    (data_dir / "mcp.json").chmod(0o600)


async def test_the_sdk_client_connects_calls_refreshes_and_survives_a_restart(tmp_path: Path) -> None:
    need("chromium", bool(CHROMIUM))
    need("npm's server-everything (npm ci --prefix tests/npm)", EVERYTHING.exists())
    configure(tmp_path / "data")
    storage = Storage()
    async with LiveServer(tmp_path) as server, person("ada", "correct horse battery") as ada:
        await ada.set_up(server.setup_link)
        client = SDKClient(f"{server.origin}/mcp", storage, ada)
        async with client.connect() as session:
            names = [tool.name for tool in (await session.list_tools()).tools]
            assert {"read_file", "search", "fetch", "list_directory", "echo"} <= set(names)
            note = await session.call_tool("read_file", {"path": "hello.md"})
            assert "The walls have ears." in note.content[0].text
            heard = await session.call_tool("echo", {"message": "who goes there"})
            assert "who goes there" in heard.content[0].text
            assert client.asked == 1

            first = storage.tokens
            # As if an hour had passed for the client.
            client.oauth.context.token_expiry_time = time.time() - 1
            await session.call_tool("read_file", {"path": "hello.md"})
            assert storage.tokens is not None
            assert first is not None
            assert storage.tokens.access_token != first.access_token
            assert client.asked == 1
        assert ada.problems == []

        await server.restart()
        after = SDKClient(f"{server.origin}/mcp", storage, None)
        async with after.connect() as session:
            heard = await session.call_tool("echo", {"message": "still here"})
            assert "still here" in heard.content[0].text

        assert storage.client is not None
        async with httpx2.AsyncClient() as http:
            headers = {"Authorization": f"Bearer {storage.tokens.access_token}"}
            assert (await http.get(f"{server.origin}/auth/oauth/me", headers=headers)).status_code == 200
            revoked = await http.post(
                f"{server.origin}/revoke",
                data={"token": storage.tokens.refresh_token, "client_id": storage.client.client_id},
            )
            assert revoked.status_code == 200
            refused = await http.post(f"{server.origin}/mcp", headers=headers, json={})
            assert refused.status_code == 401
            assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


async def test_the_sdk_client_is_known_by_the_url_that_is_its_id(tmp_path: Path) -> None:
    need("chromium", bool(CHROMIUM))
    published = "https://claude.ai/oauth/claude-code-client-metadata"
    storage = Storage()
    # Nothing is fetched from elsewhere: the shipped document serves.
    async with (
        LiveServer(tmp_path, MCP_OAUTH_CIMD_LOOPBACK="true") as server,
        person("ada", "correct horse battery") as ada,
    ):
        await ada.set_up(server.setup_link)
        async with SDKClient(f"{server.origin}/mcp", storage, ada, published).connect() as session:
            assert "read_file" in {tool.name for tool in (await session.list_tools()).tools}
        assert storage.client is not None
        assert storage.client.client_id == published
        assert ada.problems == []
        await server.restart()
        async with SDKClient(f"{server.origin}/mcp", storage, None, published).connect() as session:
            assert (await session.list_tools()).tools


@pytest.mark.parametrize("backend", ["files", "everything"])
async def test_one_backend_has_an_address_of_its_own(tmp_path: Path, backend: str) -> None:
    need("chromium", bool(CHROMIUM))
    need("npm's server-everything (npm ci --prefix tests/npm)", EVERYTHING.exists())
    configure(tmp_path / "data")
    async with LiveServer(tmp_path) as server, person("ada", "correct horse battery") as ada:
        await ada.set_up(server.setup_link)
        async with SDKClient(f"{server.origin}/mcp/{backend}", Storage(), ada).connect() as session:
            names = {tool.name for tool in (await session.list_tools()).tools}
            assert ("read_file" in names) == (backend == "files")
            assert ("echo" in names) == (backend == "everything")
            if backend == "everything":
                assert (await session.list_resources()).resources
                assert (await session.list_prompts()).prompts
