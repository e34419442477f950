//! The assertions of one issuer (ID-JAG), from a text to who it is about: key, signature, claims; in that order.
//!
//! RS256 and ES256; the key says which it is for. That an assertion is spent once is for the store to see to.

use std::sync::Arc;

use super::VerifyError;
use super::claims::{Assertion, AssertionExpectations};
use super::jwt::Jws;
use super::key_set::{KeySet, Lookup};
use crate::clock::Timestamp;

/// The `typ` of an identity assertion; no other token of an issuer is one.
pub const TYPE: &str = "oauth-id-jag+jwt";

/// Verifies the assertions of one issuer.
#[derive(Clone, Debug)]
pub struct Verifier {
    expectations: AssertionExpectations,
    keys: Arc<KeySet>,
}

impl Verifier {
    /// Believes what the keys signed and the expectations allow.
    #[must_use]
    pub fn new(expectations: AssertionExpectations, keys: Arc<KeySet>) -> Self {
        Self { expectations, keys }
    }

    /// The issuer.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.expectations.issuer
    }

    /// Verifies an assertion that this client presents to the server of this issuer identifier.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub async fn verify(
        &self,
        jws: &Jws<'_>,
        audience: &str,
        client_id: &str,
        now: Timestamp,
    ) -> Result<Assertion, VerifyError> {
        let key = match self.keys.find(&jws.kid).await {
            Lookup::Found(key) => key,
            Lookup::Unknown => return Err(VerifyError::UnknownKey),
            Lookup::Unavailable => return Err(VerifyError::Unavailable),
        };
        let payload = jws.verify(&key, key.algorithm(), &[Some(TYPE)])?;
        Ok(self.expectations.judge(payload, audience, client_id, now)?)
    }
}

#[cfg(test)]
mod tests;
