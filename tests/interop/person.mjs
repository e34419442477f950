// A person at a browser, told line by line what to do: node person.mjs GATEWAY_URL FOLDER, where the folder has the gateway's
// `tls.crt` and `tls.key`. The first line out is where the client waits for answers. After it, each line in is an object of
// what to do and each line out what came of it: whether the person is asked, where the client's answer landed, and what the
// gateway answered to which kind of request. Other sites are here too: pages that lead to the gateway in every way there is.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { attribute, launch, serve, tab, until } from './chromium.mjs';

const [gateway, folder] = process.argv.slice(2);
const tls = { cert: readFileSync(`${folder}/tls.crt`), key: readFileSync(`${folder}/tls.key`) };
const client = await serve(() => '<p>done</p>');
const redirect = `http://127.0.0.1:${client.port}/callback`;
const APPROVE = 'button[value=approve]';

const form = (method, to) => {
  const fields = [...to.searchParams].map(([name, value]) => `<input type="hidden" name="${name}" value="${attribute(value)}">`);
  return `<form method="${method}" action="${to.origin}${to.pathname}">${fields.join('')}<button id="go">go</button></form>`;
};
const link = (to, more = '') => `<a id="go" href="${attribute(to)}" ${more}>go</a>`;

// What leads to an address. A person clicks what is there to be clicked.
const WAYS = {
  link: (to) => link(to.href),
  'link without referrer': (to) => link(to.href, 'rel="noreferrer"'),
  'new tab': (to) => link(to.href, 'target="_blank"'),
  'redirect behind a link': (to) => link(`/?${new URLSearchParams({ way: 'redirect', to })}`),
  redirect: (to) => ({ location: to.href }),
  'form by GET': (to) => form('get', to),
  'form by POST': (to) => form('post', to),
  refresh: (to) => `<meta http-equiv="refresh" content="0;url=${attribute(to.href)}">`,
  script: (to) => `<script>location.href = ${JSON.stringify(to.href)}</script>`,
  frame: (to) => `<iframe src="${attribute(to.href)}"></iframe>`,
};
const other = await serve((url) => {
  const asked = new URL(url, 'https://localhost').searchParams;
  return asked.has('way') ? WAYS[asked.get('way')](new URL(asked.get('to'))) : '';
}, 0, tls);
// To a browser the site is the host, whatever the port.
const SITES = { 'cross-site': `https://localhost:${other.port}`, 'same-site': `https://127.0.0.1:${other.port}` };
const led = (from, way, to) => `${SITES[from]}/?${new URLSearchParams({ way, to })}`;

const browser = await launch();
let context;
let answered;
let landed;

// Has the person do something, and tells what came of it.
async function what(doing) {
  [answered, landed] = [[], []];
  const page = await doing() ?? context.pages().at(-1);
  const shows = () => context.pages().at(-1).locator('main h1').count().catch(() => 0);
  await until(async () => answered.length > 0 && (landed.length > 0 || await shows() > 0 || page.frames().length > 1));
  const last = context.pages().at(-1);
  const [{ response, status } = {}] = answered;
  const headers = await response?.request().allHeaders() ?? {};
  const cookies = (headers.cookie ?? '').split('; ').map((cookie) => cookie.split('=')[0]).filter((name) => name);
  const shown = await Promise.all(last.frames().map((frame) => frame.locator(APPROVE).count().catch(() => 0)));
  return {
    asked: shown.some((count) => count > 0), text: await last.locator('body').innerText(), landed: landed[0] ?? null,
    status, site: headers['sec-fetch-site'], cookies,
  };
}

const ACTS = {
  // Takes another browser, that knows nothing.
  async anew() {
    await context?.close();
    context = await browser.newContext({ ignoreHTTPSErrors: true });
    context.on('response', (response) => {
      const { origin, pathname } = new URL(response.url());
      if (origin === gateway && ['/authorize', '/consent'].includes(pathname)) answered.push({ response, status: response.status() });
    });
    context.on('request', (request) => { if (request.url().startsWith(redirect)) landed.push(request.url()); });
  },
  // Opens an address as a program does that wants a person to sign in.
  open: ({ to }) => what(async () => (await context.newPage()).goto(to).then(() => undefined)),
  // Comes by a page of another site.
  come: ({ from, way, to }) => what(async () => {
    const page = await context.newPage();
    await page.goto(led(from, way, to));
    if (await page.locator('#go').count().catch(() => 0) > 0) await page.locator('#go').click();
    return page;
  }),
  // Opens an address of another site, which sends the browser on at once.
  sent: ({ from, to }) => what(async () => (await context.newPage()).goto(led(from, 'redirect', to)).then(() => undefined)),
  reload: () => what(() => context.pages().at(-1).reload().then(() => undefined)),
  // Leaves the page that was opened last, for the one before.
  leave: async () => { await context.pages().at(-1).close(); },
  // Allows what is asked for, by keyboard.
  allow: ({ remember }) => what(async () => {
    const page = context.pages().at(-1);
    if (remember) {
      await tab(page, 'input[name=remember]');
      await page.keyboard.press('Space');
    }
    await tab(page, APPROVE);
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  }),
  // What the form would post that is shown.
  async form() {
    const inputs = await context.pages().at(-1).locator('form input').all();
    const pairs = await Promise.all(inputs.map(async (input) => [await input.getAttribute('name'), await input.getAttribute('value')]));
    return Object.fromEntries(pairs);
  },
  // What the browser keeps of the gateway, and what of it a script of its pages could read.
  async cookies() {
    const kept = await context.cookies(gateway);
    return { kept, readable: await context.pages().at(-1).evaluate(() => document.cookie) };
  },
};

await ACTS.anew();
console.log(JSON.stringify(redirect));
for await (const line of createInterface({ input: process.stdin })) {
  const { does, ...how } = JSON.parse(line);
  console.log(JSON.stringify(await ACTS[does](how) ?? null));
}
await browser.close();
process.exit(0);
