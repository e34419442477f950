// The official TypeScript SDK as a client that knows nothing but a URL.
// node client.mjs URL MODE PERSON ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { approve } from './browser.mjs';

const [url, mode, person, allowed, refused, expiresIn] = process.argv.slice(2);
const REDIRECT = 'http://127.0.0.1:33417/callback';
const saved = { refreshes: 0 };

const provider = {
  redirectUrl: REDIRECT,
  clientMetadata: {
    client_name: 'TypeScript SDK', redirect_uris: [REDIRECT], grant_types: ['authorization_code', 'refresh_token'],
    response_types: ['code'], token_endpoint_auth_method: 'none',
  },
  clientInformation: () => saved.client,
  saveClientInformation: (client) => { saved.client = client; },
  tokens: () => saved.tokens,
  saveTokens: (tokens) => { if (saved.tokens) saved.refreshes += 1; saved.tokens = tokens; },
  redirectToAuthorization: async (target) => { saved.answer = await approve(target, REDIRECT, person); },
  saveCodeVerifier: (verifier) => { saved.verifier = verifier; },
  codeVerifier: () => saved.verifier,
};

const options = mode === 'legacy' ? {} : { versionNegotiation: { mode: { pin: mode } } };
const connect = async () => {
  const client = new Client({ name: 'interop', version: '1.0.0' }, options);
  const transport = new StreamableHTTPClientTransport(new URL(url), { authProvider: provider });
  try {
    await client.connect(transport);
    return client;
  } catch (error) {
    if (!saved.answer) throw error;
    await transport.finishAuth(saved.answer.searchParams);
    saved.answer = undefined;
    const again = new Client({ name: 'interop', version: '1.0.0' }, options);
    await again.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }));
    return again;
  }
};

const attempt = async (act) => {
  try { return { result: await act() }; } catch (error) { return { error: { code: error.code, message: String(error.message) } }; }
};

const client = await connect();
const { tools } = await client.listTools();
const call = await attempt(() => client.callTool({ name: allowed, arguments: { station: 'oslo' } }));
const denied = await attempt(() => client.callTool({ name: refused, arguments: { station: 'oslo' } }));
await new Promise((done) => setTimeout(done, Number(expiresIn) * 1000 + 1100));
const later = await attempt(() => client.callTool({ name: allowed, arguments: { station: 'oslo' } }));
await client.close();
console.log(JSON.stringify({ tools: tools.map((tool) => tool.name), call, denied, later, refreshes: saved.refreshes }));
process.exit(0);
