//! Tokens whose header chooses for itself, each rightly signed.

use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;

use super::*;
use crate::jose::fixture::{HEADER, claims, message};

/// Values that no header parameter of this name may have.
fn wrong() -> Value {
    json!({
        "alg": ["none", "None", "NONE", "nOnE", "", "none ", "HS256", "HS512", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256",
            "EdDSA", "rs256", "RS256 ", null, ["RS256"], 7, {}],
        "typ": ["at+jwt", "dpop+jwt", "logout+jwt", "refresh+jwt", "JWS", "JOSE", "", null, ["JWT"], 7],
        "kid": ["unknown", "", 7, ["entra"], {}, null, "ENTRA", "entra ", "entra\0", "entra\r\nx", "../../etc/passwd", "' OR 1=1 --",
            "${jndi:ldap://evil.example/x}", "\u{212a}id", "https://evil.example/key", "e".repeat(257), "e".repeat(9000)],
        "crit": [["exp"], ["alg"], ["b64"], [], "exp", null, [""]],
        "b64": [false, true, null],
        "jwk": [Rsa::provider().jwk("entra"), Rsa::stranger().jwk("entra"), null, {}],
        "jku": ["https://evil.example/keys", null, ""],
        "x5u": ["https://evil.example/cert", null],
        "x5c": [["MII"], [], null],
        "x5t": ["another", 7, null],
        "x5t#S256": ["entra", null],
        "zip": ["DEF", "GZ", null],
        "cty": ["JWT", "JSON", null],
        "nonce": ["x", null],
    })
}

#[tokio::test]
async fn a_header_that_chooses_for_itself_is_refused() {
    let (honest, payload) = (serde_json::from_str::<Value>(HEADER).unwrap(), claims().to_string());
    let mut hostile = Vec::new();
    for (name, value) in one_by_one(&wrong()) {
        let header = set(honest.clone(), &name, value).to_string();
        hostile.push((format!("{header:.120}"), Rsa::provider().sign(&header, &payload)));
    }
    for name in ["alg", "kid"] {
        hostile.push((
            format!("without {name}"),
            Rsa::provider().sign(&without(honest.clone(), name).to_string(), &payload),
        ));
    }
    let world = World::new();
    world.refuses(&token(&claims()), hostile).await;
    assert!(world.provider.fetches() <= 1, "unknown names cause no second fetch");
}

#[tokio::test]
async fn a_header_that_is_no_plain_object_is_refused() {
    let hostile = [
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"none","a\u006cg":"RS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS256","alg":"none","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","x":{"a":1,"a":1}}"#,
        r#"["RS256"]"#,
        "null",
        "x",
        "",
        "{}",
        "{",
        r#" {"typ":"JWT","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra"}{}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra"}x"#,
        "{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"entra\"}\0",
        "\u{feff}{\"typ\":\"JWT\",\"alg\":\"RS256\",\"kid\":\"entra\"}",
    ];
    let payload = claims().to_string();
    let hostile = hostile.iter().map(|header| ((*header).to_owned(), Rsa::provider().sign(header, &payload))).collect();
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn honest_headers_are_believed() {
    let world = World::new();
    for header in [
        r#"{"alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"jwt","alg":"RS256","kid":"entra"}"#,
        r#"{"typ":"JWT","alg":"RS256","kid":"entra","x5t":"entra"}"#,
        r#"{"kid":"entra","new":[1],"alg":"RS256","typ":"JWT"}"#,
    ] {
        assert!(world.entra(&Rsa::provider().sign(header, &claims().to_string())).await.is_ok(), "{header}");
    }
}

#[tokio::test]
async fn another_algorithm_is_refused_although_its_signature_is_good() {
    let payload = claims().to_string();
    let algorithms: [(&str, &'static dyn signature::RsaEncoding); 5] = [
        ("RS384", &signature::RSA_PKCS1_SHA384),
        ("RS512", &signature::RSA_PKCS1_SHA512),
        ("PS256", &signature::RSA_PSS_SHA256),
        ("PS384", &signature::RSA_PSS_SHA384),
        ("PS512", &signature::RSA_PSS_SHA512),
    ];
    let mut hostile = Vec::new();
    for (name, padding) in algorithms {
        hostile.push((name.to_owned(), Rsa::provider().sign_as(padding, &HEADER.replace("RS256", name), &payload)));
        hostile.push((format!("{name} as RS256"), Rsa::provider().sign_as(padding, HEADER, &payload)));
    }
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn a_public_key_is_no_shared_secret() {
    let key = Rsa::provider();
    let pem =
        |label: &str, der: &[u8]| format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der));
    let (spki, pkcs1) = (key.spki(), key.pkcs1());
    let secrets: Vec<Vec<u8>> = vec![
        pem("PUBLIC KEY", &spki).into_bytes(),
        pem("PUBLIC KEY", &spki).trim_end().as_bytes().to_vec(),
        pem("RSA PUBLIC KEY", &pkcs1).into_bytes(),
        pem("RSA PUBLIC KEY", &pkcs1).trim_end().as_bytes().to_vec(),
        spki.clone(),
        pkcs1.clone(),
        STANDARD.encode(&spki).into_bytes(),
        key.modulus().into_bytes(),
        URL_SAFE_NO_PAD.decode(key.modulus()).unwrap(),
        key.jwk("entra").to_string().into_bytes(),
        Vec::new(),
    ];
    let algorithms = [
        ("HS256", hmac::HMAC_SHA256),
        ("HS384", hmac::HMAC_SHA384),
        ("HS512", hmac::HMAC_SHA512),
        ("RS256", hmac::HMAC_SHA256),
    ];
    let mut hostile = Vec::new();
    for (name, algorithm) in algorithms {
        for (number, secret) in secrets.iter().enumerate() {
            let message = message(&HEADER.replace("RS256", name), &claims().to_string());
            let tag = hmac::sign(&hmac::Key::new(algorithm, secret), message.as_bytes());
            hostile.push((format!("{name} {number}"), format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))));
        }
    }
    World::new().refuses(&token(&claims()), hostile).await;
}

#[tokio::test]
async fn who_brings_no_token_is_let_in_where_anybody_is_and_a_bad_token_is_not_none() {
    let world = World::new();
    let address = crate::limit::ClientAddress::of("203.0.113.7".parse().unwrap());
    let audience = |public| Audience { resource: RESOURCE.to_owned(), accept_entra_tokens: false, public };
    let none = HeaderMap::new();
    let nobody = world.authenticator.admit(&none, &audience(true), address).await.unwrap();
    let subject = nobody.subject();
    assert_eq!((subject.kind(), subject.tenant(), subject.object()), (Kind::Public, "", "203.0.113.7"));
    assert!(subject.roles().is_empty() && nobody.grant().is_none() && nobody.token_id().is_none());
    assert_eq!(world.authenticator.admit(&none, &audience(false), address).await.unwrap_err(), AuthnError::Missing);
    for line in ["", "Basic YTpi", "Bearer", "Bearer ", "Bearer x", "Bearer a.b.c", "a.b.c"] {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(line).unwrap())]);
        assert!(world.authenticator.admit(&headers, &audience(true), address).await.is_err(), "{line}");
    }
}
