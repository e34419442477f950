//! The gateway's own access tokens (RFC 9068): what they say. Minted by `oauth`, checked by `authn`.

use serde::{Deserialize, Serialize};

use super::signing_key::{SigningKey, SigningKeyError};

/// The `typ` of an access token.
pub const TYPE: &str = "at+jwt";

/// The claims of an access token. Nothing is optional that decides anything, and nothing else is accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccessTokenClaims {
    /// The gateway's issuer.
    pub iss: String,
    /// The one resource that it is good for (RFC 8707).
    pub aud: String,
    /// The caller: `tid` and `oid`, joined by a colon.
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
    /// The caller's directory.
    pub tid: String,
    /// The caller's object in it.
    pub oid: String,
    /// App-role values, as the identity provider gave them.
    pub roles: Vec<String>,
    /// Groups' object IDs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
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
