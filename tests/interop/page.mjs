// Pages of other origins in headless Chromium: node page.mjs MCP_URL TOKEN LISTED_PORT FOREIGN_PORT -> one JSON object
import { launch, serve } from './chromium.mjs';

const [mcp, token, listed, foreign] = process.argv.slice(2);
const browser = await launch();

// What a script of a page sees of three requests; a request that the browser keeps from it is an `error`.
async function visit(port) {
  const server = await serve(() => '<title>page</title>', Number(port));
  const page = await (await browser.newContext()).newPage();
  await page.goto(`http://127.0.0.1:${port}/`);
  const seen = await page.evaluate(async ([url, bearer]) => {
    const ask = async (message, headers) => {
      try {
        const response = await fetch(url, {
          method: 'POST',
          headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream', 'mcp-protocol-version': '2025-11-25', ...headers },
          body: JSON.stringify(message),
        });
        return { status: response.status, challenge: response.headers.get('www-authenticate'), text: await response.text() };
      } catch (error) {
        return { error: String(error) };
      }
    };
    const authorization = `Bearer ${bearer}`;
    const call = { jsonrpc: '2.0', id: 7, method: 'tools/call', params: { name: 'get_forecast', arguments: {} } };
    return {
      called: await ask(call, { authorization, 'mcp-param-city': 'Berlin' }),
      challenged: await ask(call, {}),
      unlisted: await ask(call, { authorization, 'x-not-of-mcp': '1' }),
    };
  }, [mcp, token]);
  await page.context().close();
  server.close();
  return seen;
}

const result = { listed: await visit(listed), foreign: await visit(foreign) };
await browser.close();
console.log(JSON.stringify(result));
