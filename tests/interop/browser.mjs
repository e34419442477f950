// What a person's browser does: shows the consent page, posts its form, follows redirects, keeps cookies.

// Walks from an authorization URL to the client's redirect URI, with the boxes of scopes `without` unticked; gives back the
// final URL.
export async function approve(authorizationUrl, redirectUri, person, without = []) {
  const start = new URL(authorizationUrl);
  start.searchParams.set('login_hint', person);
  const cookies = new Map();
  let response = await visit(start, cookies);
  const page = await response.text();
  const field = (name) => new RegExp(`name="${name}" value="([^"]*)"`).exec(page)?.[1];
  const form = new URLSearchParams({ transaction: field('transaction'), csrf: field('csrf'), decision: 'approve' });
  for (const [, name] of page.matchAll(/<input type="checkbox" name="([^"]*)"[^>]* checked/g)) {
    if (!without.some((scope) => name === `scope-${scope}`)) form.set(name, '1');
  }
  response = await visit(new URL('/consent', start), cookies, form);
  for (let hops = 0; hops < 15; hops += 1) {
    const location = response.headers.get('location');
    if (!location) throw new Error(`no redirect but ${response.status}: ${(await response.text()).slice(0, 300)}`);
    const next = new URL(location, response.url);
    if (next.href.startsWith(redirectUri)) return next;
    response = await visit(next, cookies);
  }
  throw new Error('too many redirects');
}

async function visit(url, cookies, form) {
  const jar = cookies.get(url.origin) ?? new Map();
  cookies.set(url.origin, jar);
  const cookie = [...jar].map(([name, value]) => `${name}=${value}`).join('; ');
  const response = await fetch(url, { method: form ? 'POST' : 'GET', body: form, redirect: 'manual', headers: cookie ? { cookie } : {} });
  for (const line of response.headers.getSetCookie()) {
    const [pair] = line.split(';');
    const at = pair.indexOf('=');
    jar.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return response;
}
