//! The authorization endpoint: what is shown as a page, what goes back to the client, what goes on.

use super::*;

async fn ask(world: &World, request: &[(&str, String)]) -> Answer {
    world.get(&query("/authorize", request)).await
}

/// A page, and no way out of it.
fn assert_page(answer: &Answer, status: u16) {
    assert_eq!((answer.status, answer.location()), (status, None), "{}", answer.body);
    assert!(answer.header(header::CONTENT_TYPE).starts_with("text/html"));
    assert_eq!(answer.header(header::X_FRAME_OPTIONS), "DENY");
}

#[tokio::test]
async fn a_good_request_is_asked_about_first_whoever_is_signed_in() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    assert_page(&ask(&world, &authorize(&client_id)).await, 200);
    let request = authorize(&client_id);
    let request: Vec<(&str, &str)> = request.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_page(&world.post("/authorize", &request).await, 200);
    assert!(world.entra.seen().is_empty());
}

#[tokio::test]
async fn until_client_and_redirect_uri_are_good_there_is_only_a_page() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let good = authorize(&client_id);
    assert_page(&ask(&world, &good).await, 200);
    for (name, value) in [
        ("client_id", None),
        ("client_id", Some("unknown")),
        ("redirect_uri", None),
        ("redirect_uri", Some("https://evil.example/cb")),
        ("redirect_uri", Some("http://127.0.0.1:33418/other")),
        ("redirect_uri", Some("http://localhost:33418/callback")),
        ("redirect_uri", Some("http://127.0.0.1:33418@evil.example/callback")),
        ("redirect_uri", Some("http://127.0.0.1:99999/callback")),
        ("redirect_uri", Some("javascript:alert(1)")),
        ("client_id[]", Some("x")),
        ("state", Some(&"s".repeat(10_000))),
    ] {
        assert_page(&ask(&world, &with(good.clone(), name, value)).await, 400);
    }
    let long = with(good.clone(), "client_id", Some(&"x".repeat(60_000)));
    assert_page(&ask(&world, &long).await, 400);
    // What else is wrong does not open a way out.
    let worse = with(with(good, "client_id", Some("unknown")), "response_type", Some("token"));
    assert_page(&ask(&world, &worse).await, 400);
}

#[tokio::test]
async fn a_loopback_port_may_differ_and_nothing_else() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let request = with(authorize(&client_id), "redirect_uri", Some("http://127.0.0.1:50000/callback"));
    assert_page(&ask(&world, &request).await, 200);
}

#[tokio::test]
async fn a_gateway_on_this_machine_is_no_redirect_uri_by_another_name_or_port() {
    let world =
        World::with("http://127.0.0.1:8080", vec![resource("w", "http://127.0.0.1:8080/mcp", &[("read", "Read")])])
            .await;
    let answer = world.post_json("/register", metadata_of("http://localhost:8080/auth/callback")).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_redirect_uri"));
    let client_id = world.register("http://127.0.0.1:9000/auth/callback").await;
    let request = with(authorize(&client_id), "resource", Some("http://127.0.0.1:8080/mcp"));
    let request = with(request, "scope", Some("read"));
    let own = with(request.clone(), "redirect_uri", Some("http://127.0.0.1:8080/auth/callback"));
    assert_page(&ask(&world, &own).await, 400);
    let free = with(request, "redirect_uri", Some("http://127.0.0.1:9001/auth/callback"));
    assert_page(&ask(&world, &free).await, 200);
}

#[tokio::test]
async fn a_parameter_that_is_there_twice_is_refused() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for name in ["client_id", "redirect_uri", "state", "code_challenge", "scope", "resource", "prompt"] {
        let mut request = authorize(&client_id);
        let value = request.iter().find(|(known, _)| *known == name).unwrap().1.clone();
        request.push((name, value));
        assert_page(&ask(&world, &request).await, 400);
    }
    let path = query("/authorize", &[("state", "other".to_owned())]);
    let request = authorize(&client_id);
    let request: Vec<(&str, &str)> = request.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_page(&world.post(&path, &request).await, 400);
}

#[tokio::test]
async fn faults_of_the_request_go_back_to_the_client_with_state_and_issuer() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let challenge = &URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    let short = challenge.get(1..).unwrap();
    let many: Vec<String> = (0..1000).map(|n| format!("s{n}")).collect();
    for (name, value, error) in [
        ("response_type", None, "invalid_request"),
        ("response_type", Some("token"), "unsupported_response_type"),
        ("response_type", Some("code token"), "unsupported_response_type"),
        ("response_type", Some("CODE"), "unsupported_response_type"),
        ("response_mode", Some("fragment"), "invalid_request"),
        ("response_mode", Some("form_post"), "invalid_request"),
        ("request", Some("eyJ.x.y"), "request_not_supported"),
        ("request_uri", Some("https://evil.example/r"), "request_uri_not_supported"),
        ("code_challenge", None, "invalid_request"),
        ("code_challenge", Some(short), "invalid_request"),
        ("code_challenge", Some(&format!("{challenge}A")), "invalid_request"),
        ("code_challenge", Some(&format!("{challenge}=")), "invalid_request"),
        ("code_challenge", Some(&format!("{short}!")), "invalid_request"),
        ("code_challenge_method", None, "invalid_request"),
        ("code_challenge_method", Some("plain"), "invalid_request"),
        ("code_challenge_method", Some("s256"), "invalid_request"),
        ("code_challenge_method", Some("S512"), "invalid_request"),
        ("resource", None, "invalid_target"),
        ("resource", Some("https://evil.example/mcp"), "invalid_target"),
        ("resource", Some("https://GW.example/weather/mcp"), "invalid_target"),
        ("resource", Some("https://gw.example/weather/mcp#x"), "invalid_target"),
        ("resource", Some("https://gw.example/weather/mcp//"), "invalid_target"),
        ("scope", Some("read unknown"), "invalid_scope"),
        ("scope", Some("pii"), "invalid_scope"),
        ("scope", Some("read\u{7}"), "invalid_scope"),
        ("scope", Some(&many.join(" ")), "invalid_scope"),
        ("prompt", Some("none"), "interaction_required"),
        ("prompt", Some("none login"), "interaction_required"),
    ] {
        let answer = ask(&world, &with(authorize(&client_id), name, value)).await;
        assert!(answer.location().is_some_and(|to| to.starts_with(&format!("{REDIRECT}?"))), "{name} {value:?}");
        assert_eq!(answer.error(), error, "{name} {value:?}");
        assert_eq!(answer.parameter("state").as_deref(), Some("client state/+ &<"));
        assert_eq!(answer.parameter("iss").as_deref(), Some(ISSUER));
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    }
}

#[tokio::test]
async fn a_trailing_slash_is_the_same_resource() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let request = with(authorize(&client_id), "resource", Some("https://gw.example/weather/mcp/"));
    let mut browser = Browser::new(&world);
    let code = browser.sign_in(&request).await.parameter("code").unwrap();
    let tokens = world.redeem(&client_id, &code).await.json();
    assert_eq!(world.claims(&tokens)["aud"], RESOURCE);
}

#[tokio::test]
async fn the_resource_may_be_left_out_only_when_there_is_one() {
    let world = World::with(ISSUER, vec![weather()]).await;
    let client_id = world.register(REDIRECT).await;
    assert_page(&ask(&world, &with(authorize(&client_id), "resource", None)).await, 200);
}

#[tokio::test]
async fn a_state_comes_back_byte_for_byte_and_none_comes_back_as_none() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for state in ["a\r\nSet-Cookie: x=y", "<script>\"'", "%2B%00", "ü✓ +&=", &"s".repeat(2048)] {
        let mut browser = Browser::new(&world);
        let answer = browser.sign_in(&with(authorize(&client_id), "state", Some(state))).await;
        assert_eq!(answer.parameter("state").as_deref(), Some(state));
        assert!(answer.parameter("code").is_some());
    }
    let mut browser = Browser::new(&world);
    let answer = browser.sign_in(&with(authorize(&client_id), "state", None)).await;
    assert_eq!((answer.parameter("state"), answer.parameter("code").is_some()), (None, true));
}

#[tokio::test]
async fn scopes_that_name_no_tag_are_granted_what_the_backend_has() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    for scope in [None, Some("openid profile email offline_access")] {
        let mut browser = Browser::new(&world);
        let code = browser.sign_in(&with(authorize(&client_id), "scope", scope)).await.parameter("code").unwrap();
        let tokens = world.redeem(&client_id, &code).await.json();
        assert_eq!(tokens["scope"], "read write delete");
    }
}

#[tokio::test]
async fn nobody_gets_a_login_by_asking_for_headers_only() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let head = Request::head(query("/authorize", &authorize(&client_id))).body(Body::empty()).unwrap();
    assert_eq!(world.send(head).await.status, 405);
}

#[tokio::test]
async fn parameters_are_in_one_place_or_the_link_cannot_be_used() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let good = authorize(&client_id);
    let pairs: Vec<(&str, &str)> = good.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert_eq!(world.send(form("/authorize", &pairs)).await.status, 200, "the control");
    for path in ["/authorize?client_id=x", &query("/authorize", &good)] {
        assert_page(&world.send(form(path, &pairs)).await, 400);
    }
    // A body has no meaning in a GET (RFC 9110 section 9.3.1): what it says of another client changes nothing.
    let mut with_body =
        form(&query("/authorize", &good), &[("client_id", "another"), ("redirect_uri", "https://e.example")]);
    *with_body.method_mut() = Method::GET;
    let page = world.send(with_body).await;
    assert!(page.status == 200 && page.body.contains("Test client"), "{}", page.body);
    let mut alone = form("/authorize", &pairs);
    *alone.method_mut() = Method::GET;
    assert_page(&world.send(alone).await, 400);
}
