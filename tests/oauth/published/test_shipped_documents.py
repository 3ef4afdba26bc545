"""Well-known clients connect when their documents cannot be fetched: here they never can."""

import json

from mcpauth.oauth import shipped_documents

CHATGPT, CODEX = "https://chatgpt.com/oauth", "https://chatgpt.com/oauth/codex"

# Id and redirect URI, as the clients send them.
KNOWN = [
    (f"{CHATGPT}/client.json", "https://chatgpt.com/connector_platform_oauth_redirect"),
    (f"{CHATGPT}/OUbdUMlL15Ct/client.json", "https://chatgpt.com/connector/oauth/OUbdUMlL15Ct"),
    (f"{CODEX}/client.json", "http://127.0.0.1:1455/callback"),
    (f"{CODEX}/a_B-3xYz0123/client.json", "http://127.0.0.1:1455/callback/a_B-3xYz0123"),
    ("https://claude.ai/oauth/mcp-oauth-client-metadata", "https://claude.ai/api/mcp/auth_callback"),
    ("https://claude.ai/oauth/mcp-oauth-client-metadata", "https://claude.com/api/mcp/auth_callback"),
    ("https://claude.ai/oauth/claude-code-client-metadata", "http://localhost:3118/callback"),
    ("https://claude.ai/oauth/claude-code-client-metadata", "http://127.0.0.1:50123/callback"),
    ("https://claude.ai/oauth/claude-code-client-metadata", "http://127.0.0.1/callback"),
    ("https://vscode.dev/oauth/client-metadata.json", "http://127.0.0.1:33418/"),
    ("https://vscode.dev/oauth/client-metadata.json", "http://127.0.0.1:40001/"),
    ("https://vscode.dev/oauth/client-metadata.json", "https://vscode.dev/redirect"),
    ("https://vscode.dev/oauth/client-metadata.json", "https://insiders.vscode.dev/redirect"),
    ("https://goose-docs.ai/oauth/client-metadata.json", "http://127.0.0.1:7001/oauth_callback"),
    ("https://opencode.ai/oauth/opencode/client.json", "http://127.0.0.1:19876/mcp/oauth/callback"),
    ("https://zed.dev/oauth/client-metadata.json", "http://127.0.0.1:6000/callback"),
    (
        "https://nousresearch.github.io/hermes-agent/docs/oauth/client-metadata.json",
        "http://127.0.0.1:6001/callback",
    ),
]


async def test_a_well_known_client_connects_without_its_document(client, connect, ambient):
    for client_id, redirect_uri in KNOWN:
        ambient.time += 61
        assert (await connect(client_id, redirect_uri)).status == 200, client_id
        assert (await client.refresh()).status == 200
        assert (await client.call("tools/list")).status == 200


STRANGERS = [
    (f"{CHATGPT}/OUbdUMlL15Ct/client.json", "https://chatgpt.com/connector/oauth/another"),
    (f"{CHATGPT}/client.json", "https://chatgpt.com/connector/oauth/OUbdUMlL15Ct"),
    (f"{CHATGPT}/a/b/client.json", "https://chatgpt.com/connector/oauth/a/b"),
    (f"{CHATGPT}/a%2fb/client.json", "https://chatgpt.com/connector/oauth/a%2fb"),
    (f"{CHATGPT}/client.json/", "https://chatgpt.com/connector_platform_oauth_redirect"),
    ("https://chatgptxcom/oauth/client.json", "https://chatgpt.com/connector_platform_oauth_redirect"),
    (f"{CHATGPT}/{'a' * 65}/client.json", f"https://chatgpt.com/connector/oauth/{'a' * 65}"),
    ("https://claude.ai/oauth/mcp-oauth-client-metadata?x=1", "https://claude.ai/api/mcp/auth_callback"),
    ("https://claude.ai/oauth/mcp-oauth-client-metadata", "https://claude.ai/api/mcp/other"),
]


async def test_nothing_else_passes_for_one(client):
    for client_id, redirect_uri in STRANGERS:
        reply = await client.fetch(client.authorization_url(client_id=client_id, redirect_uri=redirect_uri))
        assert reply.status == 400, client_id
        assert "Location" not in reply.headers


def test_each_says_of_when_it_is_and_can_be_read():
    paths = sorted(shipped_documents.DIRECTORY.glob("*.json"))
    assert len(paths) == 11
    for path in paths:
        shipped = json.loads(path.read_text())
        assert shipped.keys() == {"as_of", "document"}
        client_id = shipped["document"]["client_id"].replace("{callback_id}", "some-id_1")
        found = shipped_documents.find(client_id)
        assert found is not None
        assert found.client_name == shipped["document"]["client_name"]
