//! Remembered consent: for whom, from where, for how long, and what ends it.

use super::assertions::configured;
use super::*;
use crate::jose::client_assertion::ClientKeys;
use crate::store::{Digest256, Whose};

const LIFETIME: Duration = Duration::from_hours(24 * 30);

async fn world() -> World {
    World::remembering(ISSUER, vec![weather(), crm()], Some(LIFETIME)).await
}

fn asking(client_id: &str) -> Vec<(&'static str, String)> {
    with(authorize(client_id), "prompt", None)
}

/// An authorization request as a browser sends it that was opened by a program, or by another site.
fn opened(request: &[(&str, String)], site: &str) -> Request<Body> {
    let mut opened = Request::get(query("/authorize", request)).body(Body::empty()).unwrap();
    if !site.is_empty() {
        opened.headers_mut().insert("sec-fetch-site", site.parse().unwrap());
    }
    opened
}

/// A browser in which somebody agreed, with the box ticked or not.
async fn agreed<'w>(world: &'w World, client_id: &str, remember: bool, oid: &str) -> Browser<'w> {
    let mut browser = Browser::new(world);
    let page = browser.open(&asking(client_id)).await;
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let mut fields = vec![("transaction", &*transaction), ("csrf", &csrf), ("decision", "approve")];
    fields.extend([("scope-read", "1"), ("scope-write", "1")]);
    fields.extend(remember.then_some(("remember", "1")));
    let departure = browser.send(form("/consent", &fields)).await.location().unwrap().to_owned();
    let back = browser.get(&world.entra.sign_in(&departure, oid)).await;
    assert!(back.parameter("code").is_some(), "{:?}", back.location());
    browser
}

/// Whether the request leads to the identity provider, not to the consent page.
fn is_silent(answer: &Answer) -> bool {
    assert!(answer.status == 303 || answer.body.contains("to act for you?"), "{}: {}", answer.status, answer.body);
    answer.status == 303
}

#[tokio::test]
async fn who_agreed_and_ticked_the_box_is_not_asked_again() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    let answer = browser.send(opened(&asking(&client_id), "none")).await;
    assert!(is_silent(&answer));
    let back = browser.get(&world.entra.sign_in(answer.location().unwrap(), identity::ALICE)).await;
    assert!(back.parameter("code").is_some());
    let mut other = agreed(&world, &client_id, false, identity::ALICE).await;
    assert!(!is_silent(&other.send(opened(&asking(&client_id), "none")).await), "the box was not ticked");
    let page = Browser::new(&world).open(&asking(&client_id)).await;
    assert!(
        page.body.contains("Do not ask me again for 30 days")
            && !page.body.contains("name=\"remember\" value=\"1\" checked")
    );
}

#[tokio::test]
async fn nothing_is_remembered_unless_the_operator_allows_it() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    assert!(browser.cookies.keys().all(|name| !name.contains("agreed")));
    assert!(!is_silent(&browser.send(opened(&asking(&client_id), "none")).await));
    assert!(!Browser::new(&world).open(&asking(&client_id)).await.body.contains("name=\"remember\""));
}

#[tokio::test]
async fn another_site_cannot_use_what_a_person_remembers() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    for site in ["cross-site", "same-site", "same-origin", ""] {
        assert!(!is_silent(&browser.send(opened(&asking(&client_id), site)).await), "{site}");
    }
    let pairs = asking(&client_id);
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut posted = form("/authorize", &pairs);
    posted.headers_mut().insert("sec-fetch-site", "none".parse().unwrap());
    assert!(!is_silent(&browser.send(posted).await));
    assert!(is_silent(&browser.send(opened(&asking(&client_id), "none")).await), "a control");
}

#[tokio::test]
async fn a_client_that_anybody_can_pass_for_is_asked_about_each_time() {
    let key = SigningKey::generate().unwrap();
    let keys = Credential::Keys(ClientKeys::parse(&json!({ "keys": [key.public_jwk()] })).unwrap());
    let secret = Credential::Secret(Digest256::of("a secret"));
    let clients = [("public", Credential::Public), ("secret", secret), ("keys", keys)];
    let clients = Clients::any().with_configured(clients.map(|(id, credential)| configured(id, credential, false)));
    let world = World::with_all(ISSUER, vec![weather(), crm()], Some(LIFETIME), clients).await;
    for (id, remembers) in [("public", false), ("secret", true), ("keys", true)] {
        let page = Browser::new(&world).open(&asking(id)).await;
        assert_eq!(page.body.contains("name=\"remember\""), remembers, "{id}");
        // Ticked where it is not offered, it is nothing.
        let mut browser = agreed(&world, id, true, identity::ALICE).await;
        assert_eq!(is_silent(&browser.send(opened(&asking(id), "none")).await), remembers, "{id}");
    }
}

#[tokio::test]
async fn another_account_is_asked_itself_and_gets_nothing_before() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    let departure = browser.send(opened(&asking(&client_id), "none")).await.location().unwrap().to_owned();
    let page = browser.get(&world.entra.sign_in(&departure, identity::BOB)).await;
    assert!(!is_silent(&page) && page.location().is_none());
    assert!(
        !is_silent(&browser.send(opened(&asking(&client_id), "none")).await),
        "and what was agreed to is forgotten"
    );
    let departure = browser.decide(&page, "approve").await.location().unwrap().to_owned();
    let back = browser.get(&world.entra.sign_in(&departure, identity::BOB)).await;
    let tokens = world.redeem(&client_id, &back.parameter("code").unwrap()).await.json();
    assert_eq!(world.claims(&tokens)["oid"], identity::BOB);
}

#[tokio::test]
async fn what_was_not_agreed_to_is_asked() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let other = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    let fewer = with(asking(&client_id), "scope", Some("read"));
    assert!(is_silent(&browser.send(opened(&fewer, "none")).await), "less than was agreed to");
    let port = with(asking(&client_id), "redirect_uri", Some("http://127.0.0.1:40000/callback"));
    assert!(is_silent(&browser.send(opened(&port, "none")).await), "the same program on another port");
    for (name, value) in
        [("scope", "read delete"), ("resource", OTHER_RESOURCE), ("client_id", &other), ("prompt", "consent")]
    {
        let mut request = with(asking(&client_id), name, Some(value));
        if name == "resource" {
            request = with(request, "scope", Some("read"));
        }
        assert!(!is_silent(&browser.send(opened(&request, "none")).await), "{name}");
    }
}

#[tokio::test]
async fn a_client_that_changed_is_another_client() {
    let world = world().await;
    let mut metadata = metadata_of(REDIRECT);
    let client_id =
        world.post_json("/register", metadata.clone()).await.json()["client_id"].as_str().unwrap().to_owned();
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    metadata["client_name"] = json!("Somebody else");
    let sent = browser.cookies.clone();
    let other = world.post_json("/register", metadata).await.json()["client_id"].as_str().unwrap().to_owned();
    // Its cookie under the other client's name: sealed for its own name only.
    let mut elsewhere = agreed(&world, &other, true, identity::ALICE).await;
    let name = |browser: &Browser<'_>| browser.cookies.keys().find(|name| name.contains("agreed")).unwrap().clone();
    let (mine, theirs) = (name(&browser), name(&elsewhere));
    elsewhere.cookies.insert(theirs, sent[&mine].clone());
    assert!(!is_silent(&elsewhere.send(opened(&asking(&other), "none")).await));
    browser.cookies.insert(mine, "forged".to_owned());
    assert!(!is_silent(&browser.send(opened(&asking(&client_id), "none")).await));
}

#[tokio::test]
async fn it_ends_when_the_operator_said_whatever_the_browser_keeps() {
    let world = world().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
    world.clock.advance(LIFETIME.checked_sub(Duration::from_secs(1)).unwrap());
    assert!(is_silent(&browser.send(opened(&asking(&client_id), "none")).await));
    world.clock.advance(Duration::from_secs(1));
    assert!(!is_silent(&browser.send(opened(&asking(&client_id), "none")).await));
}

#[tokio::test]
async fn it_ends_with_the_sessions_that_an_operator_ends() {
    let user = |oid: &str| Whose::User { tid: identity::TENANT.to_owned(), oid: oid.to_owned() };
    let tenant = Whose::Tenant(identity::TENANT.to_owned());
    for (whose, others) in [
        (Ok(user(identity::ALICE)), vec![user(identity::BOB)]),
        (Err("the client"), vec![Whose::Client("another".to_owned())]),
        (Ok(tenant), vec![Whose::Tenant("22222222-2222-4222-8222-222222222222".to_owned())]),
        (Ok(Whose::Everybody), vec![Whose::Grant("a grant".to_owned())]),
    ] {
        let world = world().await;
        let client_id = world.register(REDIRECT).await;
        let whose = whose.unwrap_or_else(|_client| Whose::Client(client_id.clone()));
        let mut browser = agreed(&world, &client_id, true, identity::ALICE).await;
        world.clock.advance(Duration::from_mins(1));
        for other in &others {
            world.state.store.revoke(other, world.clock.now()).await.unwrap();
        }
        assert!(is_silent(&browser.send(opened(&asking(&client_id), "none")).await), "{others:?} are others");
        world.state.store.revoke(&whose, world.clock.now()).await.unwrap();
        assert!(!is_silent(&browser.send(opened(&asking(&client_id), "none")).await), "{whose:?}");
        world.clock.advance(LIFETIME / 2);
        world.state.store.purge(world.clock.now()).await.unwrap();
        assert!(!is_silent(&browser.send(opened(&asking(&client_id), "none")).await), "{whose:?}, weeks later");
        let mut again = agreed(&world, &client_id, true, identity::ALICE).await;
        assert!(is_silent(&again.send(opened(&asking(&client_id), "none")).await), "who agrees afterwards has agreed");
    }
}
