//! The token endpoint with codes (catalogue of RFC 6749 section 4.1.3 and RFC 7636).

use super::*;

#[tokio::test]
async fn a_client_that_knows_nothing_gets_a_token_for_a_person() {
    let world = World::new().await;
    let (client_id, tokens) = world.signed_in().await;
    assert_eq!(tokens["token_type"], "Bearer");
    assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&json!(900), &json!("read write")));
    let claims = world.claims(&tokens);
    assert_eq!(claims["aud"], RESOURCE);
    assert_eq!(claims["client_id"], json!(client_id));
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["roles"], json!(["Task.Read"]));
    assert_eq!((&claims["tid"], &claims["oid"]), (&json!(identity::TENANT), &json!(identity::ALICE)));
    assert_eq!(claims["exp"], json!(NOW.as_secs() + 900));
    assert!(tokens["refresh_token"].is_string());
}

/// A good request with one parameter changed or left out.
async fn changed(world: &World, client_id: &str, code: &str, name: &str, value: Option<&str>) -> Answer {
    let mut parameters = exchange(client_id, code);
    parameters.retain(|(known, _)| *known != name);
    parameters.extend(value.map(|value| (name, value)));
    world.post("/token", &parameters).await
}

#[tokio::test]
async fn a_code_is_good_once_and_its_replay_ends_what_it_gave() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let first = world.redeem(&client_id, &code).await;
    assert_eq!((first.status, first.header(header::CACHE_CONTROL)), (200, "no-store"));
    let again = world.redeem(&client_id, &code).await;
    assert_eq!((again.status, again.error().as_str()), (400, "invalid_grant"));
    let refresh = world.refresh(&client_id, first.json()["refresh_token"].as_str().unwrap()).await;
    assert_eq!((refresh.status, refresh.error().as_str()), (400, "invalid_grant"));
}

#[tokio::test]
async fn a_replay_by_somebody_else_ends_nothing() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let other = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let tokens = world.redeem(&client_id, &code).await.json();
    assert_eq!(world.redeem(&other, &code).await.error(), "invalid_grant");
    let verifier = Some("another-verifier-that-is-long-enough-to-be-one");
    assert_eq!(changed(&world, &client_id, &code, "code_verifier", verifier).await.error(), "invalid_grant");
    let refresh = world.refresh(&client_id, tokens["refresh_token"].as_str().unwrap()).await;
    assert_eq!(refresh.status, 200);
}

#[tokio::test]
async fn what_does_not_belong_to_the_code_is_refused_and_the_code_stays() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let other = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(VERIFIER));
    for (name, value, status, error) in [
        ("client_id", Some(other.as_str()), 400, "invalid_grant"),
        ("client_id", Some("unknown"), 401, "invalid_client"),
        ("client_id", None, 400, "invalid_request"),
        ("code", Some("unknown"), 400, "invalid_grant"),
        ("code", None, 400, "invalid_request"),
        ("redirect_uri", Some("http://127.0.0.1:1/callback"), 400, "invalid_grant"),
        ("code_verifier", None, 400, "invalid_grant"),
        ("code_verifier", Some(""), 400, "invalid_grant"),
        ("code_verifier", VERIFIER.get(1..), 400, "invalid_grant"),
        ("code_verifier", Some(&"a".repeat(129)), 400, "invalid_grant"),
        ("code_verifier", Some(&challenge), 400, "invalid_grant"),
        ("resource", Some(OTHER_RESOURCE), 400, "invalid_target"),
        ("resource", Some("https://evil.example"), 400, "invalid_target"),
        ("grant_type", None, 400, "invalid_request"),
        ("grant_type", Some("password"), 400, "unsupported_grant_type"),
        ("grant_type", Some("client_credentials"), 400, "unauthorized_client"),
        ("grant_type", Some("urn:ietf:params:oauth:grant-type:jwt-bearer"), 400, "unsupported_grant_type"),
        ("grant_type", Some("urn:ietf:params:oauth:grant-type:token-exchange"), 400, "unsupported_grant_type"),
        ("client_assertion", Some("x"), 401, "invalid_client"),
    ] {
        let answer = changed(&world, &client_id, &code, name, value).await;
        assert_eq!((answer.status, answer.error().as_str()), (status, error), "{name} {value:?}");
        assert_eq!(answer.header(header::CACHE_CONTROL), "no-store");
    }
    assert_eq!(changed(&world, &client_id, &code, "resource", None).await.status, 200);
}

#[tokio::test]
async fn a_client_of_oauth_2_1_does_not_repeat_its_redirect_uri() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let ask = async |verifier: &str| {
        let mut parameters = exchange(&client_id, &code);
        parameters.retain(|(name, _)| !matches!(*name, "redirect_uri" | "code_verifier"));
        parameters.push(("code_verifier", verifier));
        world.post("/token", &parameters).await
    };
    // PKCE is what binds the code then, and it does.
    assert_eq!(ask("another-verifier-that-is-long-enough-to-be-one").await.error(), "invalid_grant");
    assert_eq!(ask(VERIFIER).await.status, 200);
    // What is sent is compared all the same: see the table above.
}

#[tokio::test]
async fn a_code_is_good_for_a_minute() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    world.clock.advance(Duration::from_secs(61));
    assert_eq!(world.redeem(&client_id, &code).await.error(), "invalid_grant");
}

#[tokio::test]
async fn only_a_form_in_the_body_is_read() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let good = |path: &str| form(path, &exchange(&client_id, &code));
    let mut doubled = exchange(&client_id, &code);
    doubled.push(("code", &code));
    let mut no_type = good("/token");
    no_type.headers_mut().remove(header::CONTENT_TYPE);
    let mut json = good("/token");
    json.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    let in_query = query("/token", &[("client_id", client_id.clone())]);
    for request in [form("/token", &doubled), no_type, json, good(&in_query)] {
        let answer = world.send(request).await;
        assert_eq!((answer.status, answer.error().as_str()), (400, "invalid_request"));
    }
    let mut basic = good("/token");
    basic.headers_mut().insert(header::AUTHORIZATION, "Basic eDp5".parse().unwrap());
    let answer = world.send(basic).await;
    assert_eq!((answer.status, answer.error().as_str()), (401, "invalid_client"));
    assert!(answer.header(header::WWW_AUTHENTICATE).starts_with("Basic"), "RFC 6749 section 5.2");
    assert_eq!(world.post("/token", &[("x", &"x".repeat(1 << 20))]).await.status, 413);
    assert_eq!(world.get("/token").await.status, 405);
    let mut charset = good("/token");
    charset
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/x-www-form-urlencoded; charset=UTF-8".parse().unwrap());
    assert_eq!(world.send(charset).await.status, 200);
}

#[tokio::test]
async fn a_hundred_racers_get_one_token() {
    let world = Arc::new(World::new().await);
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let racers: Vec<_> = (0..100)
        .map(|_| {
            let (world, client_id, code) = (Arc::clone(&world), client_id.clone(), code.clone());
            tokio::spawn(async move { world.redeem(&client_id, &code).await.status })
        })
        .collect();
    let mut winners = 0;
    for racer in racers {
        winners += u32::from(racer.await.unwrap() == 200);
    }
    assert_eq!(winners, 1);
}

#[tokio::test]
async fn the_file_holds_nothing_that_could_be_presented() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let mut browser = Browser::new(&world);
    let departure = browser.depart(&authorize(&client_id)).await;
    let state = world.entra.asked(&departure)["state"].clone();
    let cookies: Vec<String> = browser.cookies.values().cloned().collect();
    let spent = world.code(&client_id).await;
    let tokens = world.redeem(&client_id, &spent).await.json();
    let code = world.code(&client_id).await;
    let mut dump = Vec::new();
    for suffix in ["", "-wal"] {
        dump.extend(std::fs::read(format!("{}{suffix}", world.database.display())).unwrap_or_default());
    }
    let holds = |text: &str| dump.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(&client_id), "the file was read");
    let mut secrets =
        vec![state, code, spent, "upstream-refresh".to_owned(), tokens["refresh_token"].as_str().unwrap().to_owned()];
    secrets.extend(cookies);
    for secret in secrets {
        assert!(!holds(&secret), "{secret}");
    }
}

#[tokio::test]
async fn nothing_that_is_secret_or_a_refusal_is_kept_by_a_cache() {
    let world = World::new().await;
    let client_id = world.register(REDIRECT).await;
    let code = world.code(&client_id).await;
    let tokens = world.redeem(&client_id, &code).await;
    let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
    let device = metadata_of(REDIRECT);
    let answers = [
        ("tokens", 200, tokens),
        ("a code twice", 400, world.redeem(&client_id, &code).await),
        ("tokens of a grant that is over", 400, world.refresh(&client_id, &refresh).await),
        ("an unknown client", 401, world.redeem("nobody", "x").await),
        ("no form", 400, world.post_json("/token", "{}").await),
        ("a registration", 201, world.post_json("/register", device).await),
        ("a refused one", 400, world.post_json("/register", "{}").await),
        ("a refused revocation", 401, world.post("/revoke", &[("client_id", "nobody"), ("token", "x")]).await),
        ("a page", 400, world.get("/authorize").await),
    ];
    for (what, status, answer) in answers {
        assert_eq!((answer.status, answer.header(header::CACHE_CONTROL)), (status, "no-store"), "{what}");
    }
}

#[test]
fn what_is_issued_cannot_be_guessed() {
    const COUNT: usize = 10_000;
    let mut ones = [0_usize; 256];
    let mut seen = std::collections::HashSet::new();
    for _ in 0..COUNT {
        let bytes = URL_SAFE_NO_PAD.decode(secret()).unwrap();
        assert_eq!(bytes.len(), 32);
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += usize::from(bytes[bit / 8] >> (bit % 8) & 1);
        }
        assert!(seen.insert(bytes), "twice");
    }
    // Ten standard deviations: a generator that works never gets there.
    let (least, most) = (ones.iter().min().unwrap(), ones.iter().max().unwrap());
    assert!(*least > COUNT * 45 / 100 && *most < COUNT * 55 / 100, "{least} to {most} of {COUNT}");
}
