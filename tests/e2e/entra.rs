//! The identity provider as it refuses; and backends with an API of their own behind it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Endpoint, Fault};
use portcullis_tests::flow::{location, parameter};
use portcullis_tests::{Backend, Flow, Tokens, World, WorldBuilder};
use reqwest::StatusCode;
use serde_json::{Value, json};

const SCOPE: &str = "api://weather-api/.default";

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

async fn works(world: &World, tokens: &Tokens) -> bool {
    world.post(&tokens.access, &call()).await.status() == StatusCode::OK
}

/// What a bearer token says.
fn claims(authorization: &str) -> Value {
    let payload = authorization.strip_prefix("Bearer ").unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_refusal_is_told_to_the_person_in_our_words_and_to_the_operator_with_what_to_do() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let flow = Flow::register(&world).await;
    for (error, number, person, operator) in [
        ("access_denied", 50105, "ask your administrator for a role", "assign a role under Enterprise applications"),
        ("access_denied", 65004, "You declined", "declined consent"),
        ("invalid_client", 7_000_222, "tell your administrator", "the client secret has expired"),
        ("access_denied", 999_999, "Signing in failed", "look the code up"),
    ] {
        world.identity.set_refusal(Some((error, number)));
        let (callback, cookie) = flow.at_callback("rita").await;
        let back = location(&flow.arrive(&callback, &cookie).await);
        let words = parameter(&back, "error_description").unwrap();
        assert!(words.contains(person) && !words.contains("words of the identity"), "{number}: {words}");
        assert!(world.gateway.said().contains(operator), "{number}");
    }
    assert!(!world.gateway.said().contains("words of the identity provider"));
    world.identity.set_refusal(None);
    assert!(!flow.code("rita").await.is_empty(), "a control");
}

#[tokio::test]
async fn a_backend_gets_a_token_for_its_own_api_and_never_the_clients() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend)
        .own_tokens_only()
        .backend_more(&format!("on_behalf_of: {{ scope: '{SCOPE}' }}"))
        .start()
        .await;
    let tokens = world.sign_in("rita").await;
    let asked = || world.identity.requests().iter().filter(|request| request.contains("requested_token_use")).count();
    let message = call();
    let calls = (0..20).map(|_| world.post(&tokens.access, &message));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!((backend.requests().len(), asked()), (20, 1), "asked for once, however many calls wait");
    for request in backend.requests() {
        let sent = request.header("authorization").unwrap();
        assert!(!sent.contains(&tokens.access));
        let claims = claims(&sent);
        assert_eq!((&claims["aud"], &claims["scp"]), (&json!("api://weather-api"), &json!("user_impersonation")));
        assert_eq!(claims["oid"], "0a11ce00-0000-4000-8000-000000000002");
    }
    let other = world.sign_in("max").await;
    assert!(works(&world, &other).await);
    assert_eq!(asked(), 2, "another grant has a token of its own");
}

#[tokio::test]
async fn without_that_token_the_call_does_not_go() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend)
        .own_tokens_only()
        .backend_more(&format!("on_behalf_of: {{ scope: '{SCOPE}' }}"))
        .start()
        .await;
    let tokens = world.sign_in("rita").await;
    world.identity.set_exchange_refusal(Some(("interaction_required", 50076)));
    let refused = world.post(&tokens.access, &call()).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["id"], body["error"]["message"].as_str().unwrap().contains("AADSTS")), (&json!(7), false));
    assert!(world.gateway.said().contains("multi-factor authentication is needed"));
    world.identity.set_exchange_refusal(Some(("invalid_grant", 500_131)));
    world.identity.set_fault(Endpoint::Token, Fault::Status(503));
    assert_eq!(world.post(&tokens.access, &call()).await.status(), StatusCode::BAD_GATEWAY);
    assert!(backend.requests().is_empty());
    world.identity.set_fault(Endpoint::Token, None);
    world.identity.set_exchange_refusal(None);
    assert!(works(&world, &tokens).await, "a control");
    assert_eq!(backend.requests().len(), 1);
}
