//! A JWKS document, key by key: a bad key is left out, a bad document refused.

use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use super::Keys;

const MAX_KEYS: usize = 1000;
const MAX_KID: usize = 256;
const PRIVATE: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON with a list of `keys`.
    #[error("the document is not a JWK set")]
    Malformed,
    /// No key in it can be used.
    #[error("the set has no key that can be used")]
    Empty,
}

/// Reads the RSA keys of a set that may sign tokens of `issuer`.
///
/// # Errors
///
/// Returns an error when the document is no set, or has no usable key.
pub fn parse(document: &[u8], issuer: &str, tenant_id: &str) -> Result<Keys, KeySetError> {
    let document: Value = serde_json::from_slice(document).map_err(|_error| KeySetError::Malformed)?;
    let list = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Malformed)?;
    let mut keys = HashMap::new();
    let mut ambiguous = HashSet::new();
    for key in list.iter().take(MAX_KEYS).filter_map(Value::as_object) {
        match usable(key, issuer, tenant_id) {
            Ok((kid, modulus, decoding)) => {
                let other = keys.insert(kid.clone(), (modulus.clone(), decoding));
                if other.is_some_and(|(before, _)| before != modulus) {
                    ambiguous.insert(kid);
                }
            }
            Err(reason) => {
                let kid = key.get("kid").and_then(Value::as_str).unwrap_or_default();
                tracing::debug!(kid = %kid.escape_debug(), reason, "a key of the identity provider is left out");
            }
        }
    }
    keys.retain(|kid, _| !ambiguous.contains(kid));
    if keys.is_empty() {
        return Err(KeySetError::Empty);
    }
    Ok(keys.into_iter().map(|(kid, (_, key))| (kid, key)).collect())
}

type Usable = (String, String, DecodingKey);

fn usable(key: &Map<String, Value>, issuer: &str, tenant_id: &str) -> Result<Usable, &'static str> {
    let text = |name: &str| key.get(name).and_then(Value::as_str);
    if PRIVATE.iter().any(|member| key.contains_key(*member)) {
        return Err("it is private");
    }
    if text("kty") != Some("RSA") {
        return Err("it is not an RSA key");
    }
    if text("use").is_some_and(|usage| usage != "sig") || text("alg").is_some_and(|alg| alg != "RS256") {
        return Err("it is for another use");
    }
    let operations = key.get("key_ops").map(|ops| ops.as_array().is_some_and(|ops| ops.iter().any(|op| op == "verify")));
    if operations == Some(false) {
        return Err("it is not for verifying");
    }
    if let Some(template) = text("issuer") {
        let filled = template.replace("{tenantid}", tenant_id).replace("{tenantId}", tenant_id);
        if filled != issuer {
            return Err("it belongs to another issuer");
        }
    }
    let kid = text("kid").filter(|kid| !kid.is_empty() && kid.len() <= MAX_KID).ok_or("it has no name")?;
    let (n, e) = (text("n").ok_or("it has no modulus")?, text("e").ok_or("it has no exponent")?);
    if !is_sound(n, e) {
        return Err("its size or exponent is out of bounds");
    }
    let decoding = DecodingKey::from_rsa_components(n, e).map_err(|_error| "it cannot be decoded")?;
    Ok((kid.to_owned(), n.to_owned(), decoding))
}

/// 2048 to 8192 bits, and an odd exponent of 3 or more.
fn is_sound(n: &str, e: &str) -> bool {
    let (Ok(n), Ok(e)) = (URL_SAFE_NO_PAD.decode(n), URL_SAFE_NO_PAD.decode(e)) else { return false };
    let significant = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let (n, e) = (significant(&n), significant(&e));
    let bits = n.len() * 8 - n.first().map_or(0, |byte| byte.leading_zeros() as usize);
    let odd = e.last().is_some_and(|byte| byte % 2 == 1);
    (2048..=8192).contains(&bits) && odd && e.len() <= 8 && e != [1]
}
