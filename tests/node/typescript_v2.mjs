// The TypeScript client 2.x over Streamable HTTP: node typescript_v2.mjs URL KEY MODE ("auto" or "legacy"). Lists tools, calls one; prints JSON.
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, key, mode] = process.argv.slice(2);
const client = new Client({ name: "typescript-2", version: "1.0.0" }, { versionNegotiation: { mode } });
const requestInit = { headers: { Authorization: `Bearer ${key}` } };
await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
const { tools } = await client.listTools();
const called = await client.callTool({ name: "context_create", arguments: { title: "from TypeScript 2" } });
console.log(JSON.stringify({
  protocol: client.getNegotiatedProtocolVersion(),
  tools: tools.map((tool) => tool.name),
  isError: called.isError ?? false,
  structured: called.structuredContent,
}));
await client.close();
