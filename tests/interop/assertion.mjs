// The official TypeScript SDK as a client that comes by an identity assertion: it trades an ID token at its own identity
// provider, and nobody sees a page.
// node assertion.mjs URL IDP ID_TOKEN CLIENT SECRET ALLOWED_TOOL REFUSED_TOOL -> one JSON object
import { Client, CrossAppAccessProvider, StreamableHTTPClientTransport, discoverAndRequestJwtAuthGrant } from '@modelcontextprotocol/client';
import { attempt } from './walk.mjs';

const [url, idpUrl, idToken, clientId, clientSecret, allowed, refused] = process.argv.slice(2);
let asked = 0;
const provider = new CrossAppAccessProvider({
  clientId, clientSecret,
  assertion: async ({ authorizationServerUrl, resourceUrl, scope, fetchFn }) => {
    asked += 1;
    const grant = await discoverAndRequestJwtAuthGrant({
      idpUrl, audience: authorizationServerUrl, resource: resourceUrl, idToken, clientId, scope, fetchFn,
    });
    return grant.jwtAuthGrant;
  },
});
const client = new Client({ name: 'assertion', version: '1.0.0' });
await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider: provider }));
const tools = (await client.listTools()).tools.map((tool) => tool.name).sort();
const called = await attempt(() => client.callTool({ name: allowed, arguments: {} }));
const denied = await attempt(() => client.callTool({ name: refused, arguments: {} }));
const tokens = provider.tokens();
await client.close();
console.log(JSON.stringify({ tools, called, denied, asked, scope: tokens.scope, refresh: tokens.refresh_token ?? null }));
