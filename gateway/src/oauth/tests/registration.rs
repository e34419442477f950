//! Dynamic registration (RFC 7591): who may register what.

use super::*;

async fn refused(world: &World, metadata: Value) -> (u16, String) {
    let answer = world.post_json("/register", &metadata).await;
    assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    (answer.status, answer.error())
}

fn changed(name: &str, value: Value) -> Value {
    let mut metadata = metadata_of(REDIRECT);
    metadata[name] = value;
    metadata
}

fn without(name: &str) -> Value {
    let mut metadata = metadata_of(REDIRECT);
    metadata.as_object_mut().unwrap().remove(name);
    metadata
}

#[tokio::test]
async fn a_client_registers_and_hears_what_was_registered() {
    let world = World::new().await;
    let mut metadata = metadata_of(REDIRECT);
    for (name, value) in [("software_id", json!("x")), ("contacts", json!(["a@b.example"])), ("scope", json!("read"))] {
        metadata[name] = value;
    }
    let answer = world.post_json("/register", metadata).await;
    assert_eq!((answer.status, answer.header(header::CACHE_CONTROL)), (201, "no-store"));
    let registered = answer.json();
    assert!(registered["client_id"].as_str().unwrap().len() >= 32);
    assert_eq!(registered["client_id_issued_at"], json!(NOW.as_secs()));
    for (name, value) in metadata_of(REDIRECT).as_object().unwrap() {
        assert_eq!(&registered[name], value, "{name}");
    }
    assert!(registered.get("client_secret").is_none() && registered.get("software_id").is_none());
    let again = world.register(REDIRECT).await;
    assert_ne!(registered["client_id"], json!(again));
}

#[tokio::test]
async fn redirect_uris_that_could_lead_elsewhere_are_refused() {
    let world = World::new().await;
    assert_eq!(world.post_json("/register", metadata_of(REDIRECT)).await.status, 201);
    let uri = |uri: &str| changed("redirect_uris", json!([uri]));
    for bad in [
        uri("javascript:alert(1)"),
        uri("http://client.example/cb"),
        uri("https://client.example/cb#x"),
        uri(&format!("{ISSUER}/auth/callback")),
        uri(&format!("https://client.example/{}", "x".repeat(10_000))),
        changed("redirect_uris", json!([REDIRECT, "data:text/html,x"])),
        changed("redirect_uris", json!([])),
        changed("redirect_uris", json!((0..1000).map(|n| format!("https://c.example/{n}")).collect::<Vec<_>>())),
        without("redirect_uris"),
    ] {
        assert_eq!(refused(&world, bad.clone()).await, (400, "invalid_redirect_uri".to_owned()), "{bad}");
    }
}

#[tokio::test]
async fn what_is_not_supported_is_refused_and_not_silently_granted() {
    let world = World::new().await;
    for bad in [
        changed("token_endpoint_auth_method", json!("private_key_jwt")),
        changed("token_endpoint_auth_method", json!("client_secret_jwt")),
        changed("token_endpoint_auth_method", json!("tls_client_auth")),
        changed("token_endpoint_auth_method", json!("NONE")),
        changed("token_endpoint_auth_method", json!("")),
        changed("grant_types", json!(["authorization_code", "client_credentials"])),
        changed("grant_types", json!(["authorization_code", ASSERTION_GRANT])),
        changed("grant_types", json!([DEVICE_GRANT, "implicit"])),
        changed("grant_types", json!(["password"])),
        changed("grant_types", json!(["refresh_token"])),
        changed("response_types", json!(["token"])),
        changed("response_types", json!(["code", "id_token"])),
        changed("application_type", json!("service")),
        changed("client_name", json!("x".repeat(10_000))),
        changed("client_name", json!(["a"])),
        changed("redirect_uris", json!("http://127.0.0.1/cb")),
        changed("client_uri", json!("javascript:alert(1)")),
        changed("logo_uri", json!("data:image/svg+xml,<script>")),
        changed("tos_uri", json!("javascript:alert(1)")),
        changed("policy_uri", json!("file:///etc/passwd")),
    ] {
        assert_eq!(refused(&world, bad.clone()).await, (400, "invalid_client_metadata".to_owned()), "{bad}");
    }
    let harmless = changed("client_uri", json!("https://client.example"));
    assert_eq!(world.post_json("/register", harmless).await.status, 201);
}

#[tokio::test]
async fn a_client_that_asks_for_a_secret_is_registered_as_public_and_told_so() {
    let world = World::new().await;
    for method in ["client_secret_post", "client_secret_basic", "none"] {
        let answer = world.post_json("/register", changed("token_endpoint_auth_method", json!(method))).await;
        assert_eq!(answer.status, 201, "{method}: {}", answer.body);
        let registered = answer.json();
        assert_eq!(registered["token_endpoint_auth_method"], "none", "{method}: what was registered, section 3.2.1");
        assert!(registered.get("client_secret").is_none() && registered.get("client_secret_expires_at").is_none());
    }
}

/// A request of this client to the token endpoint, with the header that goes with it.
fn with_basic(parameters: &[(&str, &str)], pair: &str) -> Request<Body> {
    let mut request = form("/token", parameters);
    let line = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair));
    request.headers_mut().insert(header::AUTHORIZATION, line.parse().unwrap());
    request
}

#[tokio::test]
async fn what_such_a_client_sends_as_its_secret_does_neither_good_nor_harm() {
    let world = World::new().await;
    let metadata = changed("token_endpoint_auth_method", json!("client_secret_post"));
    let registered = world.post_json("/register", metadata).await.json();
    let client_id = registered["client_id"].as_str().unwrap();
    for sent in ["", "undefined", "made-up"] {
        for basic in [false, true] {
            let secret = ("client_secret", sent);
            let ask = async |parameters: Vec<(&str, &str)>| {
                if basic {
                    world.send(with_basic(&parameters, &format!("{client_id}:{sent}"))).await
                } else {
                    world.post("/token", &[parameters, vec![secret]].concat()).await
                }
            };
            let code = world.code(client_id).await;
            // PKCE is what ties the code to the client, whatever else it shows.
            let mut stolen = exchange(client_id, &code);
            stolen.retain(|(name, _)| *name != "code_verifier");
            assert_eq!(ask(stolen).await.error(), "invalid_grant", "{sent} {basic}");
            let tokens = ask(exchange(client_id, &code)).await;
            assert_eq!(tokens.status, 200, "{sent} {basic}: {}", tokens.body);
            let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
            let refresh = [("grant_type", "refresh_token"), ("client_id", client_id), ("refresh_token", &refresh)];
            assert_eq!(ask(refresh.to_vec()).await.status, 200, "{sent} {basic}");
        }
    }
    // Nor does it make another client of it, or two ways of one.
    let (other, code) = (world.register(REDIRECT).await, world.code(client_id).await);
    let answer = world.send(with_basic(&exchange(client_id, &code), &format!("{other}:made-up"))).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    let both = [exchange(client_id, &code), vec![("client_secret", "made-up")]].concat();
    let answer = world.send(with_basic(&both, &format!("{client_id}:made-up"))).await;
    assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
}

#[tokio::test]
async fn a_client_that_did_not_ask_to_refresh_does_not_get_to() {
    let world = World::new().await;
    for metadata in [changed("grant_types", json!(["authorization_code"])), without("grant_types")] {
        let registered = world.post_json("/register", metadata).await.json();
        assert_eq!(registered["grant_types"], json!(["authorization_code"]), "the default of section 2");
        let client_id = registered["client_id"].as_str().unwrap();
        let code = world.code(client_id).await;
        let tokens = world.redeem(client_id, &code).await.json();
        assert!(tokens["access_token"].is_string() && tokens.get("refresh_token").is_none());
    }
}

#[tokio::test]
async fn a_body_that_is_no_metadata_is_refused_without_details() {
    let world = World::new().await;
    let duplicate = r#"{"redirect_uris":["http://127.0.0.1/a"],"redirect_uris":["https://evil.example/"]}"#;
    let unknown_twice = r#"{"x":1,"x":2,"redirect_uris":["http://127.0.0.1/a"]}"#;
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    for body in ["", "{", "[]", "null", "\"x\"", duplicate, unknown_twice, &deep] {
        let answer = world.post_json("/register", body).await;
        assert_eq!(answer.status, 400, "{body:.40}");
        assert!(!answer.body.contains("line") && !answer.body.contains("column"), "{}", answer.body);
    }
    assert_eq!(world.post_json("/register", "x".repeat(1 << 20)).await.status, 413);
    let request = Request::post("/register").body(Body::from(metadata_of(REDIRECT).to_string())).unwrap();
    assert_eq!(world.send(request).await.status, 400, "without a content type");
    assert_eq!(world.get("/register").await.status, 405);
    let management = Request::delete("/register/x").body(Body::empty()).unwrap();
    assert_eq!(world.send(management).await.status, 404, "there is no registration management");
}
