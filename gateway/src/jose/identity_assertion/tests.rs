//! Assertions that are taken, and then one thing wrong at a time.

use serde_json::{Value, json};

use super::*;
use crate::jose::claims::ClaimsError;
use crate::jose::fixture::{NOW, Published, Rsa, clock, set, without};
use crate::jose::jwt::{self, JwtError};
use crate::jose::signing_key::SigningKey;

const ISSUER: &str = "https://idp.example";
const GATEWAY: &str = "https://gw.example";
const HEADER: &str = r#"{"alg":"RS256","kid":"idp","typ":"oauth-id-jag+jwt"}"#;

fn verifier(keys: &[Value], tenant: Option<&str>) -> Verifier {
    let expectations = AssertionExpectations {
        issuer: ISSUER.to_owned(),
        tenant: tenant.map(str::to_owned),
        claim: "groups".to_owned(),
    };
    let source = Box::new(Published(json!({ "keys": keys })));
    Verifier::new(expectations, Arc::new(KeySet::new(source, Arc::new(clock()))))
}

fn claims() -> Value {
    json!({ "iss": ISSUER, "sub": "U019488227", "aud": GATEWAY, "client_id": "portal", "jti": "one", "iat": NOW, "exp": NOW + 300,
        "resource": "https://gw.example/mcp", "scope": "read write", "groups": ["readers", "staff"],
        "email": "alice@example.com", "auth_time": NOW - 60, "amr": ["mfa"] })
}

async fn verify_by(verifier: &Verifier, token: &str) -> Result<Assertion, VerifyError> {
    verifier.verify(&jwt::parse(token)?, GATEWAY, "portal", Timestamp::from_secs(NOW)).await
}

async fn verify(header: &str, claims: &Value) -> Result<Assertion, VerifyError> {
    let verifier = verifier(&[Rsa::provider().jwk("idp")], None);
    verify_by(&verifier, &Rsa::provider().sign(header, &claims.to_string())).await
}

#[tokio::test]
async fn an_assertion_of_either_algorithm_says_who_it_is_about_and_what_for() {
    let honest = Assertion {
        sub: "U019488227".to_owned(),
        jti: "one".to_owned(),
        expires: Timestamp::from_secs(NOW + 300),
        resources: vec!["https://gw.example/mcp".to_owned()],
        scope: Some("read write".to_owned()),
        values: vec!["readers".to_owned(), "staff".to_owned()],
    };
    assert_eq!(verify(HEADER, &claims()).await, Ok(honest.clone()));
    let own = SigningKey::generate().unwrap();
    let both = verifier(&[Rsa::provider().jwk("idp"), own.public_jwk().clone()], None);
    assert_eq!(verify_by(&both, &own.sign(TYPE, &claims()).unwrap()).await, Ok(honest.clone()));
    for (name, value) in [
        ("aud", json!([GATEWAY])),
        ("aud", json!("https://gw.example/")),
        ("aud", json!(["https://gw.example/"])),
        ("resource", json!(["https://gw.example/mcp"])),
        ("iat", json!(NOW + 60)),
        ("nbf", json!(NOW + 60)),
        ("unknown", json!({ "a": 1 })),
    ] {
        assert_eq!(verify(HEADER, &set(claims(), name, value.clone())).await, Ok(honest.clone()), "{name} {value}");
    }
    let longest = verify(HEADER, &set(claims(), "exp", json!(NOW + 900))).await.unwrap();
    assert_eq!(longest.expires, Timestamp::from_secs(NOW + 900));
    assert_eq!(verify(HEADER, &without(claims(), "scope")).await.unwrap().scope, None);
}

#[tokio::test]
async fn what_roles_follow_from_is_a_text_or_a_list_of_texts_and_nothing_else_says_anything() {
    for (value, found) in [
        (json!("readers"), vec!["readers"]),
        (json!(["readers"]), vec!["readers"]),
        (json!(["readers", 7]), vec![]),
        (json!({ "readers": true }), vec![]),
        (json!(null), vec![]),
        (json!(7), vec![]),
    ] {
        assert_eq!(verify(HEADER, &set(claims(), "groups", value.clone())).await.unwrap().values, found, "{value}");
    }
    assert!(verify(HEADER, &without(claims(), "groups")).await.unwrap().values.is_empty());
}

#[tokio::test]
async fn a_claim_that_is_not_as_it_must_be_makes_it_no_assertion() {
    use ClaimsError::{Audience, Client, Expired, Issuer, Lifetime, Mistyped, NotYet, Tenant, Unsupported};
    assert!(verify(HEADER, &claims()).await.is_ok(), "the control");
    for (name, value, expected) in [
        ("iss", json!("https://idp.example/"), Issuer),
        ("iss", json!("https://other.example"), Issuer),
        ("aud", json!("https://gw.example//"), Audience),
        ("aud", json!(["https://gw.example", "https://gw.example/"]), Audience),
        ("aud", json!("https://GW.example/"), Audience),
        ("aud", json!("https://gw.example/token"), Audience),
        ("aud", json!("https://other.example"), Audience),
        ("aud", json!([GATEWAY, "https://other.example"]), Audience),
        ("aud", json!([]), Mistyped("aud")),
        ("aud", json!([[GATEWAY]]), Mistyped("aud")),
        ("client_id", json!("other"), Client),
        ("client_id", json!("Portal"), Client),
        ("client_id", json!(["portal"]), Mistyped("client_id")),
        ("tenant", json!("acme"), Tenant),
        ("cnf", json!({ "jkt": "x" }), Unsupported("cnf")),
        ("authorization_details", json!([{ "type": "x" }]), Unsupported("authorization_details")),
        ("exp", json!(NOW), Expired),
        ("exp", json!(NOW - 1), Expired),
        ("exp", json!(NOW + 901), Lifetime),
        ("exp", json!((NOW + 300).to_string()), Mistyped("exp")),
        ("iat", json!(NOW + 61), NotYet),
        ("iat", json!(NOW - 3600), Lifetime),
        ("nbf", json!(NOW + 61), NotYet),
        ("sub", json!(""), Mistyped("sub")),
        ("sub", json!(" U1"), Mistyped("sub")),
        ("sub", json!("\u{441}lice"), Mistyped("sub")),
        ("sub", json!("a\nb"), Mistyped("sub")),
        ("sub", json!("x".repeat(256)), Mistyped("sub")),
        ("sub", json!(7), Mistyped("sub")),
        ("jti", json!(""), Mistyped("jti")),
        ("jti", json!("a\nb"), Mistyped("jti")),
        ("jti", json!("x".repeat(257)), Mistyped("jti")),
        ("resource", json!(""), Mistyped("resource")),
        ("resource", json!([]), Mistyped("resource")),
        ("resource", json!({ "url": "https://gw.example/mcp" }), Mistyped("resource")),
        ("scope", json!(["read"]), Mistyped("scope")),
        ("scope", json!(""), Mistyped("scope")),
    ] {
        let found = verify(HEADER, &set(claims(), name, value.clone())).await;
        // A claim of another type may be found out before the issuer's keys are looked at.
        let form = matches!(found, Err(VerifyError::Jwt(JwtError::Malformed)));
        assert!(found == Err(VerifyError::Claims(expected)) || form, "{name} {value}: {found:?}");
    }
    for name in ["iss", "aud", "client_id", "exp", "iat", "sub", "jti", "resource"] {
        assert!(verify(HEADER, &without(claims(), name)).await.is_err(), "{name}");
    }
}

#[tokio::test]
async fn nothing_but_an_assertion_of_this_issuers_key_is_one() {
    assert!(verify(HEADER, &claims()).await.is_ok(), "the control");
    for (header, expected) in [
        (r#"{"alg":"RS256","kid":"idp","typ":"JWT"}"#, JwtError::Type),
        (r#"{"alg":"RS256","kid":"idp","typ":"at+jwt"}"#, JwtError::Type),
        (r#"{"alg":"RS256","kid":"idp","typ":"oauth-id-jag"}"#, JwtError::Type),
        (r#"{"alg":"RS256","kid":"idp"}"#, JwtError::Type),
        (r#"{"alg":"RS512","kid":"idp","typ":"oauth-id-jag+jwt"}"#, JwtError::Algorithm),
        (r#"{"alg":"PS256","kid":"idp","typ":"oauth-id-jag+jwt"}"#, JwtError::Algorithm),
        (r#"{"alg":"ES256","kid":"idp","typ":"oauth-id-jag+jwt"}"#, JwtError::Algorithm),
        (r#"{"alg":"HS256","kid":"idp","typ":"oauth-id-jag+jwt"}"#, JwtError::Algorithm),
        (r#"{"alg":"none","kid":"idp","typ":"oauth-id-jag+jwt"}"#, JwtError::Algorithm),
        (r#"{"alg":"RS256","typ":"oauth-id-jag+jwt"}"#, JwtError::Malformed),
        (r#"{"alg":"RS256","kid":"idp","typ":"oauth-id-jag+jwt","jwk":{}}"#, JwtError::Header),
        (r#"{"alg":"RS256","kid":"idp","typ":"oauth-id-jag+jwt","crit":["x"]}"#, JwtError::Header),
    ] {
        assert_eq!(verify(header, &claims()).await, Err(VerifyError::Jwt(expected)), "{header}");
    }
    let other = r#"{"alg":"RS256","kid":"other","typ":"oauth-id-jag+jwt"}"#;
    assert_eq!(verify(other, &claims()).await, Err(VerifyError::UnknownKey));
    let ours = verifier(&[Rsa::provider().jwk("idp")], None);
    let forged = Rsa::stranger().sign(HEADER, &claims().to_string());
    assert_eq!(verify_by(&ours, &forged).await, Err(VerifyError::Jwt(JwtError::Signature)));
    let nothing = verifier(&[], None);
    let honest = Rsa::provider().sign(HEADER, &claims().to_string());
    assert_eq!(verify_by(&nothing, &honest).await, Err(VerifyError::Unavailable));
}

#[tokio::test]
async fn of_an_issuer_of_several_tenants_one_is_let_in() {
    let acme = verifier(&[Rsa::provider().jwk("idp")], Some("acme"));
    let of = |claims: Value| Rsa::provider().sign(HEADER, &claims.to_string());
    assert!(verify_by(&acme, &of(set(claims(), "tenant", json!("acme")))).await.is_ok(), "the control");
    let tenant = Err(VerifyError::Claims(ClaimsError::Tenant));
    for tenants in [claims(), set(claims(), "tenant", json!("other")), set(claims(), "tenant", json!("ACME"))] {
        assert_eq!(verify_by(&acme, &of(tenants)).await, tenant);
    }
}
