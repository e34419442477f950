//! Devices that wait for a person (RFC 8628).

use super::*;

const PHONE: &str = "203.0.113.7";

async fn register(world: &World) -> String {
    let metadata = json!({ "client_name": "A television", "grant_types": [DEVICE_GRANT, "refresh_token"] });
    let answer = world.post_json("/register", metadata).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    let registered = answer.json();
    assert_eq!((&registered["redirect_uris"], &registered["response_types"]), (&json!([]), &json!([])));
    registered["client_id"].as_str().unwrap().to_owned()
}

async fn ask(world: &World, client_id: &str) -> Value {
    let form = [("client_id", client_id), ("resource", RESOURCE), ("scope", "read write")];
    let mut request = form_of("/device_authorization", &form);
    request.extensions_mut().insert(crate::limit::ClientAddress::of(PHONE.parse().unwrap()));
    let answer = world.send(request).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"), "{}", answer.body);
    answer.json()
}

fn form_of(path: &str, parameters: &[(&str, &str)]) -> Request<Body> {
    super::form(path, parameters)
}

async fn poll(world: &World, client_id: &str, asked: &Value) -> Answer {
    world.clock.advance(Duration::from_secs(5));
    poll_at_once(world, client_id, asked).await
}

async fn poll_at_once(world: &World, client_id: &str, asked: &Value) -> Answer {
    let code = asked["device_code"].as_str().unwrap();
    world.post("/token", &[("grant_type", DEVICE_GRANT), ("client_id", client_id), ("device_code", code)]).await
}

/// The consent page behind the code that a device shows.
async fn enter(browser: &mut Browser<'_>, code: &str, address: &str) -> Answer {
    let mut request = form_of("/device", &[("user_code", code)]);
    request.extensions_mut().insert(crate::limit::ClientAddress::of(address.parse().unwrap()));
    browser.send(request).await
}

async fn sign_in(world: &World, asked: &Value) -> Answer {
    let mut browser = Browser::new(world);
    let page = enter(&mut browser, asked["user_code"].as_str().unwrap(), PHONE).await;
    let departure = browser.decide(&page, "approve").await;
    let arrival = world.entra.sign_in(departure.location().unwrap(), identity::ALICE);
    browser.get(&arrival).await
}

#[tokio::test]
async fn a_device_waits_until_a_person_has_entered_its_code_and_signed_in() {
    let world = World::new().await;
    let client_id = register(&world).await;
    let asked = ask(&world, &client_id).await;
    assert_eq!((&asked["expires_in"], &asked["interval"]), (&json!(600), &json!(5)));
    let complete = asked["verification_uri_complete"].as_str().unwrap();
    assert_eq!(asked["verification_uri"], format!("{ISSUER}/device"));
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "authorization_pending");
    let mut browser = Browser::new(&world);
    let shown = browser.get(complete.strip_prefix(ISSUER).unwrap()).await;
    let code = asked["user_code"].as_str().unwrap();
    assert!(shown.status == 200 && shown.body.contains(code) && !shown.body.contains("transaction"), "{}", shown.body);
    let page = enter(&mut browser, code, PHONE).await;
    for told in ["A television", PHONE, "just now", "a device in front of you", "Nobody has verified it"] {
        assert!(page.body.contains(told), "{told}: {}", page.body);
    }
    assert!(!page.body.contains("not where you are now"));
    let departure = browser.decide(&page, "approve").await;
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "authorization_pending", "consent is not a sign-in");
    let arrival = world.entra.sign_in(departure.location().unwrap(), identity::ALICE);
    let done = browser.get(&arrival).await;
    assert!(done.body.contains("Your device goes on by itself"), "{}", done.body);
    let answer = poll(&world, &client_id, &asked).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let tokens = answer.json();
    let claims = world.claims(&tokens);
    assert_eq!((&claims["aud"], &claims["client_id"]), (&json!(RESOURCE), &json!(client_id)));
    assert_eq!(tokens["scope"], "read write");
    let refresh = tokens["refresh_token"].as_str().unwrap();
    assert_eq!(world.refresh(&client_id, refresh).await.status, 200);
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "invalid_grant", "it is good once");
}

#[tokio::test]
async fn who_asks_too_often_is_slowed_down_and_loses_nothing() {
    let world = World::new().await;
    let client_id = register(&world).await;
    let asked = ask(&world, &client_id).await;
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "authorization_pending");
    assert_eq!(poll_at_once(&world, &client_id, &asked).await.error(), "slow_down");
    for _ in 0..10 {
        assert_eq!(
            poll(&world, &client_id, &asked).await.error(),
            "authorization_pending",
            "an honest pace is never one"
        );
    }
    assert!(sign_in(&world, &asked).await.body.contains("You are signed in"));
    assert_eq!(poll_at_once(&world, &client_id, &asked).await.status, 200);
}

#[tokio::test]
async fn a_person_who_says_no_is_believed_at_once_and_nobody_can_say_yes_after() {
    let world = World::new().await;
    let client_id = register(&world).await;
    let asked = ask(&world, &client_id).await;
    let code = asked["user_code"].as_str().unwrap();
    let (mut one, mut other) = (Browser::new(&world), Browser::new(&world));
    let (first, second) = (enter(&mut one, code, PHONE).await, enter(&mut other, code, "198.51.100.1").await);
    assert!(second.body.contains("not where you are now"), "{}", second.body);
    let declined = one.decide(&first, "deny").await;
    assert!(declined.body.contains("You are not signed in"), "{}", declined.body);
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "access_denied");
    let departure = other.decide(&second, "approve").await;
    let arrival = world.entra.sign_in(departure.location().unwrap(), identity::ALICE);
    assert_eq!(other.get(&arrival).await.status, 400);
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "access_denied");
    assert!(enter(&mut one, code, PHONE).await.body.contains("not known here"), "the code is used up");
}

#[tokio::test]
async fn a_request_is_decided_once_and_only_the_first_sign_in_counts() {
    let world = World::new().await;
    let client_id = register(&world).await;
    let asked = ask(&world, &client_id).await;
    let code = asked["user_code"].as_str().unwrap();
    let (mut one, mut other) = (Browser::new(&world), Browser::new(&world));
    let (first, second) = (enter(&mut one, code, PHONE).await, enter(&mut other, code, PHONE).await);
    let (first, second) = (one.decide(&first, "approve").await, other.decide(&second, "approve").await);
    let arrive = |answer: &Answer, who| world.entra.sign_in(answer.location().unwrap(), who);
    let (mine, theirs) = (arrive(&first, identity::ALICE), arrive(&second, identity::ALICE));
    assert_eq!(other.get(&mine).await.status, 403, "in another browser");
    let (mine, theirs) = (one.get(&mine).await, other.get(&theirs).await);
    assert_eq!((mine.status, theirs.status), (400, 200), "the first was ended by its visit elsewhere");
    assert_eq!(poll(&world, &client_id, &asked).await.status, 200);
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes() {
    let world = World::new().await;
    let client_id = register(&world).await;
    let asked = ask(&world, &client_id).await;
    world.clock.advance(Duration::from_secs(590));
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "authorization_pending", "the control");
    world.clock.advance(Duration::from_secs(5));
    assert_eq!(poll(&world, &client_id, &asked).await.error(), "expired_token");
    let mut browser = Browser::new(&world);
    let page = enter(&mut browser, asked["user_code"].as_str().unwrap(), PHONE).await;
    assert!(page.status == 400 && page.body.contains("not known here"), "{}", page.body);
}

#[tokio::test]
async fn a_device_code_is_its_clients_and_of_use_nowhere_else() {
    let world = World::new().await;
    let (client_id, other) = (register(&world).await, register(&world).await);
    let asked = ask(&world, &client_id).await;
    assert_eq!(poll(&world, &other, &asked).await.error(), "expired_token");
    let device_code = asked["device_code"].as_str().unwrap();
    // Neither code names a login to consent to, or to come back from.
    for name in [device_code, asked["user_code"].as_str().unwrap()] {
        let consent = world.post("/consent", &[("transaction", name), ("csrf", ""), ("decision", "approve")]).await;
        assert!(matches!(consent.status, 400 | 403), "{}", consent.body);
    }
    assert!(sign_in(&world, &asked).await.body.contains("You are signed in"));
    assert_eq!(poll(&world, &other, &asked).await.error(), "invalid_grant", "another client");
    let elsewhere = [
        ("grant_type", DEVICE_GRANT),
        ("client_id", client_id.as_str()),
        ("device_code", device_code),
        ("resource", OTHER_RESOURCE),
    ];
    assert_eq!(world.post("/token", &elsewhere).await.error(), "invalid_target");
    assert_eq!(poll(&world, &client_id, &asked).await.status, 200, "the control");
}

#[tokio::test]
async fn a_client_that_did_not_say_that_it_is_a_device_is_none() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let answer = world.post("/device_authorization", &[("client_id", &client_id), ("resource", RESOURCE)]).await;
    assert_eq!(answer.error(), "unauthorized_client");
    let device = register(&world).await;
    for (name, value, error) in [
        ("client_id", "nobody", "invalid_client"),
        ("resource", "https://evil.example/mcp", "invalid_target"),
        ("scope", "admin", "invalid_scope"),
    ] {
        let mut form = vec![("client_id", device.as_str()), ("resource", RESOURCE), ("scope", "read")];
        form.retain(|(known, _)| *known != name);
        form.push((name, value));
        assert_eq!(world.post("/device_authorization", &form).await.error(), error, "{name}");
    }
    assert_eq!(world.get(&query("/authorize", &authorize(&device))).await.status, 400, "it is sent back to nowhere");
    let cross = form_of("/device", &[("user_code", "BCDF-GHJK")]);
    let (mut parts, body) = cross.into_parts();
    parts.headers.insert("sec-fetch-site", "cross-site".parse().unwrap());
    assert_eq!(world.send(Request::from_parts(parts, body)).await.status, 403, "a form of another site");
}

#[tokio::test]
async fn metadata_names_the_endpoint_and_where_it_is_off_there_is_nothing() {
    let world = World::new().await;
    let metadata = |app: Router| async move {
        let request = Request::get("/.well-known/oauth-authorization-server").body(Body::empty()).unwrap();
        let body = app.oneshot(request).await.unwrap().into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice::<Value>(&body).unwrap()
    };
    let on = metadata(world.app.clone()).await;
    assert_eq!(on["device_authorization_endpoint"], format!("{ISSUER}/device_authorization"));
    assert!(on["grant_types_supported"].as_array().unwrap().contains(&json!(DEVICE_GRANT)));
    let settings = Settings { device_authorization: false, ..world.state.settings.clone() };
    let (store, key) = (Arc::clone(&world.state.store), SigningKey::generate().unwrap());
    let (entra, clock) = (Arc::clone(&world.state.entra), Arc::new(world.clock.clone()));
    let app = router(Arc::new(State::new(settings, store, Sealer::new([7; 32]), key, entra, clock)), Limits::default());
    let off = metadata(app.clone()).await;
    assert!(off.get("device_authorization_endpoint").is_none());
    assert!(!off["grant_types_supported"].as_array().unwrap().contains(&json!(DEVICE_GRANT)));
    for path in ["/device", "/device_authorization"] {
        let request = form_of(path, &[]);
        assert_eq!(app.clone().oneshot(request).await.unwrap().status(), 404, "{path}");
    }
    let client_id = register(&world).await;
    let poll = form_of("/token", &[("grant_type", DEVICE_GRANT), ("client_id", &client_id), ("device_code", "x")]);
    let body = app.oneshot(poll).await.unwrap().into_body().collect().await.unwrap().to_bytes();
    assert_eq!(serde_json::from_slice::<Value>(&body).unwrap()["error"], "unsupported_grant_type");
}

#[tokio::test]
async fn a_device_that_registers_more_than_a_device_is_held_to_the_rules_of_the_others() {
    let world = World::new().await;
    let registered = |redirect_uris: Value, grants: Value| {
        let world = &world;
        async move {
            let metadata = json!({ "client_name": "A television", "grant_types": grants, "redirect_uris": redirect_uris,
                "jwks_uri": "http://127.0.0.1:1/keys", "software_statement": "eyJ.x.y" });
            world.post_json("/register", metadata).await
        }
    };
    let (device, both) = (json!([DEVICE_GRANT]), json!([DEVICE_GRANT, "authorization_code"]));
    for grants in [&device, &both] {
        let answer = registered(json!([REDIRECT]), grants.clone()).await;
        assert_eq!(answer.status, 201, "the control: {}", answer.body);
        assert!(!answer.body.contains("jwks_uri") && !answer.body.contains("software_statement"), "{}", answer.body);
        for bad in [
            "javascript:alert(1)",
            "http://client.example/cb",
            "http://2130706433/cb",
            "http://127.0.0.1.evil.example/cb",
        ] {
            let answer = registered(json!([bad]), grants.clone()).await;
            assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_redirect_uri"), "{grants} {bad}");
        }
    }
    assert_eq!(registered(json!([]), both).await.error(), "invalid_redirect_uri", "it would be sent back to nowhere");
    let more = registered(json!([]), json!([DEVICE_GRANT, "client_credentials"])).await;
    assert_eq!(more.error(), "invalid_client_metadata");
}
