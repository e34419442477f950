// Headless Chromium, and what the scripts that drive it share.
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { chromium } from 'playwright-core';

// A browser that asks nobody for anything by itself.
export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
});

// A site on this machine: `page` makes the text of the page at a URL, or says in an object where to go on. Over TLS with
// a certificate and its key.
export async function serve(page, port = 0, tls = undefined) {
  const answer = (request, response) => {
    const found = page(request.url);
    if (found.location) response.writeHead(302, { location: found.location }).end();
    else response.setHeader('content-type', 'text/html').end(found);
  };
  const server = tls ? createTlsServer(tls, answer) : createServer(answer);
  await new Promise((listening) => server.listen(port, '127.0.0.1', listening));
  return { port: server.address().port, close: () => server.close() };
}

// A URL or a text as it stands in an attribute.
export const attribute = (text) => text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');

// Goes to a control with the keyboard alone, as often as it takes, and says how often.
export async function tab(page, selector) {
  for (let tabs = 0; tabs < 30; tabs += 1) {
    if (await page.locator(`${selector}:focus`).count() > 0) return tabs;
    await page.keyboard.press('Tab');
  }
  throw new Error(`${selector} is not reached by the keyboard on ${page.url()}`);
}

export async function until(condition) {
  for (let wait = 0; wait < 200 && !await condition(); wait += 1) await new Promise((done) => setTimeout(done, 25));
}
