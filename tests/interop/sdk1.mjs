// The official TypeScript SDK of the first line (1.x) as a client that knows nothing but a URL.
// node sdk1.mjs URL PERSON ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { Login } from './login.mjs';
import { attempt, walk } from './walk.mjs';

const [url, person, ...rest] = process.argv.slice(2);
const login = new Login('TypeScript SDK 1.x', person);
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: login.provider });
const client = () => new Client({ name: 'interop', version: '1.0.0' });

const connect = async () => {
  const first = transport();
  const refused = await attempt(() => client().connect(first));
  if (!login.answer) throw new Error(JSON.stringify(refused));
  await first.finishAuth(login.answer.searchParams.get('code'));
  login.answer = undefined;
  const connected = client();
  await connected.connect(transport());
  return connected;
};

await walk(await connect(), rest, () => login.refreshes);
