// The TypeScript SDK 1.x: node typescript_v1_signing_in.mjs URL REDIRECT [DOCUMENT].
import { UnauthorizedError } from "@modelcontextprotocol/sdk/client/auth.js";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport as Transport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { signIn } from "./signing_in.mjs";

await signIn({ Client, Transport, UnauthorizedError });
