//! Back from the identity provider: which browser, which login, whose words.

use super::identity::Fault;
use super::*;

async fn departed<'w>(world: &'w World, client_id: &str) -> (Browser<'w>, String) {
    let mut browser = Browser::new(world);
    let departure = browser.depart(&authorize(client_id)).await;
    (browser, departure)
}

#[tokio::test]
async fn a_sign_in_ends_at_the_client_with_a_code_its_state_and_our_issuer() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let answer = Browser::new(&world).sign_in(&authorize(&client_id)).await;
    assert!(answer.location().unwrap().starts_with(&format!("{REDIRECT}?")));
    assert_eq!(answer.parameter("code").unwrap().len(), 43);
    assert_eq!(answer.parameter("state").as_deref(), Some("client state/+ &<"));
    assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
    assert_eq!(
        (answer.header(header::CACHE_CONTROL), answer.header(header::REFERRER_POLICY)),
        ("no-store", "no-referrer")
    );
}

#[tokio::test]
async fn the_identity_provider_gets_our_secret_in_the_form_and_never_a_resource() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await;
    let seen = world.entra.seen();
    assert_eq!(seen.len(), 2);
    for (pairs, headers) in seen.iter().zip(world.entra.seen_headers()) {
        assert!(pairs.contains(&("client_secret".to_owned(), identity::SECRET.to_owned())));
        assert!(!pairs.iter().any(|(name, _)| name == "resource"));
        assert!(!headers.contains_key(header::ORIGIN) && !headers.contains_key(header::AUTHORIZATION));
    }
}

#[tokio::test]
async fn another_browser_ends_the_login_and_gets_nothing() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    let answer = Browser::new(&world).get(&back).await;
    assert_eq!((answer.status, answer.location()), (403, None));
    assert_eq!(browser.get(&back).await.status, 400, "the login is over for the first browser too");
    assert!(world.entra.seen().is_empty(), "the identity provider's code was never used");
}

#[tokio::test]
async fn a_cookie_of_another_login_or_a_forged_or_doubled_one_does_not_help() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for twist in ["other login", "forged", "doubled", "cut"] {
        let (mut browser, departure) = departed(&world, &client_id).await;
        let (name, value) = browser
            .cookies
            .iter()
            .find(|(name, _)| name.contains("login"))
            .map(|(n, v)| (n.clone(), v.clone()))
            .unwrap();
        let cookie = match twist {
            "other login" => {
                let (other, _) = departed(&world, &client_id).await;
                let value = other.cookies.iter().find(|(name, _)| name.contains("login")).unwrap().1.clone();
                format!("{name}={value}")
            }
            "forged" => format!("{name}=x"),
            "doubled" => format!("{name}={value}; {name}={value}"),
            _ => format!("{name}={}", value.get(1..).unwrap()),
        };
        browser.cookies.clear();
        let back = world.entra.sign_in(&departure, identity::ALICE);
        let request = Request::get(&back).header(header::COOKIE, cookie).body(Body::empty()).unwrap();
        assert_eq!(world.send(request).await.status, 403, "{twist}");
    }
}

#[tokio::test]
async fn a_state_that_is_missing_unknown_used_or_late_is_a_page() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    for path in [
        "/auth/callback".to_owned(),
        "/auth/callback?code=x".to_owned(),
        "/auth/callback?code=x&state=unknown".to_owned(),
        format!("{back}&state=two"),
    ] {
        let answer = browser.get(&path).await;
        assert_eq!((answer.status, answer.location()), (400, None), "{path}");
    }
    assert!(browser.get(&back).await.parameter("code").is_some());
    let again = browser.get(&back).await;
    assert_eq!((again.status, again.location()), (400, None));
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    world.clock.advance(Duration::from_secs(601));
    assert_eq!(browser.get(&back).await.status, 400);
}

#[tokio::test]
async fn a_login_that_nobody_consented_to_has_no_callback() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let transaction = browser.open(&authorize(&client_id)).await.field("transaction");
    let path = query("/auth/callback", &[("code", "x".to_owned()), ("state", transaction)]);
    let answer = browser.get(&path).await;
    assert_eq!((answer.status, answer.location()), (403, None));
}

#[tokio::test]
async fn an_answer_that_contradicts_itself_is_refused() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for more in ["&error=access_denied", "&iss=https%3A%2F%2Fevil.example", "&code=other"] {
        let (mut browser, departure) = departed(&world, &client_id).await;
        let back = world.entra.sign_in(&departure, identity::ALICE);
        let answer = browser.get(&format!("{back}{more}")).await;
        assert_eq!((answer.status, answer.location()), (400, None), "{more}");
    }
    assert!(world.entra.seen().is_empty());
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    let own = query("", &[("iss", format!("{}/{}/v2.0", world.entra.origin, identity::TENANT))]);
    let answer = browser.get(&format!("{back}&{}", own.get(1..).unwrap())).await;
    assert!(answer.parameter("code").is_some(), "its own issuer is fine");
}

#[tokio::test]
async fn only_a_get_finishes_a_login() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    for (method, status) in [(Method::HEAD, 405), (Method::POST, 405), (Method::PUT, 405)] {
        let request = Request::builder().method(method.clone()).uri(&back).body(Body::empty()).unwrap();
        assert_eq!(browser.send(request).await.status, status, "{method}");
    }
    let slash = back.replace("/auth/callback", "/auth/callback/");
    assert_eq!(browser.get(&slash).await.status, 404);
    assert!(browser.get(&back).await.parameter("code").is_some());
}

#[tokio::test]
async fn a_long_code_of_the_identity_provider_is_taken_to_it() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let state = world.entra.asked(&departure)["state"].clone();
    let long = "0.".repeat(8000);
    let answer = browser.get(&query("/auth/callback", &[("code", long.clone()), ("state", state)])).await;
    assert_eq!(answer.error(), "access_denied", "the provider does not know it");
    assert!(world.entra.seen()[0].contains(&("code".to_owned(), long)));
}

#[tokio::test]
async fn the_words_of_the_identity_provider_reach_nobody_and_ours_say_what_to_do() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for (error, description, expected, advice) in [
        ("access_denied", "AADSTS65004: User declined <script>alert(1)</script>", "access_denied", "declined"),
        ("interaction_required", "AADSTS53003: Access has been blocked", "access_denied", "administrator"),
        ("server_error", "AADSTS90033: A transient error", "temporarily_unavailable", "moment"),
        ("temporarily_unavailable", "", "temporarily_unavailable", "moment"),
        ("invalid_client", "AADSTS650053: no such scope", "server_error", "administrator"),
        ("<script>", "x\r\nx", "server_error", "administrator"),
    ] {
        let (mut browser, departure) = departed(&world, &client_id).await;
        let answer = browser.get(&world.entra.fail(&departure, error, description)).await;
        assert_eq!(answer.error(), expected, "{error} {description}");
        let text = answer.parameter("error_description").unwrap();
        assert!(text.contains(advice), "{text}");
        assert!(!text.contains("AADSTS") && !answer.location().unwrap().contains("%3Cscript"), "{text}");
        assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
    }
}

#[tokio::test]
async fn an_id_token_with_one_thing_wrong_signs_nobody_in() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let wrong = |name, value: &str| Fault::Claim(name, json!(value));
    for fault in [
        wrong("nonce", "another"),
        Fault::Claim("nonce", Value::Null),
        wrong("aud", "another"),
        wrong("iss", "https://login.microsoftonline.com/x/v2.0"),
        wrong("tid", "22222222-2222-4222-8222-222222222222"),
        wrong("ver", "1.0"),
        Fault::Claim("exp", json!(NOW.as_secs() - 3600)),
        Fault::ForeignKey,
        Fault::NoIdToken,
    ] {
        let (mut browser, departure) = departed(&world, &client_id).await;
        let back = world.entra.sign_in(&departure, identity::ALICE);
        world.entra.set_fault(fault.clone());
        let answer = browser.get(&back).await;
        assert_eq!((answer.error().as_str(), answer.parameter("code")), ("server_error", None), "{fault:?}");
        world.entra.set_fault(None);
    }
    assert!(!world.code(&client_id).await.is_empty());
}

#[tokio::test]
async fn a_person_of_a_directory_that_is_not_listed_is_told_to_take_another_account() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let back = world.entra.sign_in(&departure, identity::ALICE);
    world.entra.set_fault(Fault::OtherDirectory("22222222-2222-4222-8222-222222222222"));
    let answer = browser.get(&back).await;
    assert_eq!((answer.error().as_str(), answer.parameter("code")), ("access_denied", None));
    let words = answer.parameter("error_description").unwrap();
    assert!(words.contains("another organization") && words.contains("another account"), "{words}");
    world.entra.set_fault(None);
    assert!(!world.code(&client_id).await.is_empty(), "the control");
}

#[tokio::test]
async fn a_code_of_another_login_is_worthless_here() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let (_attacker, stolen) = departed(&world, &client_id).await;
    let (mut browser, departure) = departed(&world, &client_id).await;
    let foreign = Url::parse(&format!("x:{}", world.entra.sign_in(&stolen, identity::BOB))).unwrap();
    let code = foreign.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let state = world.entra.asked(&departure)["state"].clone();
    let answer = browser.get(&query("/auth/callback", &[("code", code), ("state", state)])).await;
    assert_eq!((answer.error().as_str(), answer.parameter("code")), ("access_denied", None));
}

#[tokio::test]
async fn an_identity_provider_that_does_not_answer_is_said_so() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for (fault, error) in [
        (Fault::Status(503), "temporarily_unavailable"),
        (Fault::Status(429), "temporarily_unavailable"),
        (Fault::Refused("invalid_client", 7_000_222), "server_error"),
        (Fault::Refused("invalid_grant", 50105), "access_denied"),
    ] {
        let (mut browser, departure) = departed(&world, &client_id).await;
        let back = world.entra.sign_in(&departure, identity::ALICE);
        world.entra.set_fault(fault.clone());
        assert_eq!(browser.get(&back).await.error(), error, "{fault:?}");
        world.entra.set_fault(None);
    }
}

#[tokio::test]
async fn a_plain_http_gateway_on_this_machine_has_cookies_without_the_prefix() {
    let issuer = "http://127.0.0.1:8080";
    let world = World::with(issuer, vec![resource("w", "http://127.0.0.1:8080/mcp", &[("read", "Read")])]).await;
    let client_id = world.register(REDIRECT).await;
    let request = with(with(authorize(&client_id), "resource", None), "scope", Some("read"));
    let mut browser = Browser::new(&world);
    assert!(browser.sign_in(&request).await.parameter("code").is_some());
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies.keys());
}

#[tokio::test]
async fn of_two_logins_the_document_that_was_read_last_counts() {
    use crate::store::{Client, ClientKeys};
    let world = World::new().await;
    let id = "https://client.example/app.json";
    let read = |at: u64, keys: Option<ClientKeys>| Client {
        client_id: id.to_owned(),
        client_name: None,
        redirect_uris: vec![REDIRECT.to_owned()],
        application_type: "native".to_owned(),
        may_refresh: true,
        device: false,
        registered_at: NOW.as_secs() + at,
        keys,
    };
    let keys = || Some(ClientKeys::Inline(json!({ "keys": [SigningKey::generate().unwrap().public_jwk()] })));
    let arrive = async |document: Client| {
        let login = crate::store::Login { client_id: id.to_owned(), document: Some(Box::new(document)), ..login() };
        let client = clients::of_login(&world.state, &login).await.unwrap().unwrap();
        let kept = world.state.store.client(id).await.unwrap().unwrap();
        assert_eq!(client.keys.is_some(), kept.keys.is_some());
        kept.keys.is_some()
    };
    assert!(!arrive(read(0, None)).await, "public, as its document said");
    assert!(arrive(read(300, keys())).await, "it has turned to keys");
    assert!(arrive(read(200, None)).await, "a login that began before that makes it public no more");
    assert!(!arrive(read(600, None)).await, "the control: it has turned back");
}

/// A login of nobody in particular.
fn login() -> crate::store::Login {
    crate::store::Login {
        client_id: String::new(),
        document: None,
        redirect_uri: REDIRECT.to_owned(),
        state: None,
        code_challenge: None,
        resource: RESOURCE.to_owned(),
        scopes: Vec::new(),
        hints: Vec::new(),
        csrf: String::new(),
        binding: None,
        nonce: None,
        verifier: None,
        remember: false,
        remembered_of: None,
        way: crate::store::Way::Redirect,
    }
}
