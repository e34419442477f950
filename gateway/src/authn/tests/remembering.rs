//! What is remembered of a token, and for how long.

use super::*;
use crate::jose::fixture::{claims, id_claims};

#[tokio::test]
async fn a_token_is_not_believed_past_its_end_even_when_remembered() {
    let world = World::new();
    let token = world.key.sign("at+jwt", &set(own_claims(), "exp", json!(NOW + 30))).unwrap();
    assert!(world.own(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(29));
    assert!(world.own(&token).await.is_ok());
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.own(&token).await.unwrap_err(), ClaimsError::Expired.into());
}

#[tokio::test]
async fn a_remembered_token_is_the_same_identity() {
    let world = World::new();
    let token = token(&claims());
    let first = world.entra(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &world.entra(&token).await.unwrap()));
    world.authenticator.purge();
    assert!(!Arc::ptr_eq(&first, &world.entra(&token).await.unwrap()));
}

#[tokio::test]
async fn a_withdrawn_key_works_a_minute_at_most_after_the_fetch() {
    let world = World::new();
    let token = token(&claims());
    assert!(world.entra(&token).await.is_ok());
    world.provider.publish(&[Rsa::stranger().jwk("next")]);
    world.clock.advance(Duration::from_secs(59));
    assert!(world.entra(&token).await.is_ok());
    let keys = world.authenticator.entra.as_ref().unwrap().keys();
    assert!(keys.refresh().await);
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.reason(&token).await, Reason::Token(VerifyError::UnknownKey));
}

#[tokio::test]
async fn purging_ends_a_withdrawn_key_at_once() {
    let world = World::new();
    let token = token(&claims());
    assert!(world.entra(&token).await.is_ok());
    world.provider.publish(&[Rsa::stranger().jwk("next")]);
    let keys = world.authenticator.entra.as_ref().unwrap().keys();
    assert!(keys.refresh().await);
    world.authenticator.purge();
    assert_eq!(world.reason(&token).await, Reason::Token(VerifyError::UnknownKey));
}

#[tokio::test]
async fn a_token_within_the_tolerance_after_its_end_is_judged_each_time() {
    let world = World::new();
    let late = token(&set(claims(), "exp", json!(NOW - 30)));
    let first = world.entra(&late).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &world.entra(&late).await.unwrap()));
    world.clock.advance(Duration::from_secs(30));
    assert_eq!(world.reason(&late).await, ClaimsError::Expired.into());
}

#[tokio::test]
async fn a_refusal_is_not_remembered_as_anything_else() {
    let world = World::new();
    for _ in 0..3 {
        assert_eq!(world.reason(&token(&id_claims())).await, ClaimsError::IdToken.into());
    }
}

#[tokio::test]
async fn requests_without_a_token_are_told_where_to_get_one() {
    let world = World::new();
    let audience = Audience { resource: RESOURCE.to_owned(), accept_entra_tokens: true, public: false };
    let failure = world.authenticator.authenticate(&HeaderMap::new(), &audience).await.unwrap_err();
    assert_eq!(failure, AuthnError::Missing);
    let want = format!(r#"Bearer resource_metadata="{METADATA}", scope="read""#);
    assert_eq!(challenge::unauthorized(&failure, METADATA, "read"), want);
}

/// Not a check but a figure: `cargo test --release -- --ignored --nocapture nanoseconds`.
#[tokio::test]
#[ignore = "measures"]
async fn nanoseconds_of_a_remembered_token() {
    let world = World::new();
    let mut headers = HeaderMap::new();
    let value = format!("Bearer {}", world.key.sign("at+jwt", &own_claims()).unwrap());
    headers.insert(http::header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap());
    let audience = Audience { resource: RESOURCE.to_owned(), accept_entra_tokens: false, public: false };
    let rounds = 200_000;
    let start = crate::clock::Stopwatch::start();
    for _ in 0..rounds {
        assert!(world.authenticator.authenticate(&headers, &audience).await.is_ok());
    }
    println!("{} ns", start.elapsed().as_nanos() / rounds);
}
