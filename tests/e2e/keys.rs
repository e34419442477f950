//! Keys that are replaced: those that sign, as the clock or an operator has it, and those that seal.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::{Backend, Calendar, Flow, Tokens, World, WorldBuilder, fault};
use serde_json::{Value, json};

/// From when a key is published to when it signs, and from then to when the one before is forgotten.
const LEAD: i64 = 6 * 60;
const OVERLAP: i64 = 65 * 60;

async fn status(world: &World, token: &str) -> u16 {
    world.post(token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" })).await.status().as_u16()
}

/// The names of the keys at an address.
async fn published(world: &World, path: &str) -> Vec<String> {
    let answer = world.http().get(format!("{}{path}", world.url())).send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=300");
    let set: Value = answer.json().await.unwrap();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// The name of the key that signed a token.
fn kid(token: &str) -> String {
    let head = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&head).unwrap()["kid"].as_str().unwrap().to_owned()
}

/// Waits until the published keys are as they should be.
async fn until_published(world: &World, are: impl Fn(&[String]) -> bool) -> Vec<String> {
    for _ in 0..600 {
        let keys = published(world, "/jwks").await;
        if are(&keys) {
            return keys;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the keys stay {:?}", published(world, "/jwks").await);
}

async fn done(world: &World, arguments: &[&str]) -> String {
    let output = world.command(arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_key_is_replaced_and_no_token_is_refused() {
    let calendar = Calendar::new();
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().calendar(&calendar).start().await;
    let flow = Flow::register(&world).await;
    let mut tokens = flow.tokens(&flow.code("rita").await).await;
    let mut live = vec![tokens.access.clone()];
    let (mut calls, mut refused) = (0, 0);
    let before = published(&world, "/jwks").await;
    assert_eq!((before.len(), &before[0]), (2, &kid(&tokens.access)), "one of tokens and one of the trail");
    let said = done(&world, &["keys", "rotate"]).await;
    assert!(said.contains("sign 6 minutes later"), "{said}");
    let both = until_published(&world, |keys| keys.len() == 3).await;
    assert_eq!(both[0], before[0], "the next key is published and does not sign");
    assert_eq!(published(&world, "/jwks/assertion").await.len(), 2);
    // Each time a token is added, and all of them are good.
    for offset in [0, LEAD - 30, LEAD + 2, LEAD + 120] {
        calendar.set(offset);
        if offset > LEAD {
            until_published(&world, |keys| keys[0] == both[1]).await;
        }
        tokens = flow.refreshed(&tokens.refresh).await;
        assert_eq!(kid(&tokens.access) == both[1], offset > LEAD, "at {offset:+}");
        live.push(tokens.access.clone());
        for token in live.iter().cycle().take(100) {
            calls += 1;
            refused += u32::from(status(&world, token).await != 200);
        }
    }
    assert_eq!(refused, 0);
    assert_eq!(published(&world, "/jwks").await.len(), 3, "what it signed lives");
    calendar.set(LEAD + OVERLAP + 2);
    let after = until_published(&world, |keys| keys.len() == 2).await;
    assert_eq!(after, [both[1].clone(), before[1].clone()], "the old one is gone, and the trail's stays");
    let figure = format!(
        "{refused} of {calls} calls with live tokens refused; the next key published 6 min before it signs, the old one good for 65 min after"
    );
    fault(26, &figure, "0 rejections of live tokens, overlap >= max access TTL");
}

#[tokio::test]
async fn keys_that_somebody_else_may_have_are_dropped_at_once() {
    let mut world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let (client_id, tokens, old) = {
        let flow = Flow::register(&world).await;
        let tokens = flow.tokens(&flow.code("rita").await).await;
        (flow.client_id.clone(), tokens, published(&world, "/jwks").await)
    };
    assert_eq!(status(&world, &tokens.access).await, 200, "the control");
    let said = done(&world, &["keys", "rotate", "--at-once"]).await;
    assert!(said.contains("1 grant(s) ended"), "{said}");
    let new = until_published(&world, |keys| !keys.contains(&old[0])).await;
    assert_eq!((new.len(), &new[1]), (2, &old[1]), "the trail's key is never replaced");
    assert_eq!(status(&world, &tokens.access).await, 401);
    let flow = Flow { world: &world, client_id, verifier: "v".repeat(43), at: world.url() };
    assert_eq!(flow.token(&flow.refresh_form(&tokens.refresh)).await.status(), 400);
    // What is issued within a second of the end is taken for older.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let anew = flow.tokens(&flow.code("rita").await).await;
    assert_eq!((kid(&anew.access), status(&world, &anew.access).await), (new[0].clone(), 200));
    // Whoever verifies the trail does so across the change, and with the keys of before.
    let jwks = world.http().get(format!("{}/jwks", world.url())).send().await.unwrap().text().await.unwrap();
    std::fs::write(world.directory().join("jwks.json"), jwks).unwrap();
    world.gateway.terminate().await;
    let said = done(&world, &["audit", "verify", "--jwks", "jwks.json", "audit.jsonl"]).await;
    assert!(said.contains("2 checkpoint(s) verified, 0 line(s)"), "{said}");
}

async fn refreshed(world: &World, client_id: &str, tokens: &Tokens) -> Tokens {
    let client_id = client_id.to_owned();
    let flow = Flow { world, client_id, verifier: "v".repeat(43), at: world.url() };
    flow.refreshed(&tokens.refresh).await
}

#[tokio::test]
async fn an_old_sealing_key_may_go_when_what_it_sealed_is_sealed_anew() {
    let mut world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let (client_id, mut tokens) = {
        let flow = Flow::register(&world).await;
        (flow.client_id.clone(), flow.tokens(&flow.code("rita").await).await)
    };
    let keys = published(&world, "/jwks").await;
    let new = world.directory().join("seal-2.key");
    std::fs::write(&new, [9; 32]).unwrap();
    std::fs::set_permissions(&new, PermissionsExt::from_mode(0o600)).unwrap();
    let old = "seal_key_files: [seal-2.key, state/seal.key]";
    world.configure(|text| text.replace("state: { path: state", &format!("state: {{ {old}, path: state")));
    world.restart().await;
    assert_eq!(published(&world, "/jwks").await, keys);
    // A grant is sealed anew when it is refreshed.
    tokens = refreshed(&world, &client_id, &tokens).await;
    world.configure(|text| text.replace(old, "seal_key_files: [seal-2.key]"));
    std::fs::remove_file(world.directory().join("state/seal.key")).unwrap();
    world.restart().await;
    assert_eq!(published(&world, "/jwks").await, keys, "no key was lost");
    assert_eq!(status(&world, &tokens.access).await, 200);
    tokens = refreshed(&world, &client_id, &tokens).await;
    assert_eq!(status(&world, &tokens.access).await, 200);
}
