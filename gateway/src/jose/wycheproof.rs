//! Project Wycheproof's vectors of JWS through our reader and verifier, where they are at hand.

use std::path::Path;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::{Value, json};

use super::jwt::{JwtError, parse};
use super::key::Key;
use super::key_set;

const VECTORS: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/corpora/wycheproof/json_web_signature_test.json");

/// Whether the signature was found good: what is said after that is of claims, which most vectors do not have.
fn accepts(token: &str, key: &Key, algorithm: Algorithm) -> bool {
    let Ok(jws) = parse(token) else { return false };
    let types = [None, Some("JWT"), Some("JOSE")];
    matches!(jws.verify(key, algorithm, &types), Ok(_) | Err(JwtError::Malformed | JwtError::ForeignKey))
}

/// The key, if it is one that could come from where our keys come from: RSA keys out of a published set, by the rules
/// of sets; the gateway's own are EC keys for signing.
fn usable(jwk: &Value) -> Option<Key> {
    if jwk["kty"] == "RSA" {
        let keys = key_set::parse(&json!({ "keys": [jwk] }), None).ok()?;
        return keys.get(jwk["kid"].as_str()?).cloned();
    }
    let is_ours = jwk["kty"] == "EC" && jwk["use"] != "enc" && jwk["key_ops"].is_null();
    let jwk: Jwk = serde_json::from_value(jwk.clone()).ok().filter(|_| is_ours)?;
    Some(Key::new(DecodingKey::from_jwk(&jwk).ok()?, Algorithm::ES256, None))
}

#[test]
fn no_invalid_vector_is_accepted_and_valid_ones_are() {
    if !Path::new(VECTORS).exists() {
        println!("{VECTORS} is not here: Wycheproof's vectors are not run");
        return;
    }
    let vectors: Value = serde_json::from_slice(&std::fs::read(VECTORS).unwrap()).unwrap();
    let (mut refused, mut accepted, mut other) = (0, 0, 0);
    let mut wrong = Vec::new();
    for group in vectors["testGroups"].as_array().unwrap() {
        let jwk = if group["public"].is_object() { &group["public"] } else { &group["private"] };
        let key = usable(jwk);
        for test in group["tests"].as_array().unwrap() {
            let token = test["jws"].as_str().unwrap_or_default();
            let valid = test["result"] == "valid";
            let Some(key) = &key else {
                if valid {
                    other += 1;
                } else {
                    refused += 1;
                }
                continue;
            };
            let ours = [Algorithm::RS256, Algorithm::ES256].map(|algorithm| accepts(token, key, algorithm));
            match (valid, ours.contains(&true)) {
                (false, false) => refused += 1,
                (true, true) => accepted += 1,
                // Algorithms that the gateway does not use, and tokens that name no key.
                (true, false) => other += 1,
                (false, true) => wrong.push((test["tcId"].clone(), test["comment"].clone(), group["comment"].clone())),
            }
        }
    }
    println!("{refused} invalid refused, {accepted} valid accepted, {other} valid ones of no use here");
    assert!(wrong.is_empty(), "{wrong:?}");
    assert!(refused > 300 && accepted >= 2, "{refused} {accepted}");
}
