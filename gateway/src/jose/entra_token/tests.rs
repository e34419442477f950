//! ID tokens as a login gets them, and those that belong to another login or to none.

use serde_json::{Value, json};

use super::*;
use crate::jose::claims::ClaimsError;
use crate::jose::fixture::{
    self, CLIENT, NOW, OID, PARTNER, Provider, STRANGER, TENANT, claims, id_claims, issuer, set, token, without,
};

const NONCE: &str = "the nonce";

async fn login(token: &str, nonce: &str) -> Result<EntraIdentity, VerifyError> {
    let verifier = Provider::new().verifier(&fixture::clock());
    verifier.id_token(token, nonce, Timestamp::from_secs(NOW)).await
}

async fn refresh(token: &str) -> Result<EntraIdentity, VerifyError> {
    let verifier = Provider::new().verifier(&fixture::clock());
    verifier.refreshed_id_token(token, Timestamp::from_secs(NOW)).await
}

#[tokio::test]
async fn an_id_token_says_who_signed_in() {
    let identity = login(&token(&id_claims()), NONCE).await.unwrap();
    assert_eq!((identity.tid.as_str(), identity.oid.as_str(), identity.is_app), (TENANT, OID, false));
    assert_eq!(identity.roles, ["Task.Read"]);
    assert_eq!((identity.auth_time, identity.acrs), (Some(Timestamp::from_secs(NOW - 60)), vec!["c1".to_owned()]));
    assert_eq!(identity.name.as_deref(), Some("alice@example.com"));
}

#[tokio::test]
async fn the_nonce_is_that_of_this_login() {
    for nonce in ["another", "the nonc", "the nonce ", "The nonce", ""] {
        assert_eq!(login(&token(&id_claims()), nonce).await, Err(ClaimsError::Nonce.into()), "{nonce}");
    }
    for sent in [json!(""), json!(null), json!([NONCE]), json!(7)] {
        assert_eq!(login(&token(&set(id_claims(), "nonce", sent)), NONCE).await, Err(ClaimsError::Nonce.into()));
    }
    assert_eq!(login(&token(&set(id_claims(), "nonce", json!(""))), "").await, Err(ClaimsError::Nonce.into()));
    assert_eq!(login(&token(&without(id_claims(), "nonce")), NONCE).await, Err(ClaimsError::Nonce.into()));
    assert!(refresh(&token(&without(id_claims(), "nonce"))).await.is_ok());
    assert!(login(&token(&id_claims()), NONCE).await.is_ok());
}

#[tokio::test]
async fn an_id_token_with_one_claim_wrong_is_refused() {
    let wrong: Vec<(&str, Vec<Value>)> = vec![
        ("aud", vec![json!("another"), json!([CLIENT]), json!(null)]),
        ("iss", vec![json!(issuer(STRANGER)), json!(issuer(PARTNER)), json!(issuer("common"))]),
        ("tid", vec![json!(STRANGER), json!(PARTNER), json!(null)]),
        ("oid", vec![json!("x"), json!(null)]),
        ("exp", vec![json!(NOW - 61), json!("x")]),
        ("nbf", vec![json!(NOW + 61)]),
        ("ver", vec![json!("1.0")]),
        ("scp", vec![json!("access_as_user")]),
        ("idtyp", vec![json!("app")]),
        ("auth_time", vec![json!("x"), json!(-1)]),
    ];
    for (name, values) in wrong {
        for value in values {
            let token = token(&set(id_claims(), name, value.clone()));
            assert!(login(&token, NONCE).await.is_err(), "{name} = {value}");
            assert!(refresh(&token).await.is_err(), "{name} = {value}");
        }
    }
    assert!(login(&token(&id_claims()), NONCE).await.is_ok());
}

#[tokio::test]
async fn an_id_token_may_begin_at_no_given_time() {
    assert!(login(&token(&without(id_claims(), "nbf")), NONCE).await.is_ok());
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    assert_eq!(refresh(&token(&claims())).await, Err(ClaimsError::NotAnIdToken.into()));
    assert_eq!(
        login(&token(&set(claims(), "nonce", json!(NONCE))), NONCE).await,
        Err(ClaimsError::NotAnIdToken.into())
    );
}

#[tokio::test]
async fn groups_that_do_not_fit_are_no_groups() {
    let listed = set(id_claims(), "groups", json!(["g1"]));
    let identity = login(&token(&listed), NONCE).await.unwrap();
    assert_eq!((identity.groups.as_slice(), identity.groups_overage), (["g1".to_owned()].as_slice(), false));
    let elsewhere = set(listed.clone(), "_claim_names", json!({ "groups": "src1" }));
    let implicit = set(listed, "hasgroups", json!(true));
    for overage in [elsewhere, implicit] {
        let identity = login(&token(&overage), NONCE).await.unwrap();
        assert_eq!((identity.groups.len(), identity.groups_overage), (0, true));
        assert_eq!(identity.roles, ["Task.Read"]);
    }
}

#[tokio::test]
async fn the_tolerance_is_five_minutes_whatever_is_set() {
    let provider = Provider::new();
    let mut verifier = provider.verifier(&fixture::clock());
    verifier.expectations.clock_skew = std::time::Duration::from_hours(1);
    let at = |late: u64| token(&set(id_claims(), "exp", json!(NOW - late)));
    let now = Timestamp::from_secs(NOW);
    assert!(verifier.id_token(&at(299), NONCE, now).await.is_ok());
    assert!(verifier.id_token(&at(301), NONCE, now).await.is_err());
}
