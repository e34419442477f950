// The consent page in headless Chromium: node consent.mjs AUTHORIZE_URL REDIRECT_URI SCREENSHOT -> one JSON object
import { createServer } from 'node:http';
import { chromium } from 'playwright-core';

const [authorize, redirect, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// Goes through the page with the keyboard alone and gives back where the client's redirect led.
async function decide(presses, options = {}) {
  const context = await browser.newContext({ viewport: { width: 900, height: 760 }, javaScriptEnabled: false, ...options });
  const page = await context.newPage();
  let landed;
  await page.route(`${redirect}*`, (route) => { landed = route.request().url(); return route.fulfill({ body: 'done' }); });
  await page.goto(authorize);
  const seen = { text: await page.locator('main').innerText(), scripts: await page.locator('script').count() };
  if (options.picture) await page.screenshot({ path: screenshot });
  for (const key of presses) await page.keyboard.press(key);
  for (let wait = 0; wait < 100 && !landed; wait += 1) await new Promise((done) => setTimeout(done, 50));
  await context.close();
  return { landed, ...seen };
}

// A page of another origin that puts the consent page into one frame, and a form of its own into another: the control.
async function inFrames() {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'text/html');
    const frames = `<iframe src="${authorize.replaceAll('&', '&amp;')}"></iframe><iframe src="/form"></iframe>`;
    response.end(request.url === '/form' ? '<form></form>' : frames);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  const page = await (await browser.newContext()).newPage();
  const origin = `http://127.0.0.1:${server.address().port}/`;
  await page.goto(origin);
  const forms = await Promise.all(page.frames().slice(1).map((frame) => frame.locator('form').count().catch(() => 0)));
  await page.context().close();
  server.close();
  return { framed: forms[0] > 0, control: forms[1] > 0 };
}

const approved = await decide(['Tab', 'Enter'], { picture: process.env.UPDATE_SCREENSHOTS === '1' });
const denied = await decide(['Tab', 'Tab', 'Enter'], { colorScheme: 'dark' });
const { framed, control } = await inFrames();
await browser.close();
console.log(JSON.stringify({ text: approved.text, scripts: approved.scripts, approved: approved.landed, denied: denied.landed, framed, control }));
