// What both lines of the TypeScript SDK want of a client: a place for what is to be kept, and a browser.
import { approve } from './browser.mjs';

const REDIRECT = 'http://127.0.0.1:33417/callback';

export class Login {
  // `without`: scopes that the person leaves out on the consent page, each time as long as they are in here.
  constructor(name, person, without = []) {
    this.refreshes = 0;
    this.asked = [];
    this.without = without;
    const saved = {};
    this.provider = {
      redirectUrl: REDIRECT,
      clientMetadata: {
        client_name: name, redirect_uris: [REDIRECT], grant_types: ['authorization_code', 'refresh_token'],
        response_types: ['code'], token_endpoint_auth_method: 'none',
      },
      clientInformation: () => saved.client,
      saveClientInformation: (client) => { saved.client = client; },
      tokens: () => saved.tokens,
      saveTokens: (tokens) => {
        if (saved.tokens && !this.answer) this.refreshes += 1;
        saved.tokens = tokens;
      },
      redirectToAuthorization: async (target) => {
        this.asked.push(target.searchParams.get('scope'));
        this.answer = await approve(target, REDIRECT, person, this.without);
      },
      saveCodeVerifier: (verifier) => { saved.verifier = verifier; },
      codeVerifier: () => saved.verifier,
    };
    this.scope = () => saved.tokens?.scope;
    this.forget = () => { saved.tokens = undefined; };
  }
}
