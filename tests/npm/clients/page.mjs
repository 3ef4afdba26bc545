// The TypeScript SDK's client in a page, with nothing of its own behind it: `page.html?mcp=URL&mode=MODE`. It goes
// away to sign in, comes back, and says what it found.
import { Client, StreamableHTTPClientTransport, UnauthorizedError } from "@modelcontextprotocol/client";

const callback = location.origin + location.pathname;
const came = new URLSearchParams(location.search);
// What a page keeps until it comes back.
const kept = JSON.parse(sessionStorage.getItem("kept") ?? "{}");
const keep = (about) => {
  Object.assign(kept, about);
  sessionStorage.setItem("kept", JSON.stringify(kept));
};
if (came.has("mcp")) keep({ mcp: came.get("mcp"), mode: came.get("mode") });

const provider = {
  redirectUrl: callback,
  clientMetadata: {
    client_name: "TypeScript SDK in a page",
    redirect_uris: [callback],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  clientInformation: () => kept.client,
  saveClientInformation: (client) => keep({ client }),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => keep({ tokens }),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => keep({ verifier }),
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (discovery) => keep({ discovery }),
  redirectToAuthorization: (url) => location.assign(url),
};
const transport = () => new StreamableHTTPClientTransport(new URL(kept.mcp), { authProvider: provider });
const mode = kept.mode === "legacy" ? "legacy" : { pin: kept.mode };
const client = () => new Client({ name: "page", version: "0" }, { versionNegotiation: { mode } });

async function find() {
  const connected = client();
  await connected.connect(transport());
  const found = { tools: (await connected.listTools()).tools.map((tool) => tool.name) };
  found.text = (await connected.callTool({ name: "test_simple_text", arguments: {} })).content[0].text;
  await connected.close();
  return found;
}

async function start() {
  if (!came.has("code")) {
    await client().connect(transport());
    throw new Error("it was let in without asking anybody");
  }
  await transport().finishAuth(came);
  const found = await find();
  // A token that is not good any more is exchanged for the next, without the person.
  keep({ tokens: { ...kept.tokens, access_token: "expired" } });
  return { ...found, refreshed: (await find()).text };
}

try {
  document.querySelector("output").textContent = JSON.stringify(await start());
} catch (error) {
  if (!(error instanceof UnauthorizedError)) document.querySelector("output").textContent = String(error.stack);
}
