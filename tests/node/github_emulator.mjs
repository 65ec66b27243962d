// Serves the GitHub emulator with the seed on standard input's first line; prints its URL, and ends when standard input does.
import { createInterface } from "node:readline";
import { createEmulator } from "emulate";

const lines = createInterface({ input: process.stdin });
const first = await new Promise((resolve) => lines.once("line", resolve));
const { port, ...seed } = JSON.parse(first);
const emulator = await createEmulator({ service: "github", port, baseUrl: `http://127.0.0.1:${port}`, seed });
lines.on("close", async () => {
  await emulator.close();
  process.exit(0);
});
console.log(emulator.url);
