//! The endpoints for scripts and for people without an MCP client.

use super::*;

const LOGIN: &str = "/auth/login";

fn login(challenge: Option<&str>) -> Vec<(&'static str, String)> {
    let mut request = vec![("resource", RESOURCE.to_owned())];
    if let Some(verifier) = challenge {
        request.push(("code_challenge", URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))));
        request.push(("code_challenge_method", "S256".to_owned()));
    }
    request
}

/// The code on the page that a login ends on.
fn code_of(page: &Answer) -> String {
    assert_eq!(page.status, 200, "{}", page.body);
    let (_, rest) = page.body.split_once("id=\"auth_code\">").unwrap_or_else(|| panic!("no code: {}", page.body));
    rest.split('<').next().unwrap().to_owned()
}

/// Signs Alice in by a link, all the way to the page.
async fn by_link(world: &World, request: &[(&str, String)]) -> String {
    let mut browser = Browser::new(world);
    let page = browser.get(&query(LOGIN, request)).await;
    assert_eq!(page.status, 200, "{}", page.body);
    let departure = browser.decide(&page, "approve").await;
    let arrival = world.entra.sign_in(departure.location().unwrap(), identity::ALICE);
    code_of(&browser.get(&arrival).await)
}

async fn exchange(world: &World, code: &str, verifier: Option<&str>) -> Answer {
    let mut body = json!({ "auth_code": code });
    if let Some(verifier) = verifier {
        body["code_verifier"] = verifier.into();
    }
    world.post_json("/auth/exchange", body).await
}

#[tokio::test]
async fn a_person_signs_in_by_a_link_and_a_script_takes_renews_and_ends_the_tokens() {
    let world = World::new().await;
    let code = by_link(&world, &login(None)).await;
    let answer = exchange(&world, &code, None).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    let tokens = answer.json();
    let claims = world.claims(&tokens);
    assert_eq!((&claims["aud"], &claims["client_id"]), (&json!(RESOURCE), &json!(PLAIN_CLIENT)));
    assert_eq!(tokens["scope"], "read write delete");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    let renewed = world.post("/auth/refresh", &[("refresh_token", refresh), ("scope", "read")]).await;
    assert_eq!((renewed.status, &renewed.json()["scope"]), (200, &json!("read")), "{}", renewed.body);
    let refresh = renewed.json()["refresh_token"].as_str().unwrap().to_owned();
    let ended = world.post_json("/auth/logout", json!({ "token": refresh })).await;
    assert_eq!((ended.status, ended.body.as_str()), (204, ""));
    let over = world.post("/auth/refresh", &[("refresh_token", &refresh)]).await;
    assert_eq!((over.status, over.error().as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_bearer_ends_its_session_and_no_other() {
    let world = World::new().await;
    let code = by_link(&world, &login(None)).await;
    let tokens = exchange(&world, &code, None).await.json();
    let (_, others) = world.signed_in().await;
    let logout = async |token: &Value| {
        let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
        let request = Request::post("/auth/logout").header(header::AUTHORIZATION, bearer);
        world.send(request.body(Body::empty()).unwrap()).await.status
    };
    assert_eq!(logout(&others).await, 204, "it is answered alike, and nothing comes of it");
    assert_eq!(world.state.store.revocations(0).await.unwrap().lines.len(), 0);
    assert_eq!(logout(&tokens).await, 204);
    assert_eq!(world.state.store.revocations(0).await.unwrap().lines.len(), 1);
    assert_eq!(world.post_json("/auth/logout", json!({})).await.status, 400);
}

#[tokio::test]
async fn a_code_on_a_page_is_good_once_and_its_replay_ends_what_it_gave() {
    let world = World::new().await;
    let code = by_link(&world, &login(None)).await;
    let tokens = exchange(&world, &code, None).await.json();
    assert_eq!(exchange(&world, &code, None).await.error(), "invalid_grant");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(world.post("/auth/refresh", &[("refresh_token", refresh)]).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_code_on_a_page_lives_for_a_minute() {
    let world = World::new().await;
    let code = by_link(&world, &login(None)).await;
    world.clock.advance(Duration::from_secs(59));
    let again = by_link(&world, &login(None)).await;
    assert_eq!(exchange(&world, &code, None).await.status, 200, "the control");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(exchange(&world, &again, None).await.error(), "invalid_grant");
}

#[tokio::test]
async fn a_challenge_that_was_given_is_enforced() {
    let world = World::new().await;
    let other = "another-verifier-that-is-long-enough-to-be-one-of-them";
    let code = by_link(&world, &login(Some(VERIFIER))).await;
    for wrong in [None, Some(""), Some("short"), Some(other)] {
        let answer = exchange(&world, &code, wrong).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_grant"), "{wrong:?}");
    }
    // The code of another session: each is bound to its own verifier.
    let theirs = by_link(&world, &login(Some(other))).await;
    assert_eq!(exchange(&world, &theirs, Some(VERIFIER)).await.error(), "invalid_grant");
    assert_eq!(exchange(&world, &code, Some(VERIFIER)).await.status, 200, "the control");
    let without = by_link(&world, &login(None)).await;
    assert_eq!(exchange(&world, &without, Some(VERIFIER)).await.error(), "invalid_grant", "none was given");
}

#[tokio::test]
async fn half_a_challenge_is_no_challenge_and_no_login() {
    let world = World::new().await;
    let good = login(Some(VERIFIER));
    assert_eq!(world.get(&query(LOGIN, &good)).await.status, 200, "the control");
    for bad in [
        with(good.clone(), "code_challenge", None),
        with(good.clone(), "code_challenge_method", None),
        with(good.clone(), "code_challenge_method", Some("plain")),
        with(good.clone(), "code_challenge", Some("short")),
        with(good.clone(), "resource", Some("https://evil.example/mcp")),
        with(good.clone(), "scope", Some("admin")),
        with(good.clone(), "resource", None),
    ] {
        let answer = world.get(&query(LOGIN, &bad)).await;
        assert_eq!((answer.status, answer.location()), (400, None), "{bad:?}");
    }
    assert_eq!(world.get(&format!("{}&resource=x", query(LOGIN, &good))).await.status, 400, "a parameter twice");
}

#[tokio::test]
async fn a_login_by_a_link_is_finished_in_the_browser_that_consented() {
    let world = World::new().await;
    let (mut mine, mut victims) = (Browser::new(&world), Browser::new(&world));
    let page = mine.get(&query(LOGIN, &login(None))).await;
    assert!(page.body.contains("Give it only to a program that you have started"), "{}", page.body);
    let (transaction, csrf) = (page.field("transaction"), page.field("csrf"));
    let stolen = [("transaction", transaction.as_str()), ("csrf", &csrf), ("decision", "approve"), ("scope-read", "1")];
    assert_eq!(victims.send(form("/consent", &stolen)).await.status, 403, "a form that another browser was shown");
    let departure = mine.decide(&page, "approve").await;
    let arrival = world.entra.sign_in(departure.location().unwrap(), identity::ALICE);
    let elsewhere = victims.get(&arrival).await;
    assert_eq!(elsewhere.status, 403, "{}", elsewhere.body);
    assert!(!elsewhere.body.contains("auth_code"));
    assert_eq!(mine.get(&arrival).await.status, 400, "it was ended");
    let page = mine.get(&query(LOGIN, &login(None))).await;
    let declined = mine.decide(&page, "deny").await;
    assert!(declined.body.contains("You are not signed in") && declined.location().is_none(), "{}", declined.body);
}

#[tokio::test]
async fn no_code_or_token_of_these_endpoints_is_of_use_at_the_others() {
    let world = World::new().await;
    let code = by_link(&world, &login(Some(VERIFIER))).await;
    let there = [
        ("grant_type", "authorization_code"),
        ("client_id", PLAIN_CLIENT),
        ("code", &code),
        ("redirect_uri", REDIRECT),
        ("code_verifier", VERIFIER),
    ];
    assert_eq!(world.post("/token", &there).await.error(), "invalid_client");
    let authorize = with(authorize(PLAIN_CLIENT), "redirect_uri", Some(REDIRECT));
    assert_eq!(world.get(&query("/authorize", &authorize)).await.status, 400);
    let tokens = exchange(&world, &code, Some(VERIFIER)).await.json();
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(world.refresh(PLAIN_CLIENT, refresh).await.error(), "invalid_client");
    // The other way round.
    let client_id = world.register(REDIRECT).await;
    let theirs = world.code(&client_id).await;
    assert_eq!(exchange(&world, &theirs, Some(VERIFIER)).await.error(), "invalid_grant");
    let (_, tokens) = world.signed_in().await;
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(world.post("/auth/refresh", &[("refresh_token", refresh)]).await.error(), "invalid_grant");
    assert_eq!(world.redeem(&client_id, &theirs).await.status, 200, "the code was left as it was");
}

#[tokio::test]
async fn a_login_without_a_resource_is_for_the_default_backend() {
    let single = World::with(ISSUER, vec![weather()]).await;
    let code = by_link(&single, &[]).await;
    let tokens = exchange(&single, &code, None).await.json();
    assert_eq!(single.claims(&tokens)["aud"], RESOURCE);
    let info = single.get("/auth/info").await.json();
    assert_eq!((&info["default_resource"], &info["code_lifetime"]), (&json!(RESOURCE), &json!(60)));
    let several = World::new().await;
    assert_eq!(several.get("/auth/info").await.json()["default_resource"], Value::Null);
}

#[tokio::test]
async fn where_they_are_not_turned_on_there_is_nothing() {
    let world = World::new().await;
    let settings = Settings { auth_endpoints: false, ..world.state.settings.clone() };
    let (store, sealer, key) = (Arc::clone(&world.state.store), Sealer::new([7; 32]), SigningKey::generate().unwrap());
    let entra = Arc::clone(&world.state.entra);
    let state = State::new(settings, store, sealer, key, entra, Arc::new(world.clock.clone()));
    let app = router(Arc::new(state), Limits::default());
    for (method, path) in [
        (Method::GET, "/"),
        (Method::GET, "/auth/login"),
        (Method::GET, "/auth/authorize"),
        (Method::GET, "/auth/info"),
        (Method::POST, "/auth/exchange"),
        (Method::POST, "/auth/refresh"),
        (Method::POST, "/auth/logout"),
    ] {
        let request = || Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
        assert_eq!(app.clone().oneshot(request()).await.unwrap().status(), 404, "{path}");
        assert_ne!(world.send(request()).await.status, 404, "{path}, the control");
    }
}

#[tokio::test]
async fn the_other_name_of_the_authorization_endpoint_does_the_same() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let page = world.get(&query("/auth/authorize", &authorize(&client_id))).await;
    assert_eq!((page.status, page.boxes().len()), (200, 2), "{}", page.body);
    assert_eq!(world.send(Request::head("/auth/login").body(Body::empty()).unwrap()).await.status, 405);
}

#[tokio::test]
async fn the_other_name_of_the_authorization_endpoint_refuses_the_same() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for (name, value, error) in [
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("request", Some("eyJ.x.y"), "request_not_supported"),
        ("request_uri", Some("https://evil.example/r"), "request_uri_not_supported"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
    ] {
        let answer = world.get(&query("/auth/authorize", &with(authorize(&client_id), name, value))).await;
        assert!(answer.location().is_some_and(|to| to.starts_with(&format!("{REDIRECT}?"))), "{name} {value:?}");
        assert_eq!(answer.error(), error, "{name} {value:?}");
    }
}

#[tokio::test]
async fn what_a_link_says_of_other_flows_changes_nothing() {
    let world = World::new().await;
    let mut request = login(None);
    for (name, value) in [
        ("response_type", "token"),
        ("response_mode", "fragment"),
        ("request", "eyJ.x.y"),
        ("request_uri", "https://evil.example/r"),
        ("redirect_uri", "https://evil.example/cb"),
        ("client_id", "https://evil.example/app.json"),
        ("state", "x"),
    ] {
        request.push((name, value.to_owned()));
    }
    // It ends on the page, for the gateway's own client, whatever else it says.
    let code = by_link(&world, &request).await;
    let tokens = exchange(&world, &code, None).await.json();
    assert_eq!(world.claims(&tokens)["client_id"], PLAIN_CLIENT);
}
