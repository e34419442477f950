//! The identity provider as it refuses; and backends with an API of their own behind it.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use identity::{Certificate, Endpoint, Fault, Options, User};
use portcullis_tests::flow::{location, parameter};
use portcullis_tests::{Backend, Flow, Tokens, World, WorldBuilder};
use reqwest::StatusCode;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SCOPE: &str = "api://weather-api/.default";

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

async fn works(world: &World, tokens: &Tokens) -> bool {
    world.post(&tokens.access, &call()).await.status() == StatusCode::OK
}

/// What a bearer token says.
fn claims(authorization: &str) -> Value {
    let payload = authorization.strip_prefix("Bearer ").unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn a_refusal_is_told_to_the_person_in_our_words_and_to_the_operator_with_what_to_do() {
    let world = WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await;
    let flow = Flow::register(&world).await;
    for (error, number, person, operator) in [
        ("access_denied", 50105, "ask your administrator for a role", "assign a role under Enterprise applications"),
        ("access_denied", 65004, "You declined", "declined consent"),
        ("invalid_client", 7_000_222, "tell your administrator", "the client secret has expired"),
        ("access_denied", 999_999, "Signing in failed", "look the code up"),
    ] {
        world.identity.set_refusal(Some((error, number)));
        let (callback, cookie) = flow.at_callback("rita").await;
        let back = location(&flow.arrive(&callback, &cookie).await);
        let words = parameter(&back, "error_description").unwrap();
        assert!(words.contains(person) && !words.contains("words of the identity"), "{number}: {words}");
        assert!(world.gateway.said().contains(operator), "{number}");
    }
    assert!(!world.gateway.said().contains("words of the identity provider"));
    world.identity.set_refusal(None);
    assert!(!flow.code("rita").await.is_empty(), "a control");
}

#[tokio::test]
async fn a_backend_gets_a_token_for_its_own_api_and_never_the_clients() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend)
        .own_tokens_only()
        .backend_more(&format!("on_behalf_of: {{ scope: '{SCOPE}' }}"))
        .start()
        .await;
    let tokens = world.sign_in("rita").await;
    let asked = || world.identity.requests().iter().filter(|request| request.contains("requested_token_use")).count();
    let message = call();
    let calls = (0..20).map(|_| world.post(&tokens.access, &message));
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.status(), StatusCode::OK);
    }
    assert_eq!((backend.requests().len(), asked()), (20, 1), "asked for once, however many calls wait");
    for request in backend.requests() {
        let sent = request.header("authorization").unwrap();
        assert!(!sent.contains(&tokens.access));
        let claims = claims(&sent);
        assert_eq!((&claims["aud"], &claims["scp"]), (&json!("api://weather-api"), &json!("user_impersonation")));
        assert_eq!(claims["oid"], "0a11ce00-0000-4000-8000-000000000002");
    }
    let other = world.sign_in("max").await;
    assert!(works(&world, &other).await);
    assert_eq!(asked(), 2, "another grant has a token of its own");
}

#[tokio::test]
async fn without_that_token_the_call_does_not_go() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend)
        .own_tokens_only()
        .backend_more(&format!("on_behalf_of: {{ scope: '{SCOPE}' }}"))
        .start()
        .await;
    let tokens = world.sign_in("rita").await;
    world.identity.set_exchange_refusal(Some(("interaction_required", 50076)));
    let refused = world.post(&tokens.access, &call()).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let body: Value = refused.json().await.unwrap();
    assert_eq!((&body["id"], body["error"]["message"].as_str().unwrap().contains("AADSTS")), (&json!(7), false));
    assert!(world.gateway.said().contains("multi-factor authentication is needed"));
    world.identity.set_exchange_refusal(Some(("invalid_grant", 500_131)));
    world.identity.set_fault(Endpoint::Token, Fault::Status(503));
    assert_eq!(world.post(&tokens.access, &call()).await.status(), StatusCode::BAD_GATEWAY);
    assert!(backend.requests().is_empty());
    world.identity.set_fault(Endpoint::Token, None);
    world.identity.set_exchange_refusal(None);
    assert!(works(&world, &tokens).await, "a control");
    assert_eq!(backend.requests().len(), 1);
}

/// What the client is told at the end of a login: the code, or the error and its words.
async fn outcome(flow: &Flow<'_>, person: &str, scope: Option<&str>) -> Result<String, (String, String)> {
    let mut parameters = flow.parameters(person);
    parameters.extend(scope.map(|scope| ("scope".to_owned(), scope.to_owned())));
    let page = portcullis_tests::flow::Consent::read(flow.authorize(&parameters).await).await;
    let approved = flow.decide(&page, "approve").await;
    let cookie = portcullis_tests::flow::cookie(&approved);
    let signed_in = flow.world.http().get(location(&approved)).send().await.unwrap();
    let back = location(&flow.arrive(&location(&signed_in), &cookie).await);
    let told = |name| parameter(&back, name).unwrap_or_default();
    parameter(&back, "code").ok_or_else(|| (told("error"), told("error_description")))
}

async fn names(world: &World, tokens: &Tokens) -> Vec<String> {
    let list = world.ask(&tokens.access, "tools/list", json!({})).await;
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("{list}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

const PARTNER: &str = "22222222-2222-4222-8222-222222222222";
const STRANGER: &str = "33333333-3333-4333-8333-333333333333";

/// The identity provider of several directories, with somebody in each of two others.
fn directories() -> Options {
    let person = |name: &str, number: u32, tenant: &str| User {
        name: name.to_owned(),
        oid: format!("0a11ce00-0000-4000-8000-0000000001{number:02}"),
        roles: vec!["Task.All".to_owned()],
        tenant: Some(tenant.to_owned()),
        guest: false,
    };
    let mut users = User::examples();
    users.extend([person("pat", 1, PARTNER), person("sam", 2, STRANGER)]);
    Options { several_tenants: true, users, ..Options::default() }
}

#[tokio::test]
async fn who_is_of_a_directory_that_was_taken_off_the_list_is_out_with_the_next_refresh_for_good() {
    let mut world = WorldBuilder::new(&Backend::plain().await)
        .identity(directories())
        .entra(&format!("tenants: [{PARTNER}]"))
        .own_tokens_only()
        .start()
        .await;
    let signed_in = async |world: &World, person: &str| {
        let flow = Flow::register(world).await;
        let tokens = flow.tokens(&flow.code(person).await).await;
        (flow.client_id.clone(), tokens.refresh)
    };
    let (alice, pat) = (signed_in(&world, "alice").await, signed_in(&world, "pat").await);
    let refresh = async |world: &World, (client, token): &(String, String)| {
        let flow = Flow::of(world, client);
        let answer = flow.token(&flow.refresh_form(token)).await;
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let listed = format!(", tenants: [{PARTNER}]");
    world.configure(|text| text.replace(&listed, ""));
    world.restart().await;
    let asked = world.identity.requests().len();
    let (status, body) = refresh(&world, &pat).await;
    assert_eq!((status, &body["error"]), (400, &json!("invalid_grant")), "{body}");
    assert_eq!(world.identity.requests().len(), asked, "the directory is not asked");
    assert_eq!(refresh(&world, &alice).await.0, 200, "the control");
    let lines = world.audit(1).await;
    let ended = |line: &&Value| line["event"] == "grant_revoked" && line["tenant"] == PARTNER;
    let ended: Vec<&Value> = lines.iter().filter(ended).collect();
    assert_eq!(ended.len(), 1, "{lines:?}");
    assert_eq!(ended[0]["reason"], "people of its directory are not let in any more");
    // The grant has ended: that the directory is listed again brings back nothing but the sign-in.
    world.configure(|text| {
        text.replace(", allow_unlisted_authority: true", &format!(", allow_unlisted_authority: true{listed}"))
    });
    world.restart().await;
    assert_eq!(refresh(&world, &pat).await.1["error"], "invalid_grant");
    assert_eq!(refresh(&world, &signed_in(&world, "pat").await).await.0, 200, "the control");
}

#[tokio::test]
async fn a_directory_or_an_issuer_whose_keys_are_missing_is_named_and_the_others_are_served() {
    let nobody = "44444444-4444-4444-8444-444444444444";
    let oauth = "oauth:
  clients: [{ id: portal, secret_file: secret, grant_types: ['urn:ietf:params:oauth:grant-type:jwt-bearer'] }]
  identity_assertions:
    - { issuer: '{identity}/assertions/staff', claim: groups, roles: { readers: [Task.Read] } }
    - { issuer: '{identity}/none/such', claim: groups, roles: { readers: [Task.Read] } }
";
    let world = WorldBuilder::new(&Backend::plain().await)
        .identity(directories())
        .entra(&format!("tenants: [{PARTNER}, {nobody}]"))
        .more(oauth)
        .own_tokens_only()
        .start()
        .await;
    let expected = [
        format!("the keys of `{}/{nobody}/v2.0` are not there, and its people are not let in", world.identity.origin()),
        format!("the keys of `{}/none/such` are not there, and its assertions are not taken", world.identity.origin()),
    ];
    let mut ready = String::new();
    for _ in 0..200 {
        ready = world.probe("/readyz").await;
        // Those of the others come within moments.
        if ready.matches("the keys of").count() == expected.len() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    assert!(ready.starts_with("ready\n") && ready.matches("the keys of").count() == 2, "{ready}");
    for note in expected {
        assert!(ready.contains(&note), "`{note}` is not in {ready}");
    }
    for person in ["alice", "pat"] {
        assert!(works(&world, &world.sign_in(person).await).await, "{person}");
    }
}

#[tokio::test]
async fn people_of_a_listed_directory_come_in_under_its_ceiling_and_others_are_told_to_take_another_account() {
    let home = Options::default().tenant_id;
    let policy = format!(
        "\n  tenants: {{ {home}: {{}}, {PARTNER}: {{ roles: [Task.Read] }} }}\
         \n  roles: {{ Task.Read: {{ opens: [read] }}, Task.All: {{ opens: [read, delete] }} }}\
         \n  tools: {{ weather: {{ read: ['get_*'], delete: ['delete_*'] }} }}"
    );
    let world = WorldBuilder::new(&Backend::plain().await)
        .identity(directories())
        .entra(&format!("tenants: [{PARTNER}]"))
        .policy(&policy)
        .own_tokens_only()
        .start()
        .await;
    let (alice, pat) = (world.sign_in("alice").await, world.sign_in("pat").await);
    assert_eq!(names(&world, &alice).await, ["get_forecast", "delete_station"], "the control");
    assert_eq!(claims(&format!("Bearer {}", pat.access))["tid"], PARTNER);
    assert_eq!(names(&world, &pat).await, ["get_forecast"]);
    let flow = Flow::register(&world).await;
    let (error, words) = outcome(&flow, "sam", None).await.unwrap_err();
    assert_eq!(error, "access_denied");
    assert!(words.contains("another organization"), "{words}");
    let said = world.gateway.said();
    assert!(said.contains(STRANGER) && said.contains("entra.tenants"), "{said}");
}

#[tokio::test]
async fn a_scope_with_step_up_is_granted_to_a_strong_and_fresh_sign_in_only() {
    let policy = "
  tags: { read: { title: Look }, delete: { title: Remove stations, step_up: { acr: c1, max_age: 10m } } }
  roles: { Task.All: { opens: [read, delete] } }
  tools: { weather: { read: ['get_*'], delete: ['delete_*'] } }
";
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).policy(policy).own_tokens_only().start().await;
    // A session of an hour is no proof of anybody's being there.
    world.identity.set_session("alice", Some(3600));
    let delete = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "delete_station", "arguments": {} } });
    let usual = world.sign_in("alice").await;
    assert!(!usual.scope.contains("delete"), "{}", usual.scope);
    let refused = world.post(&usual.access, &delete(1)).await;
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("delete"), "{challenge}");
    let flow = Flow::register(&world).await;
    let code = outcome(&flow, "alice", Some("read delete")).await.expect("a code");
    let strong = flow.tokens(&code).await;
    let claims = claims(&format!("Bearer {}", strong.access));
    assert_eq!(claims["acrs"], json!(["c1"]));
    let answer: Value = world.post(&strong.access, &delete(2)).await.json().await.unwrap();
    assert!(answer["result"].is_object(), "{answer}");
    let asked = world.identity.requests().into_iter().rev().find(|request| request.starts_with("authorize?")).unwrap();
    assert!(asked.contains("max_age=600") && asked.contains("prompt=login") && asked.contains("acrs"), "{asked}");
    let before = backend.requests().len();
    world.identity.set_weak("alice", true);
    let (error, words) = outcome(&flow, "alice", Some("read delete")).await.unwrap_err();
    assert_eq!(error, "access_denied");
    assert!(words.contains("not strong"), "{words}");
    assert!(outcome(&flow, "alice", Some("read")).await.is_ok(), "the control: reading wants nothing");
    assert_eq!(backend.requests().len(), before);
}

#[tokio::test]
async fn a_token_of_the_platform_is_a_credential_and_is_read_anew_each_time() {
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("token");
    std::fs::write(&file, "a.first.token").unwrap();
    let world = WorldBuilder::new(&Backend::plain().await)
        .credential(&format!("federated_token_file: '{}'", file.display()))
        .own_tokens_only()
        .start()
        .await;
    let flow = Flow::register(&world).await;
    for token in ["a.first.token", "a.second.token"] {
        world.identity.set_federated_token(token);
        std::fs::write(&file, token).unwrap();
        assert!(works(&world, &flow.tokens(&flow.code("rita").await).await).await, "{token}");
    }
    std::fs::write(&file, "a.first.token").unwrap();
    assert_eq!(outcome(&flow, "rita", None).await.unwrap_err().0, "server_error", "a token that is over");
    assert!(world.gateway.said().contains("AADSTS700027"), "{}", world.gateway.said());
}

/// Runs `openssl`, which makes the RSA keys that Entra wants.
fn openssl(directory: &std::path::Path, arguments: &[&str]) {
    let output = std::process::Command::new("openssl").args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test]
async fn a_certificate_is_a_credential_as_long_as_the_registration_has_it() {
    let files = tempfile::tempdir().unwrap();
    let pair = |name: &str| {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let of = ["-keyout", &key, "-out", &certificate, "-subj", "/CN=gateway"];
        openssl(files.path(), &[&["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"][..], &of].concat());
        openssl(files.path(), &["x509", "-in", &certificate, "-outform", "DER", "-out", "der"]);
        openssl(files.path(), &["rsa", "-in", &key, "-pubout", "-outform", "DER", "-out", "public"]);
        let read = |file: &str| std::fs::read(files.path().join(file)).unwrap();
        Certificate { thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(read("der"))), public_key: read("public") }
    };
    let (known, _other) = (pair("known"), pair("other"));
    let put = |name: &str| {
        for (from, to) in [("key", "gateway.key"), ("pem", "gateway.pem")] {
            std::fs::copy(files.path().join(format!("{name}.{from}")), files.path().join(to)).unwrap();
        }
    };
    put("known");
    let at = files.path().display();
    let world = WorldBuilder::new(&Backend::plain().await)
        .identity(Options { certificate: Some(known), ..Options::default() })
        .credential(&format!("certificate: {{ key_file: '{at}/gateway.key', certificate_file: '{at}/gateway.pem' }}"))
        .own_tokens_only()
        .start()
        .await;
    let flow = Flow::register(&world).await;
    assert!(works(&world, &flow.tokens(&flow.code("rita").await).await).await);
    // It is good for two days, and operators see when it ends.
    world.until_metric("portcullis_entra_certificate_lifetime_seconds 172800").await;
    let metrics = world.probe("/metrics").await;
    let ends =
        metrics.lines().find_map(|line| line.strip_prefix("portcullis_entra_certificate_expiry_timestamp_seconds "));
    let made = std::fs::metadata(files.path().join("known.pem")).unwrap().modified().unwrap();
    let made = made.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(ends.unwrap().parse::<u64>().unwrap().abs_diff(made + 172_800) < 60, "{metrics}");
    put("other");
    assert_eq!(outcome(&flow, "rita", None).await.unwrap_err().0, "server_error");
    let said = world.gateway.said();
    assert!(said.contains("upload `entra.certificate` to the app registration"), "{said}");
    put("known");
    assert!(outcome(&flow, "rita", None).await.is_ok(), "and is looked at each time");
}
