//! Key sets: whatever a document says, the keys that come out of it are RSA keys of a sound size, public, for signatures,
//! and each the only one of its name.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::jose::key_set::parse;
use serde_json::Value;

/// A document; `%N` in it stands for a modulus of 2048 bits.
pub fn check(data: &[u8]) -> bool {
    let modulus = URL_SAFE_NO_PAD.encode([0xc5; 256]);
    let data = crate::token::filled(data, b"%N", &modulus);
    let Ok(document) = serde_json::from_slice::<Value>(&data) else { return false };
    let Ok(keys) = parse(&document, Some("microsoftonline.com")) else { return false };
    assert!(!keys.is_empty() && keys.len() <= 100);
    let published = document["keys"].as_array().unwrap();
    for kid in keys.keys() {
        let candidates: Vec<&Value> = published.iter().filter(|jwk| jwk["kid"] == kid.as_str()).collect();
        assert!(candidates.iter().any(|jwk| is_good(jwk)), "{kid}");
        let mut numbers: Vec<String> =
            candidates.iter().filter(|jwk| is_good(jwk)).map(|jwk| format!("{} {}", jwk["n"], jwk["e"])).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), 1, "two keys are called {kid}");
    }
    true
}

fn is_good(jwk: &Value) -> bool {
    let text = |name: &str| jwk[name].as_str().map(str::to_owned);
    let absent_or = |name: &str, value: &str| jwk.get(name).is_none_or(|found| found == value);
    let number = |name: &str| text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).unwrap_or_default();
    let (n, e) = (number("n"), number("e"));
    let bits = n.first().map_or(0, |first| n.len() * 8 - first.leading_zeros() as usize);
    let secret = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.get(*name).is_some());
    let verifies =
        jwk.get("key_ops").is_none_or(|ops| ops.as_array().is_some_and(|ops| ops.contains(&"verify".into())));
    let odd = |number: &[u8]| number.last().is_some_and(|last| last % 2 == 1) && number.first() != Some(&0);
    let sound = (2048..=8192).contains(&bits) && odd(&n) && odd(&e) && e != [1] && e.len() <= 8;
    let ours =
        absent_or("use", "sig") && absent_or("alg", "RS256") && absent_or("cloud_instance_name", "microsoftonline.com");
    jwk["kty"] == "RSA" && !secret && verifies && sound && ours
}
