//! A login at Entra: out with a state, a nonce and a PKCE challenge of our own, back with a code (OpenID Connect Core
//! section 3.1, RFC 7636).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::{Entra, EntraError, SignedIn, StepUp};

/// Hints of a client that Entra may see.
pub const HINTS: [&str; 3] = ["login_hint", "domain_hint", "prompt"];

/// A login that is about to begin: where the browser goes, and what must be kept to finish it. Does not print.
pub struct Departure {
    /// Entra's authorization endpoint with everything in it.
    pub url: String,
    /// Our nonce.
    pub nonce: String,
    /// Our PKCE verifier.
    pub verifier: String,
}

impl Entra {
    /// Begins a login whose answer will carry `state`, and which must prove what `step_up` asks for.
    #[must_use]
    pub fn depart(&self, state: &str, hints: &[(String, String)], step_up: &StepUp) -> Departure {
        let (nonce, verifier) = (secret(), secret());
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(&verifier));
        let scope = format!("openid {}", self.scopes);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([
            ("client_id", self.client_id.as_str()),
            ("response_type", "code"),
            ("redirect_uri", &self.redirect_uri),
            ("response_mode", "query"),
            ("scope", &scope),
            ("state", state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ]);
        // Whoever must prove to be here now signs in now; a session is no proof.
        let fresh = step_up.max_age.is_some();
        let wanted = |name: &str| HINTS.contains(&name) && !(fresh && name == "prompt");
        query.extend_pairs(hints.iter().filter(|(name, _)| wanted(name)));
        if let Some(max_age) = step_up.max_age {
            query.extend_pairs([("prompt", "login"), ("max_age", max_age.as_secs().to_string().as_str())]);
        }
        if let Some(claims) = step_up.claims(true) {
            query.append_pair("claims", &claims);
        }
        let url = format!("{}?{}", self.authority.authorize(self.directory()), query.finish());
        Departure { url, nonce, verifier }
    }

    /// Finishes a login with the code that came back.
    ///
    /// # Errors
    ///
    /// Returns an [`EntraError`]; nobody is signed in then.
    pub async fn arrive(&self, code: &str, nonce: &str, verifier: &str) -> Result<SignedIn, EntraError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri.as_str()),
            ("code_verifier", verifier),
        ];
        let tokens = self.endpoint.ask(self.directory(), &fields).await?;
        self.signed_in(tokens, Some(nonce)).await
    }
}

/// 256 bits that nobody can guess, as base64url.
fn secret() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}
