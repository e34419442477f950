// Either line of the official TypeScript SDK, for a person who leaves a scope out at first and needs it then.
// node step_up.mjs 1.x|2.x URL PERSON STATION -> one JSON object
import { Login } from './login.mjs';
import { attempt } from './walk.mjs';

const [line, url, person, station] = process.argv.slice(2);
const sdk = line === '1.x'
  ? { ...await import('@modelcontextprotocol/sdk/client/index.js'), ...await import('@modelcontextprotocol/sdk/client/streamableHttp.js') }
  : await import('@modelcontextprotocol/client');
const login = new Login(`TypeScript SDK ${line}`, person, ['delete']);
const transport = () => new sdk.StreamableHTTPClientTransport(new URL(url), { authProvider: login.provider });
const finish = async (open) => {
  const answer = login.answer.searchParams;
  await open.finishAuth(line === '1.x' ? answer.get('code') : answer);
  login.answer = undefined;
};

const first = transport();
await attempt(() => new sdk.Client({ name: 'interop', version: '1.0.0' }).connect(first));
await finish(first);
const open = transport();
const client = new sdk.Client({ name: 'interop', version: '1.0.0' });
await client.connect(open);

const before = login.scope();
const wanted = ['list_stations', 'delete_station'];
const { tools } = await client.listTools();
const hidden = wanted.filter((name) => !tools.some((tool) => tool.name === name));
const call = (name) => attempt(() => client.callTool({ name, arguments: { station } }));
login.without = [];
const refused = (await call('delete_station')).error;
const stepsUp = Boolean(login.answer);
if (!login.answer) {
  // 1.x refreshes when a scope is missing, which brings no more scopes; its token has to be forgotten.
  login.forget();
  await call('delete_station');
}
await finish(open);
const deleted = await call('delete_station');
const read = await call('list_stations');
const after = login.scope();
await client.close();
console.log(JSON.stringify({ before, hidden, refused, stepsUp, deleted, read, after, asked: login.asked }));
process.exit(0);
