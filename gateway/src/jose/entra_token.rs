//! A token of Entra, from its text to who it is about: key, signature, claims; in that order.
//!
//! One way to believe a token of the identity provider, at login as at a request. Knows nothing of policies, and of HTTP only what the key set's source hides.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;

use super::VerifyError;
use super::claims::{EntraExpectations, EntraIdentity};
use super::jwt::{self, Jws, Payload, Unverified};
use super::key_set::{KeySet, Lookup};
use crate::clock::Timestamp;

/// Entra's access tokens are of type `JWT`, not `at+jwt`, and so are its ID tokens.
const TYPES: [Option<&str>; 2] = [Some("JWT"), None];

/// Verifies Entra's tokens for one app registration.
#[derive(Clone, Debug)]
pub struct Verifier {
    expectations: EntraExpectations,
    keys: Arc<KeySet>,
    others: HashMap<String, Arc<KeySet>>,
}

impl Verifier {
    /// Believes what the keys signed and the expectations allow.
    #[must_use]
    pub fn new(expectations: EntraExpectations, keys: Arc<KeySet>) -> Self {
        Self { expectations, keys, others: HashMap::new() }
    }

    /// With the keys of a further issuer; they sign for nobody else, and nobody else's for it.
    #[must_use]
    pub fn with_keys(mut self, issuer: String, keys: Arc<KeySet>) -> Self {
        self.others.insert(issuer, keys);
        self
    }

    /// Whether this verifier is for tokens of this issuer.
    #[must_use]
    pub fn is_issuer(&self, issuer: &str) -> bool {
        self.expectations.is_issuer(issuer)
    }

    /// Whether tokens of this directory are believed here.
    #[must_use]
    pub fn takes_directory(&self, tenant: &str) -> bool {
        self.expectations.issuer_of(tenant).is_some()
    }

    /// Whether a token that nobody can verify here is an old-style one of our own tenant: a first-run mistake that an
    /// operator cannot guess from "unknown issuer".
    #[must_use]
    pub fn is_version_one(&self, claims: &Unverified) -> bool {
        claims.ver.as_deref() == Some("1.0") && claims.tid.as_deref().is_some_and(|tid| self.takes_directory(tid))
    }

    /// For how long a token is taken past its end.
    #[must_use]
    pub fn tolerance(&self) -> Duration {
        self.expectations.tolerance()
    }

    /// The keys, for readiness and metrics.
    #[must_use]
    pub fn keys(&self) -> &Arc<KeySet> {
        &self.keys
    }

    /// Verifies an access token that is presented as a bearer.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub async fn access_token(&self, jws: &Jws<'_>, now: Timestamp) -> Result<EntraIdentity, VerifyError> {
        let payload = self.payload(jws).await?;
        Ok(self.expectations.access_token(payload, now)?)
    }

    /// Verifies the ID token of the login that sent this nonce.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub async fn id_token(&self, token: &str, nonce: &str, now: Timestamp) -> Result<EntraIdentity, VerifyError> {
        let jws = jwt::parse(token)?;
        let payload = self.payload(&jws).await?;
        Ok(self.expectations.id_token(payload, nonce, now)?)
    }

    /// Verifies an ID token that came with a refresh; that it is about the same person is for the caller to check.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub async fn refreshed_id_token(&self, token: &str, now: Timestamp) -> Result<EntraIdentity, VerifyError> {
        let jws = jwt::parse(token)?;
        let payload = self.payload(&jws).await?;
        Ok(self.expectations.refreshed_id_token(payload, now)?)
    }

    async fn payload<'j>(&self, jws: &'j Jws<'_>) -> Result<Payload<'j>, VerifyError> {
        let issuer = jws.unverified().map(|claimed| claimed.iss).unwrap_or_default();
        // INVARIANT: the issuer chooses among key sets that the operator configured; which tenant it is for is judged by
        // the claim layer.
        match self.others.get(&issuer).unwrap_or(&self.keys).find(&jws.kid).await {
            Lookup::Found(key) => Ok(jws.verify(&key, Algorithm::RS256, &TYPES)?),
            Lookup::Unknown => Err(VerifyError::UnknownKey),
            Lookup::Unavailable => Err(VerifyError::Unavailable),
        }
    }
}

#[cfg(test)]
mod tests;
