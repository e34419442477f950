//! Who is calling: a bearer token becomes a [`VerifiedIdentity`] here and nowhere else (RFC 6750, RFC 9068).
//!
//! The issuer that a token names chooses the verifier, and nothing else about the token does. Verified tokens are
//! remembered by their SHA-256 for a minute, never past their end. Any doubt is a refusal; the caller is not told
//! which.

mod bearer;
pub mod challenge;
mod identity;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use jsonwebtoken::Algorithm;
use moka::sync::Cache;
use portcullis_policy::{Kind, Scopes, Subject};
use sha2::{Digest, Sha256};

pub use identity::VerifiedIdentity;
use identity::{Issuer, Verified};

use crate::clock::{Clock, Timestamp};
use crate::jose::access_token::{self, AccessTokenClaims};
use crate::jose::claims::{self, ClaimsError, EntraExpectations};
use crate::jose::jwt::{self, JwtError, Jws};
use crate::jose::key_set::{KeySet, Lookup};
use crate::jose::signing_key::SigningKey;

/// A revoked token is at most this long believed after it was last verified.
const CACHE_FOR: Duration = Duration::from_secs(60);
const CACHE_SIZE: u64 = 100_000;

/// Whose tokens are good at one backend.
#[derive(Clone, Debug)]
pub struct Audience {
    /// The backend's resource identifier: the exact `aud` of our own tokens.
    pub resource: String,
    /// Whether Entra's access tokens for the app registration are taken too.
    pub accept_entra_tokens: bool,
}

/// Why nobody was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthnError {
    /// No bearer token was sent.
    #[error("no bearer token")]
    Missing,
    /// The `Authorization` header is not one bearer token.
    #[error("the Authorization header is malformed")]
    Malformed,
    /// The token is not to be believed; the reason is for the log.
    #[error("{0}")]
    Invalid(Reason),
    /// The token cannot be judged at the moment.
    #[error("the identity provider's keys are not available")]
    Unavailable,
}

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// Its form or signature.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// What it says.
    #[error(transparent)]
    Claims(#[from] ClaimsError),
    /// It names an issuer that is not ours to believe here.
    #[error("the issuer is not known here")]
    UnknownIssuer,
    /// It names a key that its issuer does not have.
    #[error("the issuer has no such key")]
    UnknownKey,
}

impl<T: Into<Reason>> From<T> for AuthnError {
    fn from(reason: T) -> Self {
        Self::Invalid(reason.into())
    }
}

/// Verifies bearer tokens.
#[derive(Debug)]
pub struct Authenticator {
    issuer: String,
    own_key: SigningKey,
    entra: EntraExpectations,
    entra_keys: Arc<KeySet>,
    cache: Cache<[u8; 32], Arc<Verified>>,
    clock: Arc<dyn Clock>,
}

impl Authenticator {
    /// Believes tokens of `issuer` that `own_key` signed, and, where a backend opts in, Entra's.
    #[must_use]
    pub fn new(
        issuer: String,
        own_key: SigningKey,
        entra: EntraExpectations,
        entra_keys: Arc<KeySet>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let cache = Cache::builder().max_capacity(CACHE_SIZE).time_to_live(CACHE_FOR).build();
        Self { issuer, own_key, entra, entra_keys, cache, clock }
    }

    /// Verifies the caller of a request to the backend of this audience.
    ///
    /// # Errors
    ///
    /// Returns an [`AuthnError`]; what of it the caller may learn is up to [`challenge`].
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        audience: &Audience,
    ) -> Result<Arc<VerifiedIdentity>, AuthnError> {
        let token = bearer::token(headers)?;
        let now = self.clock.now();
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let verified = match self.cache.get(&hash).filter(|known| known.identity.expires_at() > now) {
            Some(known) => known,
            None => {
                let verified = Arc::new(self.verify(token, now).await?);
                if verified.identity.expires_at() > now {
                    self.cache.insert(hash, Arc::clone(&verified));
                }
                verified
            }
        };
        match &verified.issuer {
            Issuer::Own { resource } if *resource == audience.resource => {}
            Issuer::Entra if audience.accept_entra_tokens => {}
            Issuer::Own { .. } => return Err(ClaimsError::Audience.into()),
            Issuer::Entra => return Err(Reason::UnknownIssuer.into()),
        }
        Ok(Arc::clone(&verified.identity))
    }

    async fn verify(&self, token: &str, now: Timestamp) -> Result<Verified, AuthnError> {
        let jws = jwt::parse(token)?;
        match jws.unverified_issuer() {
            Some(issuer) if issuer == self.issuer => self.verify_own(&jws, now),
            Some(issuer) if issuer == self.entra.issuer => self.verify_entra(&jws, now).await,
            Some(issuer) => Err(foreign(&issuer)),
            None => Err(ClaimsError::Shape.into()),
        }
    }

    fn verify_own(&self, jws: &Jws<'_>, now: Timestamp) -> Result<Verified, AuthnError> {
        if jws.kid != self.own_key.kid() {
            return Err(Reason::UnknownKey.into());
        }
        let payload = jws.verify(self.own_key.verifier(), Algorithm::ES256, &[Some(access_token::TYPE)])?;
        let claims = claims::own_access_token(payload, &self.issuer, now)?;
        let expires_at = Timestamp::from_secs(claims.exp);
        let AccessTokenClaims { aud, client_id, jti, scope, tid, oid, roles, groups, .. } = claims;
        let scopes = Scopes::Granted(scope.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect());
        let subject = Subject::new(Kind::User, tid, oid)
            .with_roles(roles)
            .with_groups(groups)
            .with_scopes(scopes)
            .with_client(client_id);
        let identity = Arc::new(VerifiedIdentity::new(subject, expires_at, Some(jti)));
        Ok(Verified { identity, issuer: Issuer::Own { resource: aud } })
    }

    async fn verify_entra(&self, jws: &Jws<'_>, now: Timestamp) -> Result<Verified, AuthnError> {
        let key = match self.entra_keys.find(&jws.kid).await {
            Lookup::Found(key) => key,
            Lookup::Unknown => return Err(Reason::UnknownKey.into()),
            Lookup::Unavailable => return Err(AuthnError::Unavailable),
        };
        let payload = jws.verify(&key, Algorithm::RS256, &[Some("JWT"), None])?;
        let entra = self.entra.access_token(payload, now)?;
        let kind = if entra.is_app { Kind::App } else { Kind::User };
        let subject = Subject::new(kind, entra.tid, entra.oid).with_roles(entra.roles).with_groups(entra.groups);
        let subject = match entra.client {
            Some(client) => subject.with_client(client),
            None => subject,
        };
        let identity = Arc::new(VerifiedIdentity::new(subject, entra.exp, entra.token_id));
        Ok(Verified { identity, issuer: Issuer::Entra })
    }
}

/// A token of nobody we know; for the log, the commonest first-run mistake is told apart.
fn foreign(issuer: &str) -> AuthnError {
    if issuer.starts_with("https://sts.windows.net/") {
        return ClaimsError::VersionOne.into();
    }
    Reason::UnknownIssuer.into()
}

#[cfg(test)]
mod tests;
