//! Compact JWS (RFC 7515 section 3.1), taken apart strictly and verified with one algorithm.
//!
//! The verifier chooses the algorithm; the header only has to agree. A header that brings a key, a location, an
//! extension or a compression of its own is refused, whatever its value.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::de::Deserializer;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::key::Key;
use crate::json;

/// Longer than any honest token; checked before anything is decoded.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Longer than any honest `kid`.
pub const MAX_KID: usize = 256;
/// Deeper than any honest claim nests.
const MAX_DEPTH: u8 = 16;

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
    /// The key is one of another issuer than the token names.
    #[error("the key belongs to another issuer")]
    ForeignKey,
}

/// A token taken apart; nothing of it is verified yet.
pub struct Jws<'t> {
    /// The name of the key that is said to have signed it.
    pub kid: String,
    header: Header,
    payload: Vec<u8>,
    message: &'t str,
    signature: &'t str,
}

/// Claims whose signature was verified; what they say is still to be judged. Only
/// [`Jws::verify`] makes one.
#[derive(Clone, Copy)]
pub struct Payload<'j>(&'j [u8]);

impl Payload<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        self.0
    }
}

impl fmt::Debug for Payload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

/// Claims of a token that nobody has verified.
#[derive(Clone, Debug, Deserialize)]
pub struct Unverified {
    /// The issuer it names.
    pub iss: String,
    /// The version of Entra's tokens that it claims to be.
    #[serde(default)]
    pub ver: Option<String>,
    /// The directory it names.
    #[serde(default)]
    pub tid: Option<String>,
}

/// Header parameters that would choose a key, an encoding or a meaning by themselves; whatever their value.
const OWN_CHOICES: [&str; 9] = ["crit", "b64", "jwk", "jku", "x5u", "x5c", "x5t#S256", "zip", "cty"];

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
    #[serde(default, deserialize_with = "text")]
    typ: Option<String>,
    #[serde(default, deserialize_with = "text")]
    x5t: Option<String>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// A text when it is there; `null` is no text.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// Takes a token apart.
///
/// # Errors
///
/// Returns a [`JwtError`] for anything but a compact JWS with a plain header.
pub fn parse(token: &str) -> Result<Jws<'_>, JwtError> {
    let jws = parse_unnamed(token)?;
    if jws.kid.is_empty() { Err(JwtError::Malformed) } else { Ok(jws) }
}

/// As [`parse`], where the key need not be named: its `kid` is empty then.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_unnamed(token: &str) -> Result<Jws<'_>, JwtError> {
    if token.len() > MAX_TOKEN {
        return Err(JwtError::TooLong);
    }
    let (message, signature) = token.rsplit_once('.').ok_or(JwtError::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(JwtError::Malformed)?;
    if payload.contains('.') || signature.is_empty() {
        return Err(JwtError::Malformed);
    }
    let header: Header = object(&decode(header)?)?;
    header.check()?;
    // The library decodes the signature again; here its form alone is judged (Wycheproof: lenient base64url).
    decode(signature)?;
    Ok(Jws { kid: header.kid.clone(), header, payload: decode(payload)?, message, signature })
}

impl Header {
    fn check(&self) -> Result<(), JwtError> {
        if self.kid.len() > MAX_KID {
            return Err(JwtError::Malformed);
        }
        // Entra's version 1 tokens repeat the `kid` as `x5t`; another value would name another key.
        let another_key = self.x5t.as_ref().is_some_and(|x5t| *x5t != self.kid);
        if another_key || OWN_CHOICES.iter().any(|name| self.others.contains_key(*name)) {
            return Err(JwtError::Header);
        }
        // Only Microsoft's own APIs get tokens that are signed over the hash of a nonce.
        if self.others.contains_key("nonce") { Err(JwtError::Graph) } else { Ok(()) }
    }
}

impl Jws<'_> {
    /// Reads what the token says of its origin, to choose the verifier by it or to explain a refusal in the log, and
    /// for nothing else.
    #[must_use]
    pub fn unverified(&self) -> Option<Unverified> {
        object(&self.payload).ok()
    }

    /// Verifies the signature, and that the key is one of the issuer that the token names; `types` are the accepted values of `typ`, `None` standing for
    /// its absence.
    ///
    /// # Errors
    ///
    /// Returns a [`JwtError`] when the type, the algorithm, the signature or the key is not what this verifier wants.
    pub fn verify(&self, key: &Key, algorithm: Algorithm, types: &[Option<&str>]) -> Result<Payload<'_>, JwtError> {
        if !types.iter().any(|known| same_type(*known, self.header.typ.as_deref())) {
            return Err(JwtError::Type);
        }
        if name(algorithm) != Some(self.header.alg.as_str()) {
            return Err(JwtError::Algorithm);
        }
        match jsonwebtoken::crypto::verify(self.signature, self.message.as_bytes(), key.decoding(), algorithm) {
            Ok(true) => {}
            Ok(false) | Err(_) => return Err(JwtError::Signature),
        }
        let claimed = self.unverified().ok_or(JwtError::Malformed)?;
        if key.signs_for(&claimed) { Ok(Payload(&self.payload)) } else { Err(JwtError::ForeignKey) }
    }
}

impl fmt::Debug for Jws<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jws").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// Media types do not mind their case (RFC 7515 section 4.1.9).
fn same_type(known: Option<&str>, sent: Option<&str>) -> bool {
    match (known, sent) {
        (Some(known), Some(sent)) => known.eq_ignore_ascii_case(sent),
        (None, None) => true,
        _ => false,
    }
}

/// The algorithms that a verifier of the gateway uses; no other agrees with any header.
fn name(algorithm: Algorithm) -> Option<&'static str> {
    match algorithm {
        Algorithm::ES256 => Some("ES256"),
        Algorithm::RS256 => Some("RS256"),
        _ => None,
    }
}

fn decode(part: &str) -> Result<Vec<u8>, JwtError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_error| JwtError::Malformed)
}

/// A JSON object that can be read in one way only.
pub(super) fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, JwtError> {
    let text = std::str::from_utf8(json).map_err(|_error| JwtError::Malformed)?;
    if !text.starts_with('{') || json::check(text, MAX_DEPTH).is_err() {
        return Err(JwtError::Malformed);
    }
    serde_json::from_str(text).map_err(|_error| JwtError::Malformed)
}
