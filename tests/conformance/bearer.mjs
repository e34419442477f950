// Preloaded into the conformance suite, which has no option for a token: adds $BEARER to whatever goes to $BEARER_ORIGIN,
// by each of the three ways it sends requests.
import http from 'node:http';
import { syncBuiltinESMExports } from 'node:module';
import { getGlobalDispatcher, setGlobalDispatcher } from 'undici';

const { BEARER, BEARER_ORIGIN } = process.env;
const value = `Bearer ${BEARER}`;
const ours = (url) => new URL(url).origin === BEARER_ORIGIN;

const plain = globalThis.fetch;
globalThis.fetch = (input, init) => {
  const request = new Request(input, init);
  if (!ours(request.url) || request.headers.has('authorization')) return plain(input, init);
  const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : undefined));
  headers.set('authorization', value);
  return plain(input, { ...init, headers });
};

const send = http.request;
http.request = (...given) => {
  const { hostname, host, port } = typeof given[0] === 'string' ? new URL(given[0]) : given[0];
  const request = send(...given);
  if (`http://${hostname ?? host}:${port}` === BEARER_ORIGIN) request.setHeader('authorization', value);
  return request;
};
syncBuiltinESMExports();

// undici's own `request`, and what other fetches may stand on it.
const flat = (headers) => (Array.isArray(headers) ? headers : Object.entries(headers ?? {}).flat());
const named = (headers) => flat(headers).some((name, at) => at % 2 === 0 && String(name).toLowerCase() === 'authorization');
setGlobalDispatcher(getGlobalDispatcher().compose((dispatch) => (options, handler) => {
  if (!ours(options.origin) || named(options.headers)) return dispatch(options, handler);
  return dispatch({ ...options, headers: [...flat(options.headers), 'authorization', value] }, handler);
}));
