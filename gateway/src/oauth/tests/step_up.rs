//! Scopes that want a stronger or fresher sign-in: what Entra is asked, what is believed, and how long it holds.

use std::collections::BTreeSet;

use super::identity::Proof;
use super::*;
use crate::entra::StepUp;

const MAX_AGE: Duration = Duration::from_mins(10);

/// A world in which deleting wants the context `c1`, not older than ten minutes.
async fn world() -> World {
    let mut resource = weather();
    let wanted = StepUp { acrs: BTreeSet::from(["c1".to_owned()]), max_age: Some(MAX_AGE) };
    for scope in resource.scopes.iter_mut().filter(|scope| scope.name == "delete") {
        scope.step_up = Some(wanted.clone());
    }
    World::with(ISSUER, vec![resource, crm()]).await
}

fn asking(client_id: &str, scope: Option<&str>) -> Vec<(&'static str, String)> {
    with(authorize(client_id), "scope", scope)
}

/// The tokens for these scopes, of a sign-in with this proof.
async fn signed_in(world: &World, scope: &str, proof: Proof) -> (String, Value) {
    let client_id = world.register(REDIRECT).await;
    world.entra.set_proof(proof);
    let back = Browser::new(world).sign_in(&asking(&client_id, Some(scope))).await;
    let code = back.parameter("code").unwrap_or_else(|| panic!("{:?}", back.location()));
    let answer = world.redeem(&client_id, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    (client_id, answer.json())
}

fn fresh() -> Proof {
    Proof { acrs: vec!["c1"], age: Some(5) }
}

#[tokio::test]
async fn the_identity_provider_is_asked_for_it_and_only_then() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let departure = Browser::new(&world).depart(&asking(&client_id, Some("read delete"))).await;
    let asked = world.entra.asked(&departure);
    let claims: Value = serde_json::from_str(&asked["claims"]).unwrap();
    assert_eq!(claims["access_token"]["acrs"], json!({ "essential": true, "value": "c1" }));
    assert_eq!(claims["id_token"]["acrs"], json!({ "essential": true, "value": "c1" }));
    assert_eq!((asked["max_age"].as_str(), asked["prompt"].as_str()), ("600", "login"));
    let request = with(asking(&client_id, Some("delete")), "prompt", Some("select_account"));
    let asked = world.entra.asked(&Browser::new(&world).depart(&request).await);
    assert_eq!(asked["prompt"], "login", "a session is no proof, whatever the client would like");
    let asked = world.entra.asked(&Browser::new(&world).depart(&asking(&client_id, Some("read"))).await);
    assert!(!asked.contains_key("claims") && !asked.contains_key("max_age"));
}

#[tokio::test]
async fn who_asks_for_nothing_gets_what_any_sign_in_is_enough_for() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let page = Browser::new(&world).open(&asking(&client_id, None)).await;
    assert!(page.body.contains("scope-read") && !page.body.contains("scope-delete"));
    let page = Browser::new(&world).open(&asking(&client_id, Some("delete"))).await;
    assert!(page.body.contains("asks for a stronger sign-in"));
    let metadata = world.get("/.well-known/oauth-protected-resource/weather/mcp").await.json();
    assert_eq!(metadata["scopes_supported"], json!(["read", "write"]));
}

#[tokio::test]
async fn a_box_that_is_not_ticked_asks_for_no_step_up() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let page = browser.open(&asking(&client_id, Some("read delete"))).await;
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let fields = [("transaction", &*transaction), ("csrf", &csrf), ("decision", "approve"), ("scope-read", "1")];
    let answer = browser.send(form("/consent", &fields)).await;
    assert!(!world.entra.asked(answer.location().unwrap()).contains_key("claims"));
}

#[tokio::test]
async fn a_sign_in_without_what_was_asked_ends_in_access_denied() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    for proof in [
        Proof { acrs: vec![], age: Some(5) },
        Proof { acrs: vec!["c2"], age: Some(5) },
        Proof { acrs: vec!["c1"], age: None },
        Proof { acrs: vec!["c1"], age: Some(600) },
        Proof { acrs: vec!["c1"], age: Some(-61) },
    ] {
        world.entra.set_proof(proof.clone());
        let back = Browser::new(&world).sign_in(&asking(&client_id, Some("read delete"))).await;
        assert_eq!((back.error().as_str(), back.parameter("code")), ("access_denied", None), "{proof:?}");
        assert!(back.parameter("error_description").unwrap().contains("recent enough"), "{proof:?}");
        let back = Browser::new(&world).sign_in(&asking(&client_id, Some("read"))).await;
        assert!(back.parameter("code").is_some(), "a control: reading asks for nothing, with {proof:?}");
    }
}

#[tokio::test]
async fn a_token_with_such_a_scope_does_not_outlive_the_sign_in() {
    let world = world().await;
    let (_, tokens) = signed_in(&world, "read delete offline_access", fresh()).await;
    let claims = world.claims(&tokens);
    assert_eq!((claims["scope"].as_str(), tokens["expires_in"].as_u64()), (Some("read delete"), Some(595)));
    assert_eq!(claims["exp"], NOW.as_secs() - 5 + MAX_AGE.as_secs());
    assert_eq!((&claims["acrs"], &claims["auth_time"]), (&json!(["c1"]), &json!(NOW.as_secs() - 5)));
    let (_, tokens) = signed_in(&world, "read", fresh()).await;
    assert_eq!(tokens["expires_in"], 900, "a control: without it a token lives as long as any other");
}

#[tokio::test]
async fn a_refresh_keeps_the_scope_while_the_sign_in_is_good_and_drops_it_then() {
    let world = world().await;
    let (client_id, tokens) = signed_in(&world, "read delete offline_access", fresh()).await;
    world.clock.advance(Duration::from_secs(300));
    world.entra.set_proof(Proof { acrs: vec!["c1"], age: Some(305) });
    let again = world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!((again["scope"].as_str(), again["expires_in"].as_u64()), (Some("read delete"), Some(295)));
    let claims = world.entra.seen().last().unwrap().iter().find(|(name, _)| name == "claims").cloned();
    assert!(!claims.unwrap().1.contains("essential"), "a refresh must not fail for want of it");
    world.clock.advance(Duration::from_secs(295));
    world.entra.set_proof(Proof { acrs: vec!["c1"], age: Some(600) });
    let late = world.refresh(&client_id, again["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!((late["scope"].as_str(), late["expires_in"].as_u64()), (Some("read"), Some(900)));
    let only = [
        ("grant_type", "refresh_token"),
        ("client_id", &client_id),
        ("refresh_token", late["refresh_token"].as_str().unwrap()),
        ("scope", "delete"),
    ];
    assert_eq!(world.post("/token", &only).await.error(), "invalid_scope", "nothing is left of what was asked for");
}

#[tokio::test]
async fn a_context_that_a_refresh_does_not_confirm_is_gone() {
    let world = world().await;
    let (client_id, tokens) = signed_in(&world, "read delete offline_access", fresh()).await;
    world.entra.set_proof(Proof { acrs: vec![], age: Some(5) });
    let again = world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await.json();
    assert_eq!(again["scope"], "read");
}
