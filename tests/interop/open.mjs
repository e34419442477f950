// A browser for programs that open one: walks from an authorization URL to its redirect URI, and says where it came out.
// node open.mjs AUTHORIZATION_URL; PERSON signs in, WITHOUT a scope if need be; VISIT=1 follows the last redirect to whoever
// waits there.
import { approve } from './browser.mjs';

const target = new URL(process.argv[2]);
const back = await approve(target, target.searchParams.get('redirect_uri'), process.env.PERSON, [process.env.WITHOUT]);
if (process.env.VISIT) await (await fetch(back)).text();
console.log(back.href);
