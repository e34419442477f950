// A client that only starts programs, with mcp-remote as the program: it knows nothing of HTTP, tokens or logins.
// node remote.mjs URL PERSON ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
import { fileURLToPath } from 'node:url';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { walk } from './walk.mjs';

const [url, , ...rest] = process.argv.slice(2);
const program = fileURLToPath(import.meta.resolve('mcp-remote/dist/proxy.js'));
const transport = new StdioClientTransport({
  command: process.execPath, args: [program, url, '--transport', 'http-only'], env: process.env, stderr: 'inherit',
});
const client = new Client({ name: 'interop', version: '1.0.0' });
await client.connect(transport, { timeout: 45_000 });
await walk(client, rest);
