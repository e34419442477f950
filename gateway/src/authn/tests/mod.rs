//! A corpus of hostile tokens: each is a good token with one thing wrong, and the good one is the control.

mod claims;
mod forms;
mod headers;
mod issuers;
mod own_tokens;
mod remembering;

use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::clock::ManualClock;
use crate::jose::fixture::{self, NOW, OID, Provider, Rsa, TENANT, set, token, without};
use crate::jose::signing_key::SigningKey;

const ISSUER: &str = "https://mcp.example.com";
const RESOURCE: &str = "https://mcp.example.com/mcp";
const GRANT: &str = "3c8b1f5e-0000-4000-8000-00000000000a";
const METADATA: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
const CHALLENGE: &str = r#"Bearer error="invalid_token", resource_metadata="https://mcp.example.com/.well-known/oauth-protected-resource/mcp", scope="read""#;

type Outcome = Result<Arc<VerifiedIdentity>, AuthnError>;

struct World {
    authenticator: Authenticator,
    provider: Provider,
    key: SigningKey,
    clock: ManualClock,
}

impl World {
    fn new() -> Self {
        let (clock, provider, key) = (fixture::clock(), Provider::new(), SigningKey::generate().unwrap());
        let own = access_token::Verifier::new(ISSUER, [&key]);
        let settings = Settings { entra: Some(provider.verifier(&clock)), ..Settings::new(own) };
        let authenticator = Authenticator::new(settings, Arc::new(clock.clone()));
        Self { authenticator, provider, key, clock }
    }

    /// Sends a token to a backend that takes our own only.
    async fn own(&self, token: &str) -> Outcome {
        self.send(token, RESOURCE, false).await
    }

    /// Sends a token to a backend that takes Entra's too.
    async fn entra(&self, token: &str) -> Outcome {
        self.send(token, RESOURCE, true).await
    }

    async fn send(&self, token: &str, resource: &str, accept_entra_tokens: bool) -> Outcome {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
        let audience = Audience { resource: resource.to_owned(), accept_entra_tokens, public: false };
        self.authenticator.authenticate(&headers, &audience).await
    }

    /// Every one of these is refused with the same words, and the control is believed before and after.
    async fn refuses(&self, control: &str, hostile: Vec<(String, String)>) {
        self.entra(control).await.expect("the control is believed");
        for (what, token) in hostile {
            let failure = self.entra(&token).await.expect_err(&what);
            assert!(matches!(failure, AuthnError::Invalid(_) | AuthnError::Malformed), "{what}: {failure}");
            assert_eq!(challenge::unauthorized(&failure, METADATA, "read"), CHALLENGE, "{what}");
        }
        self.authenticator.purge();
        self.entra(control).await.expect("the control is believed still");
    }

    /// The reason for the log.
    async fn reason(&self, token: &str) -> Reason {
        match self.entra(token).await {
            Err(AuthnError::Invalid(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }
}

/// A table of lists, as pairs of name and value.
fn one_by_one(table: &Value) -> Vec<(String, Value)> {
    let rows = table.as_object().unwrap();
    rows.iter()
        .flat_map(|(name, row)| row.as_array().unwrap().iter().map(|value| (name.clone(), value.clone())))
        .collect()
}

/// The claims of one of our own tokens.
fn own_claims() -> Value {
    json!({ "iss": ISSUER, "aud": RESOURCE, "sub": format!("{TENANT}:{OID}"), "client_id": "c1", "jti": "j1", "iat": NOW,
        "exp": NOW + 900, "scope": "read write", "tid": TENANT, "oid": OID, "idtyp": "user", "grant_id": GRANT,
        "roles": ["Task.Read"] })
}

impl From<ClaimsError> for Reason {
    fn from(error: ClaimsError) -> Self {
        Self::Token(VerifyError::Claims(error))
    }
}

impl From<JwtError> for Reason {
    fn from(error: JwtError) -> Self {
        Self::Token(VerifyError::Jwt(error))
    }
}
