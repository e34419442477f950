//! Tokens that are no compact JWS, or whose signature is not what it should be.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};

use super::*;
use crate::jose::fixture::{HEADER, claims, message};

#[tokio::test]
async fn what_is_no_compact_jws_is_refused() {
    let good = token(&claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message.split_once('.').unwrap();
    let padded = |part: &str| URL_SAFE.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
    let standard = |part: &str| STANDARD.encode(URL_SAFE_NO_PAD.decode(part).unwrap());
    let hostile = [
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        ".".repeat(10_000),
        ".".repeat(1_000_000),
        "a".repeat(1_000_000),
        header.to_owned(),
        message.to_owned(),
        format!("{message}."),
        format!("{message}.."),
        format!("{good}."),
        format!("{good}.x"),
        format!(".{good}"),
        format!("{header}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{header}.{payload}.x.y.{signature}"),
        format!("{header}.{header}.{signature}"),
        format!("{good}="),
        format!("{good}=="),
        format!("{header}.{payload}.{}", padded(signature)),
        format!("{}.{payload}.{signature}", header.to_owned() + "="),
        format!("{header}=.{payload}.{signature}"),
        format!("{message}.{}", standard(signature)),
        format!("{good}%2E"),
        good.replacen('.', "%2E", 1),
        format!("{message}.{signature}A"),
        format!("{message}.{signature}AAAA"),
        format!("{message}.{}", first(signature, 1)),
        format!("{message}.{}", first(signature, 4)),
        format!("{message}.{}", signature.split_at(4).1),
        format!("{message}.{}", "A".repeat(signature.len())),
        format!("{message}.{}", signature.to_lowercase()),
        format!("{message}.{}", not_canonical(signature)),
        format!("{header}~{payload}.{signature}"),
        format!("{header}.{payload}/.{signature}"),
    ];
    let named = hostile.into_iter().map(|token| (format!("{token:.60}… ({})", token.len()), token)).collect();
    World::new().refuses(&good, named).await;
}

/// The same bytes with the spare bits of the last character set.
fn not_canonical(signature: &str) -> String {
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (start, last) = signature.split_at(signature.len() - 1);
    let next = alphabet.chars().skip_while(|c| !last.contains(*c)).nth(1).unwrap();
    assert_eq!(signature.len() % 4, 2, "256 bytes leave four spare bits");
    format!("{start}{next}")
}

/// All but the last characters.
fn first(text: &str, but: usize) -> &str {
    text.split_at(text.len() - but).0
}

#[tokio::test]
async fn a_signature_of_another_key_or_text_is_refused() {
    let good = token(&claims());
    let (message_of_good, signature) = good.rsplit_once('.').unwrap();
    let (header, payload) = message_of_good.split_once('.').unwrap();
    let promoted = set(claims(), "roles", json!(["Admin"])).to_string();
    let p256 = SigningKey::generate().unwrap();
    let text = claims().to_string();
    let zero = |bytes: usize| URL_SAFE_NO_PAD.encode(vec![0; bytes]);
    let es256 = HEADER.replace("RS256", "ES256");
    let hostile = vec![
        ("a stranger's key", Rsa::stranger().sign(HEADER, &text)),
        ("another payload", format!("{header}.{}.{signature}", URL_SAFE_NO_PAD.encode(promoted))),
        ("another header", format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(HEADER.replace("JWT", "jwt")))),
        ("no algorithm", format!("{}.{signature}", message(&HEADER.replace("RS256", "none"), &text))),
        ("no algorithm, no signature", format!("{}.", message(&HEADER.replace("RS256", "none"), &text))),
        ("all zero", format!("{message_of_good}.{}", zero(256))),
        ("all ones", format!("{message_of_good}.{}", URL_SAFE_NO_PAD.encode(vec![0xff; 256]))),
        ("zero r and s", format!("{}.{}", message(&es256, &text), zero(64))),
        ("zero in DER", format!("{}.{}", message(&es256, &text), URL_SAFE_NO_PAD.encode([48, 6, 2, 1, 0, 2, 1, 0]))),
        ("our own key", p256.sign("JWT", &claims()).unwrap()),
        ("an Edwards key", format!("{}.{}", message(&HEADER.replace("RS256", "EdDSA"), &text), zero(64))),
    ];
    let hostile = hostile.into_iter().map(|(what, token)| (what.to_owned(), token)).collect();
    World::new().refuses(&good, hostile).await;
}

#[tokio::test]
async fn what_is_encrypted_nested_or_in_json_is_refused() {
    let good = token(&claims());
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let jwe =
        |header: &str| format!("{}.{}.{}.{}.{}", part(header), part("key"), part("iv"), part("text"), part("tag"));
    let hostile = vec![
        ("JWE", jwe(r#"{"alg":"RSA-OAEP","enc":"A256GCM","kid":"entra"}"#)),
        ("JWE, direct", jwe(r#"{"alg":"dir","enc":"A256GCM","kid":"entra"}"#)),
        ("JWE, costly", jwe(r#"{"alg":"PBES2-HS256+A128KW","enc":"A256GCM","p2c":2147483647,"p2s":"x"}"#)),
        ("nested", Rsa::provider().sign(HEADER, &good)),
        ("JSON", part(&json!({ "payload": "x", "signatures": [] }).to_string())),
    ];
    let hostile = hostile.into_iter().map(|(what, token)| (what.to_owned(), token)).collect();
    World::new().refuses(&good, hostile).await;
}

#[tokio::test]
async fn size_is_bounded_and_honest_sizes_are_not() {
    let world = World::new();
    let sized = |bytes: usize| token(&set(claims(), "padding", json!("x".repeat(bytes))));
    for bytes in [0, 6_000, 11_000] {
        assert!(world.entra(&sized(bytes)).await.is_ok(), "{bytes}");
    }
    for bytes in [12_500, 64_000, 5_000_000] {
        assert_eq!(world.reason(&sized(bytes)).await, JwtError::TooLong.into(), "{bytes}");
    }
}
