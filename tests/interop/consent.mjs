// The consent page in headless Chromium: node consent.mjs AUTHORIZE_URL REDIRECT_URI DOCS CALLBACK_URL -> one JSON object
import { attribute, launch, serve, until } from './chromium.mjs';

const [authorize, redirect, docs, callback] = process.argv.slice(2);
const updates = process.env.UPDATE_SCREENSHOTS === '1';
const browser = await launch();

// The client, where the redirect leads.
const client = await serve(() => '<p>done</p>', Number(new URL(redirect).port));

// A browser of its own, without scripts; `landed` collects where the client's redirect led.
async function person(options = {}) {
  const context = await browser.newContext({ viewport: { width: 900, height: 860 }, javaScriptEnabled: false, ...options });
  const landed = [];
  context.on('request', (request) => { if (request.url().startsWith(redirect)) landed.push(request.url()); });
  return { context, landed, end: () => context.close() };
}

// Goes to a button with the keyboard alone: 1 approves, 2 declines.
async function press(page, button) {
  const boxes = await page.locator('input[type=checkbox]').count();
  for (let tab = 0; tab < boxes + button; tab += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
}

async function decide(button, { untick = false, picture, ...options } = {}) {
  const { context, landed, end } = await person(options);
  const page = await context.newPage();
  await page.goto(authorize);
  const seen = { text: await page.locator('main').innerText(), scripts: await page.locator('script').count() };
  if (picture && updates) await page.screenshot({ path: `${docs}/${picture}` });
  if (untick) { await page.locator('input[type=checkbox]').first().focus(); await page.keyboard.press('Space'); await page.keyboard.press('Shift+Tab'); }
  await press(page, button);
  await until(() => landed.length > 0);
  await end();
  return { landed: landed[0], ...seen };
}

// The way back after an answer shows a page that can be decided anew.
async function backButton() {
  const { context, landed, end } = await person();
  const page = await context.newPage();
  await page.goto(authorize);
  await press(page, 1);
  await until(() => landed.length === 1);
  await page.waitForURL((url) => url.href.startsWith(redirect));
  await page.goBack();
  await page.locator('h1').waitFor();
  await press(page, 1);
  await until(() => landed.length === 2);
  await end();
  return landed;
}

// Two tabs of one browser, decided in the other order.
async function twoTabs() {
  const { context, landed, end } = await person();
  const [first, second] = [await context.newPage(), await context.newPage()];
  await first.goto(authorize);
  await second.goto(authorize);
  await press(second, 1);
  await until(() => landed.length === 1);
  await press(first, 1);
  await until(() => landed.length === 2);
  await end();
  return landed;
}

// A login that one browser approved comes back in others.
async function secondBrowser() {
  const results = [];
  for (const colorScheme of ['light', 'dark']) {
    const other = await person({ colorScheme, viewport: { width: 900, height: 420 } });
    const there = await other.context.newPage();
    const response = await there.goto(callback);
    results.push({ status: response.status(), text: await there.locator('main').innerText(), landed: other.landed.length });
    if (updates) await there.screenshot({ path: `${docs}/error-page${colorScheme === 'dark' ? '-dark' : ''}.png` });
    await other.end();
  }
  return results;
}

// A page of another origin that puts the consent page into one frame, and a form of its own into another: the control.
async function inFrames() {
  const frames = `<iframe src="${attribute(authorize)}"></iframe><iframe src="/form"></iframe>`;
  const server = await serve((url) => (url === '/form' ? '<form></form>' : frames));
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://127.0.0.1:${server.port}/`);
  const forms = await Promise.all(page.frames().slice(1).map((frame) => frame.locator('form').count().catch(() => 0)));
  await page.context().close();
  server.close();
  return { framed: forms[0] > 0, control: forms[1] > 0 };
}

// The colours that a person with this preference sees.
async function colours(colorScheme) {
  const context = await browser.newContext({ colorScheme });
  const page = await context.newPage();
  await page.goto(authorize);
  const colour = await page.evaluate(() => getComputedStyle(document.querySelector('main')).backgroundColor);
  await context.close();
  return colour;
}

const approved = await decide(1, { picture: 'consent-page.png' });
const denied = await decide(2, { colorScheme: 'dark', picture: 'consent-page-dark.png' });
const fewer = await decide(1, { untick: true });
const back = await backButton();
const tabs = await twoTabs();
const elsewhere = await secondBrowser();
const { framed, control } = await inFrames();
const [light, dark] = [await colours('light'), await colours('dark')];
await browser.close();
client.close();
console.log(JSON.stringify({ text: approved.text, scripts: approved.scripts, approved: approved.landed, denied: denied.landed, fewer: fewer.landed, back, tabs, elsewhere, framed, control, light, dark }));
