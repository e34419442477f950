// The official TypeScript SDK as a client that knows nothing but a URL.
// node client.mjs URL MODE PERSON ALLOWED_TOOL REFUSED_TOOL EXPIRES_IN_SECONDS -> one JSON object
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Login } from './login.mjs';
import { attempt, walk } from './walk.mjs';

const [url, mode, person, ...rest] = process.argv.slice(2);
const login = new Login('TypeScript SDK', person);
const options = mode === 'legacy' ? {} : { versionNegotiation: { mode: { pin: mode } } };
const transport = () => new StreamableHTTPClientTransport(new URL(url), { authProvider: login.provider });
const client = () => new Client({ name: 'interop', version: '1.0.0' }, options);

const connect = async () => {
  const first = transport();
  const refused = await attempt(() => client().connect(first));
  if (!login.answer) throw new Error(JSON.stringify(refused));
  await first.finishAuth(login.answer.searchParams);
  login.answer = undefined;
  const connected = client();
  await connected.connect(transport());
  return connected;
};

await walk(await connect(), rest, () => login.refreshes);
