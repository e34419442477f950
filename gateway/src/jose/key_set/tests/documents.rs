//! JWKS documents as a careless or hostile provider would write them.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::super::*;

/// An odd number of so many bits; for these tests nobody needs its factors.
fn modulus(bits: usize) -> String {
    let mut bytes = vec![0xa5; bits.div_ceil(8)];
    bytes[0] = if bits.is_multiple_of(8) { 0x80 } else { 1 << (bits % 8 - 1) };
    *bytes.last_mut().unwrap() = 1;
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(kid: &str) -> Value {
    json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": modulus(2048), "e": "AQAB" })
}

fn with(mut key: Value, member: &str, value: Value) -> Value {
    key[member] = value;
    key
}

fn without(mut key: Value, member: &str) -> Value {
    key.as_object_mut().unwrap().remove(member);
    key
}

fn kids(keys: &[Value]) -> Result<Vec<String>, KeySetError> {
    let parsed = parse(&json!({ "keys": keys }), Some("cloud"))?;
    let mut kids: Vec<String> = parsed.into_keys().collect();
    kids.sort();
    Ok(kids)
}

#[test]
fn a_set_as_entra_writes_it_is_taken() {
    let key = json!({ "kty": "RSA", "use": "sig", "kid": "good", "x5t": "good", "n": modulus(2048), "e": "AQAB",
        "x5c": ["MII"], "issuer": "https://idp/{tenantid}/v2.0", "cloud_instance_name": "cloud", "new_member": [1] });
    assert_eq!(kids(&[key]), Ok(vec!["good".to_owned()]));
    assert_eq!(kids(&[without(rsa("good"), "use")]), Ok(vec!["good".to_owned()]));
    assert_eq!(kids(&[with(rsa("good"), "alg", json!("RS256"))]), Ok(vec!["good".to_owned()]));
    assert_eq!(kids(&[with(rsa("good"), "key_ops", json!(["verify"]))]), Ok(vec!["good".to_owned()]));
}

#[test]
fn a_bad_key_is_left_out_and_the_rest_of_the_set_used() {
    let bad = vec![
        with(rsa("bad"), "use", json!("enc")),
        with(rsa("bad"), "use", json!(7)),
        with(rsa("bad"), "alg", json!("RS512")),
        with(rsa("bad"), "alg", json!("ES256")),
        with(rsa("bad"), "alg", json!(["RS256"])),
        with(rsa("bad"), "key_ops", json!(["encrypt"])),
        with(rsa("bad"), "key_ops", json!("verify")),
        with(rsa("bad"), "key_ops", json!([])),
        with(rsa("bad"), "kty", json!("oct")),
        with(rsa("bad"), "issuer", json!(7)),
        with(rsa("bad"), "cloud_instance_name", json!("another cloud")),
        with(rsa("bad"), "kid", json!("")),
        with(rsa("bad"), "kid", json!(7)),
        with(rsa("bad"), "kid", json!("k".repeat(257))),
        without(rsa("bad"), "kid"),
        without(rsa("bad"), "kty"),
        json!({ "kty": "oct", "kid": "bad", "k": "c2VjcmV0" }),
        json!({ "kty": "EC", "crv": "P-256", "kid": "bad", "x": "AQ", "y": "AQ" }),
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": "bad", "x": modulus(256) }),
        json!("text"),
        json!(null),
    ];
    for bad in bad {
        assert_eq!(kids(&[rsa("good"), bad.clone()]), Ok(vec!["good".to_owned()]), "{bad}");
        assert_eq!(kids(std::slice::from_ref(&bad)), Err(KeySetError::Empty), "{bad}");
    }
}

#[test]
fn a_private_key_is_no_key() {
    for member in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
        let published = with(rsa("bad"), member, json!("AQAB"));
        assert_eq!(kids(&[published, rsa("good")]), Ok(vec!["good".to_owned()]), "{member}");
    }
}

#[test]
fn modulus_and_exponent_have_bounds() {
    for bits in [2048, 2049, 3072, 4096, 8192] {
        assert!(kids(&[with(rsa("good"), "n", json!(modulus(bits)))]).is_ok(), "{bits}");
    }
    let zero_first = URL_SAFE_NO_PAD.encode([&[0][..], &URL_SAFE_NO_PAD.decode(modulus(2048)).unwrap()].concat());
    let even = URL_SAFE_NO_PAD.encode(vec![0xa4; 256]);
    let padded = modulus(2048) + "==";
    let moduli = [modulus(8), modulus(1024), modulus(2047), modulus(8193), modulus(16384), zero_first, even, padded];
    for n in moduli.iter().map(String::as_str).chain(["", "!", "A"]) {
        assert_eq!(kids(&[with(rsa("bad"), "n", json!(n))]), Err(KeySetError::Empty), "{n}");
    }
    assert!(kids(&[with(rsa("good"), "e", json!("Aw"))]).is_ok());
    for e in ["", "AA", "AQ", "Ag", "AQAA", "AAEAAQ", "AQAB=", "gYGBgYGBgYGB"] {
        assert_eq!(kids(&[with(rsa("bad"), "e", json!(e))]), Err(KeySetError::Empty), "{e}");
    }
}

#[test]
fn one_name_for_two_keys_is_no_name() {
    let other = || with(rsa("a"), "n", json!(modulus(3072)));
    assert_eq!(kids(&[rsa("a"), other(), rsa("a"), rsa("b")]), Ok(vec!["b".to_owned()]));
    assert_eq!(kids(&[rsa("a"), other()]), Err(KeySetError::Empty));
    assert_eq!(kids(&[rsa("a"), rsa("a")]), Ok(vec!["a".to_owned()]));
    assert_eq!(kids(&[rsa("a"), with(rsa("a"), "e", json!("Aw")), rsa("b")]), Ok(vec!["b".to_owned()]));
}

#[test]
fn a_hundred_keys_are_enough() {
    let keys: Vec<Value> = (0..10_000).map(|number| rsa(&format!("k{number}"))).collect();
    let parsed = kids(&keys).unwrap();
    assert_eq!(parsed.len(), 100);
}

#[test]
fn what_is_no_set_is_refused() {
    for bad in [json!({}), json!({ "keys": null }), json!({ "keys": {} }), json!([]), json!("x")] {
        assert_eq!(parse(&bad, None).err(), Some(KeySetError::Malformed), "{bad}");
    }
    assert_eq!(parse(&json!({ "keys": [] }), None).err(), Some(KeySetError::Empty));
}
