// A desktop client that signs in by itself, with the SDK that it is given: it says {"open": address} where a browser is wanted, and reads
// the address that the browser was led to. Lists tools, calls some, lets its token go bad between; prints what came of it as JSON.
import readline from "node:readline";

const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]();

class Provider {
  constructor(redirectUrl, clientMetadataUrl) {
    this.redirectUrl = redirectUrl;
    this.clientMetadataUrl = clientMetadataUrl || undefined;
    this.clientMetadata = { client_name: "A TypeScript client", redirect_uris: [redirectUrl] };
    this.opened = [];
  }
  state() { return "of-" + (this.opened.length + 1); }
  clientInformation() { return this.client; }
  saveClientInformation(client) { this.client = client; }
  tokens() { return this.kept; }
  saveTokens(tokens) { this.kept = tokens; }
  saveCodeVerifier(verifier) { this.verifier = verifier; }
  codeVerifier() { return this.verifier; }
  redirectToAuthorization(address) { this.opened.push(String(address)); }
}

export async function signIn({ Client, Transport, UnauthorizedError, options }) {
  const [url, redirectUrl, document] = process.argv.slice(2);
  const provider = new Provider(redirectUrl, document);
  let client;

  async function connected() {
    await client?.close();
    client = new Client({ name: "typescript", version: "1.0.0" }, options);
    const transport = new Transport(new URL(url), { authProvider: provider });
    await client.connect(transport);
  }

  // What the person has to be asked for is asked for, and done again.
  async function allowed(act) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof UnauthorizedError)) throw error;
    }
    console.log(JSON.stringify({ open: provider.opened.at(-1) }));
    const answered = new URL((await lines.next()).value).searchParams;
    if (answered.get("state") !== "of-" + provider.opened.length) throw new Error("another state");
    const transport = new Transport(new URL(url), { authProvider: provider });
    await transport.finishAuth(answered.get("code"), answered.get("iss"));
    await connected();
    return act === connected ? undefined : await act();
  }

  const call = (name, args) => () => client.callTool({ name, arguments: args });
  await allowed(connected);
  const { tools } = await client.listTools();
  const first = { ...provider.kept };
  provider.kept = { ...first, access_token: first.access_token.slice(0, -4) + "AAAA" };
  const refreshed = await call("context_create", { title: "refreshed" })();
  const second = { ...provider.kept };
  const further = await allowed(call("fs_mkdir", { path: "work/made" }));
  await client.close();
  lines.return?.();
  console.log(JSON.stringify({
    client: provider.client?.client_id,
    tools: tools.map((tool) => tool.name),
    errors: [refreshed, further].map((answer) => answer.isError ?? false),
    refreshed: second.access_token !== first.access_token && second.refresh_token !== first.refresh_token,
    opened: provider.opened.length,
  }));
  process.exit(0);
}
