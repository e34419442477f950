//! Compact JWS (RFC 7515 section 3.1), taken apart strictly and verified with one algorithm.
//!
//! The verifier chooses the algorithm; the header only has to agree. A header that brings a key, a location, an
//! extension or a compression of its own is refused.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;

use crate::json;

/// Longer than any honest token; checked before anything is decoded.
pub const MAX_TOKEN: usize = 16 * 1024;
const MAX_KID: usize = 256;

/// Why a token is no token, or not this issuer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Longer than [`MAX_TOKEN`].
    #[error("the token is too long")]
    TooLong,
    /// Not three parts of unpadded base64url with JSON in the first two.
    #[error("the token is not a compact JWS")]
    Malformed,
    /// Another algorithm than this issuer's.
    #[error("the token is signed with another algorithm")]
    Algorithm,
    /// A `typ` that this kind of token does not have.
    #[error("the token is of another type")]
    Type,
    /// A header parameter that must not decide anything: `crit`, `jwk`, `jku`, `x5u`, `x5c`, `zip`, `cty`, `b64`.
    #[error("the token's header has a parameter that is not accepted")]
    Header,
    /// A token of Microsoft Graph, which nobody else can verify.
    #[error("the token is for Microsoft Graph; ask for a scope with the `api://` prefix")]
    Graph,
    /// The signature is not this key's.
    #[error("the signature does not verify")]
    Signature,
}

/// A token taken apart; nothing of it is verified yet.
#[derive(Debug)]
pub struct Jws<'t> {
    /// The key that is said to have signed it.
    pub kid: String,
    typ: Option<String>,
    alg: String,
    payload: Vec<u8>,
    message: &'t str,
    signature: &'t str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
    #[serde(default, deserialize_with = "present")]
    b64: bool,
    #[serde(default, deserialize_with = "present")]
    jwk: bool,
    #[serde(default, deserialize_with = "present")]
    jku: bool,
    #[serde(default, deserialize_with = "present")]
    x5u: bool,
    #[serde(default, deserialize_with = "present")]
    x5c: bool,
    #[serde(default, deserialize_with = "present")]
    zip: bool,
    #[serde(default, deserialize_with = "present")]
    cty: bool,
    #[serde(default, deserialize_with = "present")]
    nonce: bool,
}

/// Any value at all.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    serde::de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// Takes a token apart.
///
/// # Errors
///
/// Returns a [`JwtError`] for anything but a compact JWS with a plain header.
pub fn parse(token: &str) -> Result<Jws<'_>, JwtError> {
    if token.len() > MAX_TOKEN {
        return Err(JwtError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(JwtError::Malformed)?;
    if payload.contains('.') || signature.is_empty() {
        return Err(JwtError::Malformed);
    }
    let header: Header = object(&decode(header)?)?;
    let forbidden =
        [header.crit, header.b64, header.jwk, header.jku, header.x5u, header.x5c, header.zip, header.cty];
    if forbidden.contains(&true) {
        return Err(JwtError::Header);
    }
    if header.nonce {
        return Err(JwtError::Graph);
    }
    if header.kid.is_empty() || header.kid.len() > MAX_KID {
        return Err(JwtError::Malformed);
    }
    decode(signature)?;
    let payload = decode(payload)?;
    Ok(Jws { kid: header.kid, typ: header.typ, alg: header.alg, payload, message, signature })
}

impl Jws<'_> {
    /// Reads one unverified claim, to choose the verifier by it and for nothing else.
    #[must_use]
    pub fn unverified_issuer(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        object::<Issuer>(&self.payload).ok().map(|claims| claims.iss)
    }

    /// Verifies the signature; `types` are the accepted values of `typ`, `None` standing for its absence.
    ///
    /// # Errors
    ///
    /// Returns a [`JwtError`] when the algorithm, the type or the signature is not what this verifier wants.
    pub fn verify(&self, key: &DecodingKey, algorithm: Algorithm, types: &[Option<&str>]) -> Result<&[u8], JwtError> {
        let typ = self.typ.as_deref();
        if !types.iter().any(|known| known.map(str::to_ascii_lowercase) == typ.map(str::to_ascii_lowercase)) {
            return Err(JwtError::Type);
        }
        if self.alg != name(algorithm) {
            return Err(JwtError::Algorithm);
        }
        match jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key, algorithm) {
            Ok(true) => Ok(&self.payload),
            Ok(false) | Err(_) => Err(JwtError::Signature),
        }
    }
}

fn name(algorithm: Algorithm) -> &'static str {
    match algorithm {
        Algorithm::ES256 => "ES256",
        Algorithm::RS256 => "RS256",
        // No verifier of the gateway uses another; the empty name agrees with no header.
        _ => "",
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_error| JwtError::Malformed)
}

/// A JSON object that can be read in one way only.
pub(super) fn object<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, JwtError> {
    let text = std::str::from_utf8(json).map_err(|_error| JwtError::Malformed)?;
    if !text.starts_with('{') || json::check(text, 16).is_err() {
        return Err(JwtError::Malformed);
    }
    serde_json::from_str(text).map_err(|_error| JwtError::Malformed)
}
