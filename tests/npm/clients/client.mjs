// Both TypeScript SDK clients, the way a program uses them: `node client.mjs SDK MODE MCP_URL CALLBACK`.
// SDK is 1 or 2, MODE is what the second is asked for: auto, legacy, or a revision; sse is HTTP+SSE. It prints lines of JSON: first
// {"authorize": url} for the person, who ends at CALLBACK, and at last what it found.
import { createServer } from "node:http";
import { once } from "node:events";

const [sdk, mode, mcpUrl, callback] = process.argv.slice(2);
const say = (about) => process.stdout.write(JSON.stringify(about) + "\n");

const { Client, SSEClientTransport, StreamableHTTPClientTransport, UnauthorizedError } =
  sdk === "1"
    ? {
        ...(await import("@modelcontextprotocol/sdk/client/index.js")),
        ...(await import("@modelcontextprotocol/sdk/client/sse.js")),
        ...(await import("@modelcontextprotocol/sdk/client/streamableHttp.js")),
        ...(await import("@modelcontextprotocol/sdk/client/auth.js")),
      }
    : await import("@modelcontextprotocol/client");

// What a program keeps of one server, in memory.
const kept = {};
const provider = {
  redirectUrl: callback,
  clientMetadata: {
    client_name: `TypeScript SDK ${sdk}`,
    redirect_uris: [callback],
    grant_types: ["authorization_code", "refresh_token"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  },
  state: () => "a state with +/= in it",
  clientInformation: () => kept.client,
  saveClientInformation: (client) => void (kept.client = client),
  tokens: () => kept.tokens,
  saveTokens: (tokens) => void (kept.tokens = tokens),
  codeVerifier: () => kept.verifier,
  saveCodeVerifier: (verifier) => void (kept.verifier = verifier),
  discoveryState: () => kept.discovery,
  saveDiscoveryState: (discovery) => void (kept.discovery = discovery),
  redirectToAuthorization: (url) => say({ authorize: url.href }),
};

const listening = createServer();
listening.listen(Number(new URL(callback).port), "127.0.0.1");

const Transport = mode === "sse" ? SSEClientTransport : StreamableHTTPClientTransport;
const transport = () => new Transport(new URL(mcpUrl), { authProvider: provider });
const negotiation = { auto: "auto", legacy: "legacy", sse: "legacy" }[mode] ?? { pin: mode };
const client = () =>
  new Client({ name: "ts", version: "0" }, sdk === "1" ? {} : { versionNegotiation: { mode: negotiation } });

const first = transport();
try {
  await client().connect(first);
  throw new Error("it was let in without asking anybody");
} catch (error) {
  if (!(error instanceof UnauthorizedError)) throw error;
}
const [request, response] = await once(listening, "request");
response.end("done");
const answered = new URL(request.url, callback).searchParams;
if (answered.get("state") !== provider.state()) throw new Error("another state came back");
await (sdk === "1" ? first.finishAuth(answered.get("code")) : first.finishAuth(answered));

const found = {};
const connected = client();
await connected.connect(transport());
found.tools = (await connected.listTools()).tools.map((tool) => tool.name);
found.text = (await connected.callTool({ name: "test_simple_text", arguments: {} })).content[0].text;
found.resource = (await connected.readResource({ uri: "test://static-text" })).contents[0].text;
found.prompt = (await connected.getPrompt({ name: "test_simple_prompt" })).messages[0].content.text;
await connected.close();

// A token that is not good any more is exchanged for the next, without the person.
kept.tokens = { ...kept.tokens, access_token: "expired" };
const again = client();
await again.connect(transport());
found.refreshed = (await again.callTool({ name: "test_simple_text", arguments: {} })).content[0].text;
await again.close();

say(found);
process.exit(0);
