// The TypeScript SDK 1.x over Streamable HTTP: node typescript_v1.mjs URL KEY. Lists tools, calls one, hears of a change; prints JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const [url, key] = process.argv.slice(2);
const client = new Client({ name: "typescript-1", version: "1.0.0" });
const requestInit = { headers: { Authorization: `Bearer ${key}` } };
const transport = new StreamableHTTPClientTransport(new URL(url), { requestInit });
await client.connect(transport);
const { tools } = await client.listTools();
const called = await client.callTool({ name: "context_create", arguments: { title: "from TypeScript 1" } });
await transport.terminateSession();
await client.close();
console.log(JSON.stringify({
  protocol: transport.protocolVersion,
  tools: tools.map((tool) => tool.name),
  isError: called.isError ?? false,
  structured: called.structuredContent,
}));
