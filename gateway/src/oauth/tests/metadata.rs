//! What a client that knows nothing but the gateway's address finds out (RFC 9728, RFC 8414).

use super::*;

#[tokio::test]
async fn the_issuer_is_the_same_string_everywhere() {
    let world = World::new().await;
    let resource = world.get("/.well-known/oauth-protected-resource/weather/mcp").await.json();
    assert_eq!(resource["authorization_servers"], json!([ISSUER]));
    for path in ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"] {
        let document = world.get(path).await.json();
        assert_eq!(document["issuer"], ISSUER);
        for endpoint in
            ["authorization_endpoint", "token_endpoint", "revocation_endpoint", "registration_endpoint", "jwks_uri"]
        {
            assert!(document[endpoint].as_str().unwrap().starts_with(&format!("{ISSUER}/")), "{endpoint}");
        }
    }
    let (_, tokens) = world.signed_in().await;
    assert_eq!(world.claims(&tokens)["iss"], ISSUER);
}

#[tokio::test]
async fn the_server_says_what_it_can_and_nothing_more() {
    let world = World::new().await;
    let document = world.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(document["response_types_supported"], json!(["code"]));
    assert_eq!(document["grant_types_supported"], json!(["authorization_code", "refresh_token", DEVICE_GRANT]));
    assert_eq!(document["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["none", "private_key_jwt"]));
    assert_eq!(document["token_endpoint_auth_signing_alg_values_supported"], json!(["ES256", "RS256"]));
    assert_eq!(document["client_id_metadata_document_supported"], json!(false), "nothing is set up to read them here");
    assert_eq!(document["authorization_response_iss_parameter_supported"], json!(true));
    assert_eq!(document["scopes_supported"], json!(["delete", "offline_access", "pii", "read", "write"]));
}

#[tokio::test]
async fn a_client_that_asks_for_all_that_the_server_names_gets_it_at_each_resource_without_a_step_up() {
    let mut weather = weather();
    for scope in weather.scopes.iter_mut().filter(|scope| scope.name == "delete") {
        scope.step_up = Some(crate::entra::StepUp { acrs: ["c1".to_owned()].into(), max_age: None });
    }
    let world = World::with(ISSUER, vec![weather, crm()]).await;
    let document = world.get("/.well-known/oauth-authorization-server").await.json();
    assert_eq!(document["scopes_supported"], json!(["offline_access", "pii", "read", "write"]));
    let scopes: Vec<&str> = document["scopes_supported"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let client_id = world.register(REDIRECT).await;
    for (resource, granted) in [(RESOURCE, "read write"), (OTHER_RESOURCE, "pii read")] {
        let request = with(authorize(&client_id), "scope", Some(&scopes.join(" ")));
        let back = Browser::new(&world).sign_in(&with(request, "resource", Some(resource))).await;
        let code = back.parameter("code").unwrap();
        let mut exchange = exchange(&client_id, &code);
        exchange.retain(|(name, _)| *name != "resource");
        assert_eq!(world.post("/token", &exchange).await.json()["scope"], granted, "{resource}");
    }
}

#[tokio::test]
async fn each_resource_has_its_document_under_its_path_and_one_alone_under_the_root_too() {
    let world = World::new().await;
    for path in ["/weather/mcp", "/weather/mcp/"] {
        let answer = world.get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!((answer.status, answer.json()["resource"].as_str()), (200, Some(RESOURCE)), "{path}");
        assert_eq!(answer.json()["scopes_supported"], json!(["read", "write", "delete"]), "no offline_access here");
        assert_eq!(answer.json()["bearer_methods_supported"], json!(["header"]));
    }
    for path in ["", "/", "/weather", "/other/mcp", "/weather/mcp/x", "/WEATHER/mcp"] {
        let answer = world.get(&format!("/.well-known/oauth-protected-resource{path}")).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    let single = World::with(ISSUER, vec![weather()]).await;
    let root = single.get("/.well-known/oauth-protected-resource").await;
    assert_eq!(root.json()["resource"], RESOURCE);
}

#[tokio::test]
async fn nothing_of_a_request_gets_into_a_document() {
    let world = World::new().await;
    let request = Request::get("/.well-known/oauth-authorization-server")
        .header(header::HOST, "evil.example")
        .header("x-forwarded-host", "evil.example")
        .header("forwarded", "host=evil.example");
    let answer = world.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("evil"));
}

#[tokio::test]
async fn a_page_of_another_origin_may_read_documents_and_register_and_trade_codes() {
    let world = World::new().await;
    for path in
        ["/.well-known/oauth-protected-resource/weather/mcp", "/.well-known/oauth-authorization-server", "/jwks"]
    {
        let answer = world.get(path).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"), "{path}");
    }
    for (path, method) in [
        ("/register", "POST"),
        ("/token", "POST"),
        ("/.well-known/oauth-authorization-server", "GET"),
        ("/.well-known/oauth-protected-resource/weather/mcp", "GET"),
    ] {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(path)
            .header(header::ORIGIN, "https://inspector.example")
            .header("access-control-request-method", method)
            .header("access-control-request-headers", "content-type, mcp-protocol-version");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 204, "{path}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert!(answer.header("access-control-allow-methods").contains(method), "{path}");
        assert!(answer.header("access-control-allow-headers").contains("mcp-protocol-version"), "{path}");
        assert_eq!(answer.header("access-control-allow-credentials"), "", "{path}");
    }
    // An error must be readable too, or the page cannot say what went wrong.
    for answer in [world.post("/token", &[]).await, world.post_json("/register", "{").await] {
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (400, "*"));
    }
}

#[tokio::test]
async fn what_a_person_decides_is_closed_to_other_origins() {
    let world = World::new().await;
    for path in ["/authorize", "/consent", "/auth/callback"] {
        let request =
            Request::builder().method(Method::OPTIONS).uri(path).header(header::ORIGIN, "https://evil.example");
        let answer = world.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, ""), "{path}");
    }
}

#[tokio::test]
async fn the_key_set_shows_public_members_only_and_verifies_what_was_minted() {
    let world = World::new().await;
    let (_, tokens) = world.signed_in().await;
    let set = world.get("/jwks").await.json();
    let keys = set["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 1);
    let members: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
    assert!(
        members.iter().all(|name| ["kty", "crv", "x", "y", "kid", "use", "alg"].contains(&name.as_str())),
        "{members:?}"
    );
    let header = jsonwebtoken::decode_header(tokens["access_token"].as_str().unwrap()).unwrap();
    assert_eq!(header.kid.as_deref(), keys[0]["kid"].as_str());
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
}

#[tokio::test]
async fn while_keys_are_replaced_all_are_published_and_what_any_of_them_signed_is_good() {
    let mut world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    let (old, new) = (world.state.signing_keys.signer().clone(), SigningKey::generate().unwrap());
    let refresh_token = |tokens: &Value| tokens["refresh_token"].as_str().unwrap().to_owned();
    let kid = |tokens: &Value| jsonwebtoken::decode_header(tokens["access_token"].as_str().unwrap()).unwrap().kid;
    let published = async |world: &World| {
        let answer = world.get("/jwks").await;
        assert_eq!(answer.header("cache-control"), "public, max-age=300");
        let kid = |key: &Value| key["kid"].as_str().unwrap().to_owned();
        answer.json()["keys"].as_array().unwrap().iter().map(kid).collect::<Vec<_>>()
    };
    assert_eq!(published(&world).await, [old.kid()]);
    // The next one is published, and does not sign yet.
    world.sign_with(SigningKeys::new(old.clone(), vec![new.clone()]));
    assert_eq!(published(&world).await, [old.kid(), new.kid()]);
    let before = world.refresh(&client_id, &refresh_token(&tokens)).await.json();
    assert_eq!(kid(&before).as_deref(), Some(old.kid()));
    // It signs, and the old one is good.
    world.sign_with(SigningKeys::new(new.clone(), vec![old.clone()]));
    assert_eq!(published(&world).await, [new.kid(), old.kid()]);
    let after = world.refresh(&client_id, &refresh_token(&before)).await.json();
    assert_eq!(kid(&after).as_deref(), Some(new.kid()));
    let good = |world: &World, tokens: &Value| {
        let jws = crate::jose::jwt::parse(tokens["access_token"].as_str().unwrap()).unwrap();
        let verifier = access_token::Verifier::new(ISSUER, world.state.signing_keys.iter());
        verifier.verify(&jws, world.clock.now()).is_ok()
    };
    assert!(good(&world, &tokens) && good(&world, &before) && good(&world, &after));
    // It is alone.
    world.sign_with(new.clone().into());
    assert_eq!(published(&world).await, [new.kid()]);
    assert!(!good(&world, &tokens) && !good(&world, &before) && good(&world, &after));
}
