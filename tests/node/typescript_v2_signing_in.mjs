// The TypeScript client 2.x: node typescript_v2_signing_in.mjs URL REDIRECT [DOCUMENT].
import { Client, StreamableHTTPClientTransport as Transport, UnauthorizedError } from "@modelcontextprotocol/client";
import { signIn } from "./signing_in.mjs";

await signIn({ Client, Transport, UnauthorizedError, options: { versionNegotiation: { mode: "auto" } } });
