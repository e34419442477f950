//! Refreshing: rotation, reuse, and asking the identity provider again (OAuth 2.1 section 4.3).

use super::identity::Fault;
use super::*;

fn refresh_token(tokens: &Value) -> String {
    tokens["refresh_token"].as_str().expect("a refresh token").to_owned()
}

async fn refresh_with(world: &World, client_id: &str, token: &str, name: &str, value: &str) -> Answer {
    let parameters =
        [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", token), (name, value)];
    world.post("/token", &parameters).await
}

#[tokio::test]
async fn a_refresh_brings_new_tokens_for_the_same_grant() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    world.clock.advance(Duration::from_secs(800));
    let answer = world.refresh(&client_id, &refresh_token(&tokens)).await;
    assert_eq!((answer.status, answer.header(header::CACHE_CONTROL)), (200, "no-store"));
    let refreshed = answer.json();
    assert_ne!(refresh_token(&refreshed), refresh_token(&tokens));
    let (before, after) = (world.claims(&tokens), world.claims(&refreshed));
    for claim in ["aud", "sub", "client_id", "scope", "tid", "oid", "roles"] {
        assert_eq!(before[claim], after[claim], "{claim}");
    }
    assert_ne!(before["jti"], after["jti"]);
    assert_eq!(after["exp"], json!(NOW.as_secs() + 800 + 900));
    assert_eq!(world.refresh(&client_id, &refresh_token(&refreshed)).await.status, 200);
}

#[tokio::test]
async fn roles_are_read_again_at_each_refresh() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    assert_eq!(world.claims(&tokens)["roles"], json!(["Task.Read"]));
    world.entra.set_roles(identity::ALICE, vec!["Task.Read", "Task.Write"]);
    let more = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    assert_eq!(world.claims(&more)["roles"], json!(["Task.Read", "Task.Write"]));
    world.entra.set_roles(identity::ALICE, vec![]);
    let none = world.refresh(&client_id, &refresh_token(&more)).await.json();
    assert_eq!(world.claims(&none)["roles"], json!([]));
}

#[tokio::test]
async fn a_token_that_was_used_before_ends_the_family() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let second = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    world.clock.advance(Duration::from_secs(11));
    let reused = world.refresh(&client_id, &refresh_token(&tokens)).await;
    assert_eq!((reused.status, reused.error().as_str()), (400, "invalid_grant"));
    let answer = world.refresh(&client_id, &refresh_token(&second)).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn an_older_ancestor_ends_the_family_at_once() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let second = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    let third = world.refresh(&client_id, &refresh_token(&second)).await.json();
    assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.error(), "invalid_grant");
    assert_eq!(world.refresh(&client_id, &refresh_token(&third)).await.error(), "invalid_grant");
}

#[tokio::test]
async fn an_answer_that_was_lost_can_be_asked_for_again_and_is_the_same() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let lost = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    let asked = world.entra.seen().len();
    world.clock.advance(Duration::from_secs(9));
    let again = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    assert_eq!(refresh_token(&lost), refresh_token(&again), "one successor, no fork");
    assert_eq!(world.entra.seen().len(), asked, "the identity provider is not asked twice");
    assert_eq!(world.refresh(&client_id, &refresh_token(&again)).await.status, 200);
}

#[tokio::test]
async fn a_hundred_racers_keep_one_family() {
    let world = Arc::new(World::new().await);
    let (client_id, tokens) = world.signed_in().await;
    let token = refresh_token(&tokens);
    let racers: Vec<_> = (0..100)
        .map(|_| {
            let (world, client_id, token) = (Arc::clone(&world), client_id.clone(), token.clone());
            tokio::spawn(async move { world.refresh(&client_id, &token).await })
        })
        .collect();
    let mut successors = std::collections::HashSet::new();
    for racer in racers {
        let answer = racer.await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        successors.insert(refresh_token(&answer.json()));
    }
    assert_eq!(successors.len(), 1, "every racer has the same successor");
    assert_eq!(world.entra.seen().len(), 2, "one sign-in and one refresh at the identity provider");
    let successor = successors.into_iter().next().unwrap();
    assert_eq!(world.refresh(&client_id, &successor).await.status, 200);
}

#[tokio::test]
async fn who_refreshes_at_another_node_waits_and_whoever_went_away_holds_nobody_up() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let token = refresh_token(&tokens);
    let grant = world.claims(&tokens)["grant_id"].as_str().expect("a grant").to_owned();
    // Another node is at it.
    let (name, other) = (format!("refresh:{grant}"), crate::store::Digest256::of("another node"));
    let until = NOW.plus(Duration::from_secs(20));
    assert!(world.state.store.lease(&name, other, NOW, until).await.unwrap());
    {
        let waiting = world.refresh(&client_id, &token);
        tokio::pin!(waiting);
        let waited = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
        assert!(waited.is_err(), "it does not wait");
        world.state.store.release(&name, other).await.unwrap();
        assert_eq!(waiting.await.status, 200);
    }
    assert!(world.state.store.lease(&name, other, NOW, until).await.unwrap(), "the turn was given back");
    world.state.store.release(&name, other).await.unwrap();
    // A request is dropped while the identity provider is asked; the next one is not held up by it.
    let next = refresh_token(&world.refresh(&client_id, &token).await.json());
    world.entra.set_fault(Fault::Silence);
    let gone = tokio::time::timeout(Duration::from_millis(300), world.refresh(&client_id, &next)).await;
    assert!(gone.is_err(), "it was answered");
    world.entra.set_fault(None);
    let answer = tokio::time::timeout(Duration::from_secs(5), world.refresh(&client_id, &next)).await;
    assert_eq!(answer.expect("it is held up").status, 200);
}

#[tokio::test]
async fn what_does_not_belong_to_the_token_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let other = world.register(REDIRECT).await;
    let token = refresh_token(&tokens);
    assert_eq!(world.refresh(&other, &token).await.error(), "invalid_grant");
    assert_eq!(world.refresh("unknown", &token).await.error(), "invalid_client");
    for (name, value, error) in [
        ("scope", "read delete", "invalid_scope"),
        ("scope", "unknown", "invalid_scope"),
        ("resource", OTHER_RESOURCE, "invalid_target"),
        ("resource", "https://evil.example", "invalid_target"),
    ] {
        assert_eq!(refresh_with(&world, &client_id, &token, name, value).await.error(), error, "{value}");
    }
    let asked = world.entra.seen().len();
    assert_eq!(asked, 1, "none of it was taken to the identity provider");
    assert_eq!(refresh_with(&world, &client_id, &token, "resource", RESOURCE).await.status, 200);
    assert_eq!(world.refresh(&client_id, "unknown").await.error(), "invalid_grant");
    let access = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.refresh(&client_id, access).await.error(), "invalid_grant");
}

#[tokio::test]
async fn asking_for_less_narrows_the_access_token_and_not_the_grant() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let narrow = refresh_with(&world, &client_id, &refresh_token(&tokens), "scope", "read offline_access").await.json();
    assert_eq!((&narrow["scope"], &world.claims(&narrow)["scope"]), (&json!("read"), &json!("read")));
    let whole = world.refresh(&client_id, &refresh_token(&narrow)).await.json();
    assert_eq!(whole["scope"], "read write", "RFC 6749 section 6: the refresh token's scope stays what it was");
}

#[tokio::test]
async fn a_refusal_of_the_identity_provider_ends_the_grant() {
    for (error, code) in [("invalid_grant", 50173), ("invalid_grant", 700_082), ("interaction_required", 50076)] {
        let world = World::new().await;
        let (client_id, tokens) = world.signed_in().await;
        world.entra.set_fault(Fault::Refused(error, code));
        let answer = world.refresh(&client_id, &refresh_token(&tokens)).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{error}");
        assert!(!answer.body.contains("AADSTS") && !answer.body.contains("upstream"));
        world.entra.set_fault(None);
        assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.error(), "invalid_grant");
    }
}

#[tokio::test]
async fn silence_of_the_identity_provider_costs_nothing() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    for fault in [
        Fault::Status(503),
        Fault::Status(429),
        Fault::Refused("temporarily_unavailable", 90033),
        Fault::Refused("invalid_client", 7_000_222),
        Fault::Refused("invalid_scope", 70011),
        Fault::Refused("unheard_of", 1),
        Fault::NoIdToken,
        Fault::ForeignKey,
        Fault::Claim("iss", json!("https://evil.example")),
    ] {
        world.entra.set_fault(fault.clone());
        let answer = world.refresh(&client_id, &refresh_token(&tokens)).await;
        assert_eq!((answer.status, answer.error().as_str()), (503, "temporarily_unavailable"), "{fault:?}");
        assert!(!answer.header(header::RETRY_AFTER).is_empty());
    }
    world.entra.set_fault(None);
    assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.status, 200);
}

#[tokio::test]
async fn a_grant_never_passes_to_another_person() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    world.entra.set_fault(Fault::OtherPerson);
    assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.error(), "invalid_grant");
    world.entra.set_fault(None);
    assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.error(), "invalid_grant", "the grant is over");
}

#[tokio::test]
async fn a_refresh_token_that_lay_too_long_is_gone() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    world.clock.advance(Duration::from_secs(30 * 24 * 3600 + 1));
    assert_eq!(world.refresh(&client_id, &refresh_token(&tokens)).await.error(), "invalid_grant");
}

/// A client of the configuration with these grant types.
fn portal(grants: Grants) -> Clients {
    Clients::any().with_configured([Configured {
        id: "portal".to_owned(),
        name: None,
        tenant: identity::TENANT.to_owned(),
        redirect_uris: vec![REDIRECT.to_owned()],
        credential: Credential::Public,
        grants,
        roles: Vec::new(),
    }])
}

#[tokio::test]
async fn a_grant_type_that_is_taken_away_ends_what_was_given_by_it() {
    let all = Grants { code: true, refresh: true, device: true, ..Grants::default() };
    let mut world = World::with_all(ISSUER, vec![weather(), crm()], None, portal(all)).await;
    let code = world.code("portal").await;
    let tokens = world.redeem("portal", &code).await.json();
    let control = world.refresh("portal", &refresh_token(&tokens)).await;
    assert_eq!(control.status, 200, "the control: {}", control.body);
    let held = refresh_token(&control.json());
    let code = world.code("portal").await;
    world.reload(portal(Grants { refresh: false, ..all }));
    let answer = world.refresh("portal", &held).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unauthorized_client"));
    world.reload(portal(Grants { code: false, ..all }));
    let answer = world.redeem("portal", &code).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "unauthorized_client"));
    // Nothing was spent meanwhile.
    world.reload(portal(all));
    assert_eq!(world.redeem("portal", &code).await.status, 200);
    assert_eq!(world.refresh("portal", &held).await.status, 200);
}
