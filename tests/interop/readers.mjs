// Reads JSON bodies as Node.js would. Standard input: one body a line, base64. Standard output: one line a body, a
// JSON list of [reader, method, name].
import { createInterface } from "node:readline";

for await (const line of createInterface({ input: process.stdin })) {
  const text = Buffer.from(line, "base64").toString("utf8");
  let view = [null, null];
  try {
    const message = JSON.parse(text);
    view = [message?.method ?? null, message?.params?.name ?? null];
  } catch {
    // A body that Node.js does not read names nothing.
  }
  console.log(JSON.stringify([["node", ...view]]));
}
