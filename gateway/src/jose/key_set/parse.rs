//! A JWKS document, key by key: a bad key is left out, a bad document refused.
//!
//! RSA for RS256, which is what Entra signs with, and P-256 for ES256 where others sign; keys of any other kind are left out
//! like broken ones.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Map, Value};

use super::Keys;
use crate::jose::jwt::MAX_KID;
use crate::jose::key::Key;

/// An identity provider publishes about ten; what is beyond this many is left out.
const MAX_KEYS: usize = 100;
/// The members of RFC 7518 sections 6.2.2, 6.3.2 and 6.4 that nobody publishes on purpose.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// The modulus, in bits: below is too weak, above costs too much.
const MODULUS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not an object with a list of `keys`.
    #[error("the document is not a JWK set")]
    Malformed,
    /// No key in it can be used.
    #[error("the set has no key that can be used")]
    Empty,
}

/// Reads the keys of a set that may sign tokens in this cloud (`cloud_instance_name`, where it is known).
///
/// # Errors
///
/// Returns an error when the document is no set, or has no usable key.
pub fn parse(document: &Value, cloud: Option<&str>) -> Result<Keys, KeySetError> {
    each(document, |jwk| read(jwk, cloud))
}

/// As [`parse`], where keys are of either kind: RSA for RS256, P-256 for ES256.
///
/// # Errors
///
/// As [`parse`].
pub fn parse_any(document: &Value) -> Result<Keys, KeySetError> {
    each(document, |jwk| if jwk.get("kty").is_some_and(|kind| kind == "EC") { read_p256(jwk) } else { read(jwk, None) })
}

fn each(document: &Value, read: impl Fn(&Value) -> Read<'_>) -> Result<Keys, KeySetError> {
    let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
    let mut usable: HashMap<String, (Numbers<'_>, Key)> = HashMap::new();
    let mut ambiguous = HashSet::new();
    for jwk in list {
        match read(jwk) {
            Ok((kid, numbers, key)) => {
                if usable.get(kid).is_some_and(|(known, _)| *known != numbers) {
                    ambiguous.insert(kid.to_owned());
                } else if usable.len() < MAX_KEYS {
                    usable.insert(kid.to_owned(), (numbers, key));
                } else {
                    left_out(kid, "there are too many");
                }
            }
            Err(reason) => left_out(jwk.get("kid").and_then(Value::as_str).unwrap_or_default(), reason),
        }
    }
    for kid in &ambiguous {
        left_out(kid, "its name is that of another key too");
        usable.remove(kid);
    }
    if usable.is_empty() {
        return Err(KeySetError::Empty);
    }
    Ok(usable.into_iter().map(|(kid, (_, key))| (kid, key)).collect())
}

fn left_out(kid: &str, reason: &str) {
    let kid: String = kid.escape_debug().take(64).collect();
    tracing::warn!(kid, reason, "a key of the identity provider is left out");
}

/// Modulus and exponent, or the two coordinates, as written.
type Numbers<'v> = (&'v str, &'v str);
/// The key with its name and its numbers, or why it cannot be used.
type Read<'v> = Result<(&'v str, Numbers<'v>, Key), &'static str>;

fn read<'v>(jwk: &'v Value, cloud: Option<&str>) -> Read<'v> {
    let members = jwk.as_object().ok_or("it is no JWK")?;
    check_purpose(members, "RSA", "RS256")?;
    if let (Some(cloud), Some(of)) = (cloud, text(members, "cloud_instance_name")?)
        && cloud != of
    {
        return Err("it belongs to another cloud");
    }
    let kid = name(members)?;
    let (n, e) = (text(members, "n")?.ok_or("it has no modulus")?, text(members, "e")?.ok_or("it has no exponent")?);
    if !is_sound(n, e) {
        return Err("its size or its exponent is out of bounds");
    }
    let decoding = DecodingKey::from_rsa_components(n, e).map_err(|_error| "it cannot be decoded")?;
    Ok((kid, (n, e), Key::new(decoding, Algorithm::RS256, text(members, "issuer")?)))
}

fn read_p256(jwk: &Value) -> Read<'_> {
    let members = jwk.as_object().ok_or("it is no JWK")?;
    check_purpose(members, "EC", "ES256")?;
    let kid = name(members)?;
    if text(members, "crv")? != Some("P-256") {
        return Err("it is of another curve");
    }
    let (x, y) = (text(members, "x")?.ok_or("it is no point")?, text(members, "y")?.ok_or("it is no point")?);
    // RFC 7518 section 6.2.1.2: as long as the curve's size, whatever the number.
    let is_coordinate = |text: &str| URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == 32);
    if !is_coordinate(x) || !is_coordinate(y) {
        return Err("a coordinate is not of 32 bytes");
    }
    let decoding = DecodingKey::from_ec_components(x, y).map_err(|_error| "it cannot be decoded")?;
    Ok((kid, (x, y), Key::new(decoding, Algorithm::ES256, text(members, "issuer")?)))
}

fn name(members: &Map<String, Value>) -> Result<&str, &'static str> {
    text(members, "kid")?.filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID).ok_or("it has no name")
}

fn check_purpose(members: &Map<String, Value>, kind: &str, algorithm: &str) -> Result<(), &'static str> {
    if PRIVATE.iter().any(|member| members.contains_key(*member)) {
        return Err("it is private; the identity provider published a secret");
    }
    if text(members, "kty")? != Some(kind) {
        return Err("it is of another kind");
    }
    if text(members, "use")?.is_some_and(|usage| usage != "sig") {
        return Err("it is for another use");
    }
    if text(members, "alg")?.is_some_and(|alg| alg != algorithm) {
        return Err("it is for another algorithm");
    }
    let verifies = |ops: &Value| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify"));
    if members.get("key_ops").is_some_and(|ops| !verifies(ops)) {
        return Err("it is not for verifying");
    }
    Ok(())
}

/// A member that is a text when it is there; a mistyped one spoils the key.
fn text<'v>(members: &'v Map<String, Value>, name: &str) -> Result<Option<&'v str>, &'static str> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err("one of its members is mistyped"),
    }
}

/// A modulus of 2048 to 8192 bits and an odd exponent from 3 up, both in the fewest bytes (RFC 7518 section 2).
fn is_sound(n: &str, e: &str) -> bool {
    let (Ok(n), Ok(e)) = (URL_SAFE_NO_PAD.decode(n), URL_SAFE_NO_PAD.decode(e)) else { return false };
    let (Some(first), Some(last)) = (n.first(), n.last()) else { return false };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    let modulus = *first != 0 && last % 2 == 1 && MODULUS.contains(&bits);
    let odd = e.last().is_some_and(|byte| byte % 2 == 1);
    let exponent = odd && e.first() != Some(&0) && e.len() <= 8 && e != [1];
    modulus && exponent
}
