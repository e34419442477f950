//! Giving tokens back (RFC 7009), and what a revocation does to the rest of a grant.

use super::*;
use crate::store::{Revocations, Whose};

async fn log(world: &World) -> Revocations {
    world.state.store.revocations(0).await.unwrap()
}

async fn revoke(world: &World, client_id: &str, token: &str) -> Answer {
    world.post("/revoke", &[("client_id", client_id), ("token", token)]).await
}

fn text<'t>(tokens: &'t Value, name: &str) -> &'t str {
    tokens[name].as_str().unwrap()
}

#[tokio::test]
async fn a_token_that_is_given_back_ends_its_grant() {
    for name in ["refresh_token", "access_token"] {
        let world = World::new().await;
        let (client_id, tokens) = world.signed_in().await;
        let grant = world.claims(&tokens)["grant_id"].as_str().unwrap().to_owned();
        assert!(log(&world).await.lines.is_empty(), "the control");
        let answer = revoke(&world, &client_id, text(&tokens, name)).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{name}");
        assert_eq!(world.refresh(&client_id, text(&tokens, "refresh_token")).await.error(), "invalid_grant", "{name}");
        let log = log(&world).await;
        assert_eq!(log.lines.iter().map(|line| &line.key).collect::<Vec<_>>(), [&Whose::Grant(grant).key()], "{name}");
        assert!(log.lines[0].issued_before > NOW.plus(Duration::from_mins(15)));
        assert_eq!(revoke(&world, &client_id, text(&tokens, name)).await.status, 200, "{name}, again");
    }
}

#[tokio::test]
async fn a_token_of_another_client_or_of_nobody_is_answered_alike_and_nothing_comes_of_it() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let other = world.register(REDIRECT).await;
    let foreign = SigningKey::generate().unwrap().sign("at+jwt", &world.claims(&tokens)).unwrap();
    for token in [text(&tokens, "refresh_token"), text(&tokens, "access_token"), "unknown", "a.b.c", &foreign] {
        let answer = revoke(&world, &other, token).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }
    assert_eq!(revoke(&world, &client_id, &foreign).await.status, 200, "signed by somebody else");
    assert_eq!(revoke(&world, "unknown", text(&tokens, "refresh_token")).await.error(), "invalid_client");
    let answer = world.post("/revoke", &[("client_id", client_id.as_str())]).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    assert!(log(&world).await.lines.is_empty());
    assert_eq!(world.refresh(&client_id, text(&tokens, "refresh_token")).await.status, 200);
}

#[tokio::test]
async fn a_role_that_is_taken_away_ends_the_access_tokens_that_carry_it() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    world.clock.advance(Duration::from_secs(100));
    world.entra.set_roles(identity::ALICE, vec!["Task.Read", "Task.Write"]);
    let more = world.refresh(&client_id, text(&tokens, "refresh_token")).await.json();
    assert!(log(&world).await.lines.is_empty(), "a role more takes nothing back");
    world.clock.advance(Duration::from_secs(100));
    world.entra.set_roles(identity::ALICE, vec!["Task.Write"]);
    let less = world.refresh(&client_id, text(&more, "refresh_token")).await.json();
    let log = log(&world).await;
    let issued = |tokens: &Value| Timestamp::from_secs(world.claims(tokens)["iat"].as_u64().unwrap());
    assert_eq!(log.lines.len(), 1);
    assert!(issued(&more) < log.lines[0].issued_before, "older ones are over");
    assert!(issued(&less) >= log.lines[0].issued_before, "the new one is good");
    assert_eq!(world.refresh(&client_id, text(&less, "refresh_token")).await.status, 200, "and the grant goes on");
}
