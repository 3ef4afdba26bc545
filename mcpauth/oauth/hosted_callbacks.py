"""Facts about clients as data: where the hosted ones take their codes, and which schemes the others use.

As the vendors documented them, or as they were seen, in November 2026.
"""

# An error may be redirected here without asking anybody: nobody but the vendor can register such an address.
HOSTED = (
    "https://antigravity.google/oauth-callback",
    "https://api.devin.ai/mcp/oauth/callback",
    "https://callback.mistral.ai/v1/integrations_auth/oauth2_callback",
    "https://chat.openai.com/",
    "https://chatgpt.com/connector",
    "https://claude.ai/api/mcp/auth_callback",
    "https://claude.com/api/mcp/auth_callback",
    "https://console.x.ai/connectors-oauth-exchange-code/",
    "https://enterprise.perplexity.ai/rest/connections/oauth_callback",
    "https://grok.com/connectors-oauth-exchange-code/",
    "https://insiders.vscode.dev/redirect",
    "https://oauth.n8n.cloud/oauth2/callback",
    "https://vscode.dev/redirect",
    "https://www.cursor.com/agents/mcp/oauth/callback",
    "https://www.perplexity.ai/rest/connections/oauth_callback",
)

# Private-use schemes belong to whoever installed a program for them, so only known ones are taken.
PRIVATE_USE = (
    "cursor://anysphere.cursor-mcp/oauth/",
    "cursor://anysphere.cursor-retrieval/oauth/",
)


def is_hosted(redirect_uri: str) -> bool:
    return redirect_uri.startswith(HOSTED)


def is_private_use(redirect_uri: str) -> bool:
    return redirect_uri.startswith(PRIVATE_USE)
