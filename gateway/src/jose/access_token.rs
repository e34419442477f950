//! The gateway's own access tokens (RFC 9068): what they say, how they are minted and how they are verified.
//!
//! Minted by `oauth`, verified for `authn`. An `iss` of ours selects this verifier, and nothing signed by any other
//! issuer's key passes it. There is no tolerance at the end of a token: the clock that set it reads it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::{Deserialize, Serialize};

use super::claims::{self, ClaimsError};
use super::jwt::Jws;
use super::key::Key;
use super::signing_key::{SigningKey, SigningKeyError};
use super::verify_error::VerifyError;
use crate::clock::Timestamp;

/// The `typ` of an access token.
pub const TYPE: &str = "at+jwt";
/// No token of ours lives longer, whatever it says: it would be signed by mistake or by somebody else.
pub const MAX_LIFETIME: Duration = Duration::from_hours(1);
/// Another instance of the gateway may have minted it by a clock that is a little ahead.
pub const CLOCK_SKEW: Duration = Duration::from_mins(1);

/// The claims of an access token. Nothing is optional that decides anything, and nothing else is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessTokenClaims {
    /// The gateway's issuer.
    pub iss: String,
    /// The one resource that it is good for (RFC 8707).
    pub aud: String,
    /// The caller: directory and object in one text (`crate::subject`).
    pub sub: String,
    /// The client that it was issued to.
    pub client_id: String,
    /// Its name in logs and audit.
    pub jti: String,
    /// When it was issued.
    pub iat: u64,
    /// When it ends.
    pub exp: u64,
    /// The granted scopes, which are tags, separated by spaces.
    pub scope: String,
    /// The caller's directory; the issuer, for whom another than Entra vouches.
    pub tid: String,
    /// The caller's object in it.
    pub oid: String,
    /// A person's, or an application's own.
    pub idtyp: IdType,
    /// The grant that it was issued for, by which it can be ended.
    pub grant_id: String,
    /// App-role values, as the identity provider gave them.
    pub roles: Vec<String>,
    /// Groups' object IDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// When the person signed in, where the identity provider said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<u64>,
    /// Authentication contexts that the sign-in satisfied (Entra's `acrs`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub acrs: Vec<String>,
    /// Whether the person is a guest in the directory, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<bool>,
    /// Further claims of the sign-in that policies may ask for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub claims: BTreeMap<String, serde_json::Value>,
}

/// Whom a token is about (Entra's `idtyp`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IdType {
    /// A person.
    User,
    /// An application on its own behalf.
    App,
}

impl IdType {
    /// Its name, as in a token.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::App => "app",
        }
    }
}

impl AccessTokenClaims {
    /// Signs the claims.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::sign`].
    pub fn mint(&self, key: &SigningKey) -> Result<String, SigningKeyError> {
        key.sign(TYPE, self)
    }
}

/// Verifies access tokens of one issuer, which is the gateway.
pub struct Verifier {
    issuer: String,
    keys: HashMap<String, Key>,
}

impl Verifier {
    /// Believes what any of these keys signed: the current one, and those that are being phased out.
    #[must_use]
    pub fn new<'k>(issuer: impl Into<String>, keys: impl IntoIterator<Item = &'k SigningKey>) -> Self {
        let issuer = issuer.into();
        let public = |key: &SigningKey| {
            (key.kid().to_owned(), Key::new(key.verifier().clone(), Algorithm::ES256, Some(&issuer)))
        };
        let keys = keys.into_iter().map(public).collect();
        Self { issuer, keys }
    }

    /// The issuer whose tokens these are.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Verifies a token; whether its `aud` is the resource at hand is for the caller to say.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] that says what is not as it must be.
    pub fn verify(&self, jws: &Jws<'_>, now: Timestamp) -> Result<AccessTokenClaims, VerifyError> {
        let claims = self.signed(jws)?;
        Self::check(&claims, now)?;
        Ok(claims)
    }

    /// What a token says that this issuer signed, whether it is good still or not: for nothing but a record of it.
    ///
    /// # Errors
    ///
    /// Returns a [`VerifyError`] when it is not this issuer's.
    pub fn signed(&self, jws: &Jws<'_>) -> Result<AccessTokenClaims, VerifyError> {
        let key = self.keys.get(&jws.kid).ok_or(VerifyError::UnknownKey)?;
        let payload = jws.verify(key, Algorithm::ES256, &[Some(TYPE)])?;
        let claims = claims::own_access_token(payload)?;
        if claims.iss == self.issuer { Ok(claims) } else { Err(ClaimsError::Issuer.into()) }
    }

    fn check(claims: &AccessTokenClaims, now: Timestamp) -> Result<(), ClaimsError> {
        if claims.exp <= now.as_secs() {
            return Err(ClaimsError::Expired);
        }
        if claims.iat > now.plus(CLOCK_SKEW).as_secs() {
            return Err(ClaimsError::NotYet);
        }
        if claims.exp.saturating_sub(claims.iat) > MAX_LIFETIME.as_secs() {
            return Err(ClaimsError::Lifetime);
        }
        Ok(())
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("issuer", &self.issuer).field("kids", &self.keys.keys()).finish()
    }
}
