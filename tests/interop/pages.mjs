// The pages of logins without a client's redirect, in headless Chromium: the one-time code, the entering of a device's code, and
// the end of a device's login.
// node pages.mjs '{"links":[URL, URL],"verifiers":[null, VERIFIER],"device":URL,"filled":URL,"codes":[CODE, CODE],"person":NAME,"docs":FOLDER}' -> one JSON object
import { attribute, launch, serve, tab } from './chromium.mjs';

const { links, verifiers, device, filled, codes, person, docs } = JSON.parse(process.argv[2]);
const updates = process.env.UPDATE_SCREENSHOTS === '1';
const SCHEMES = ['light', 'dark'];
const browser = await launch();

// A browser of its own, without scripts.
async function open(colorScheme, options = {}) {
  const context = await browser.newContext({ viewport: { width: 900, height: 620 }, javaScriptEnabled: false, colorScheme, ...options });
  return { context, page: await context.newPage() };
}

// What is on a page, and how it looks to who prefers this scheme.
async function seen(page, name, colorScheme) {
  if (updates) await page.screenshot({ path: `${docs}/${name}${colorScheme === 'dark' ? '-dark' : ''}.png` });
  const main = page.locator('main');
  const colour = await main.evaluate((element) => [getComputedStyle(element).backgroundColor, getComputedStyle(element).color].join(' '));
  const code = page.locator('#auth_code');
  const code_text = await code.count() > 0 ? await code.innerText() : null;
  return { title: await page.title(), text: await main.innerText(), scripts: await page.locator('script').count(), colour, code: code_text };
}

// Allows what the consent page asks for, by keyboard, and signs in where the identity provider asks who it is.
async function allow(page) {
  await tab(page, 'button[value=approve]');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  const choice = page.getByRole('link', { name: person, exact: true });
  if (await choice.count() > 0) {
    await choice.focus();
    await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  }
}

// A login by a link, to the page with the code.
async function byLink(link, verifier, colorScheme) {
  const { context, page } = await open(colorScheme);
  await page.goto(link);
  await allow(page);
  const found = await seen(page, 'code-page', colorScheme);
  // At once: it is good for a minute.
  const body = JSON.stringify({ auth_code: found.code, ...(verifier && { code_verifier: verifier }) });
  const exchanged = await fetch(new URL('/auth/exchange', link), { method: 'POST', headers: { 'content-type': 'application/json' }, body });
  found.exchanged = exchanged.status;
  // A page that was left is not shown again with its code.
  const address = page.url();
  await page.goto('about:blank');
  const again = await page.goto(address);
  found.again = { status: again.status(), code: await page.locator('#auth_code').count() };
  await context.close();
  return found;
}

// A device's login: a code that is not known, then the right one, consent, and the end.
async function byDevice(code, colorScheme) {
  const { context, page } = await open(colorScheme);
  await page.goto(device);
  const entering = await seen(page, 'device-page', colorScheme);
  const enter = async (text) => {
    await tab(page, '#user_code');
    await page.keyboard.type(text);
    const [response] = await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
    return response.status();
  };
  const wrong = { status: await enter('BCDF-GHJK'), text: await page.locator('[role=alert]').innerText() };
  await enter(code);
  const consent = await page.locator('main').innerText();
  await allow(page);
  const connected = await seen(page, 'connected-page', colorScheme);
  await context.close();
  return { entering, wrong, consent, connected };
}

// A link that brings the code along fills it in, and goes on only when the person does.
async function byFilledLink() {
  const { context, page } = await open('light', { javaScriptEnabled: true });
  await page.goto(filled);
  await page.waitForTimeout(500);
  const found = { url: page.url(), value: await page.locator('#user_code').inputValue(), consent: await page.locator('button[value=approve]').count() };
  await tab(page, 'button');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  found.after = await page.locator('button[value=approve]').count();
  await context.close();
  return found;
}

// A page of another origin that puts these pages into frames, and a form of its own into one more: the control.
async function inFrames() {
  const context = await browser.newContext();
  const addresses = [device, links[0], await callback(context, links[0])];
  const frames = [...addresses, '/form'].map((address) => `<iframe src="${attribute(address)}"></iframe>`).join('');
  const server = await serve((url) => (url === '/form' ? '<main><form></form></main>' : frames));
  const page = await context.newPage();
  await page.goto(`http://127.0.0.1:${server.port}/`);
  const shown = await Promise.all(page.frames().slice(1).map((frame) => frame.locator('main').count().catch(() => 0)));
  await context.close();
  server.close();
  return shown.map((count) => count > 0);
}

// The address that the identity provider sends a browser back to, not yet visited: for this browser, it shows the code.
async function callback(context, link) {
  const page = await (await context.request.get(link)).text();
  const field = (name) => new RegExp(`name="${name}" value="([^"]*)"`).exec(page)[1];
  const boxes = [...page.matchAll(/<input type="checkbox" name="(scope-[^"]*)"/g)].map(([, name]) => [name, '1']);
  const form = { transaction: field('transaction'), csrf: field('csrf'), decision: 'approve', ...Object.fromEntries(boxes) };
  const approved = await context.request.post(new URL('/consent', link).href, { form, maxRedirects: 0 });
  const signedIn = await context.request.get(approved.headers().location, { maxRedirects: 0 });
  return signedIn.headers().location;
}

const coded = [];
const devices = [];
for (const [number, colorScheme] of SCHEMES.entries()) {
  coded.push(await byLink(links[number], verifiers[number], colorScheme));
  devices.push(await byDevice(codes[number], colorScheme));
}
console.log(JSON.stringify({ coded, devices, filled: await byFilledLink(), framed: await inFrames() }));
await browser.close();
