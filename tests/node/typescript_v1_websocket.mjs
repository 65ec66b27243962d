// The TypeScript SDK 1.x over WebSocket, which cannot set headers: node typescript_v1_websocket.mjs URL, with a ticket in it. Prints JSON.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { WebSocketClientTransport } from "@modelcontextprotocol/sdk/client/websocket.js";

const client = new Client({ name: "typescript-1", version: "1.0.0" });
await client.connect(new WebSocketClientTransport(new URL(process.argv[2])));
const { tools } = await client.listTools();
const called = await client.callTool({ name: "context_create", arguments: { title: "from TypeScript 1" } });
await client.close();
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), isError: called.isError ?? false }));
