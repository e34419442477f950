//! A public key, and whose it is.

use std::fmt;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, DecodingKey};

use super::jwt::Unverified;

/// A public key that verifies the tokens of one issuer.
#[derive(Clone)]
pub struct Key(Arc<Parts>);

struct Parts {
    decoding: DecodingKey,
    algorithm: Algorithm,
    issuer: Option<String>,
}

impl Key {
    /// A key for this algorithm and issuer, or template of issuers with `{tenantid}` in it (Microsoft: signing key rollover). `None`
    /// leaves it to whoever looked the key up.
    #[must_use]
    pub fn new(decoding: DecodingKey, algorithm: Algorithm, issuer: Option<&str>) -> Self {
        Self(Arc::new(Parts { decoding, algorithm, issuer: issuer.map(str::to_owned) }))
    }

    pub(super) fn decoding(&self) -> &DecodingKey {
        &self.0.decoding
    }

    /// What it verifies; a verifier that takes several kinds of keys goes by it, never by the token.
    pub(super) fn algorithm(&self) -> Algorithm {
        self.0.algorithm
    }

    /// Whether a token that says this of itself may be signed with this key. One key set may hold keys of several
    /// issuers: those of personal accounts never sign for a work tenant.
    pub(super) fn signs_for(&self, claimed: &Unverified) -> bool {
        let Some(template) = &self.0.issuer else { return true };
        let tid = claimed.tid.as_deref().unwrap_or_default();
        template.replace("{tenantid}", tid).replace("{tenantId}", tid) == claimed.iss
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("issuer", &self.0.issuer).finish_non_exhaustive()
    }
}
