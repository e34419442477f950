//! The authorization server as a client, an attacker and a browser see it.

use portcullis_tests::flow::{REDIRECT, location, parameter};
use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use reqwest::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use serde_json::{Value, json};

async fn world() -> World {
    WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await
}

async fn get(world: &World, path: &str) -> Value {
    world.http().get(format!("{}{path}", world.url())).send().await.unwrap().json().await.unwrap()
}

async fn error(response: reqwest::Response) -> String {
    response.json::<Value>().await.unwrap()["error"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn the_issuer_is_the_same_bytes_everywhere() {
    let world = world().await;
    let url = world.url();
    let server = get(&world, "/.well-known/oauth-authorization-server").await;
    assert_eq!(server, get(&world, "/.well-known/openid-configuration").await);
    let resource = get(&world, "/.well-known/oauth-protected-resource/mcp").await;
    assert_eq!(resource, get(&world, "/.well-known/oauth-protected-resource").await);
    assert_eq!(server["issuer"], url);
    assert_eq!(resource["authorization_servers"], json!([url]));
    assert_eq!(resource["resource"], format!("{url}/mcp"));
    assert_eq!(server["code_challenge_methods_supported"], json!(["S256"]));
    assert_eq!(server["token_endpoint_auth_methods_supported"], json!(["none", "private_key_jwt"]));
    let keys = get(&world, "/jwks").await;
    assert!(keys["keys"][0]["x"].is_string() && keys["keys"][0]["d"].is_null());
    let evil = world
        .http()
        .get(format!("{url}/.well-known/oauth-authorization-server"))
        .header("x-forwarded-host", "evil.example")
        .send()
        .await
        .unwrap();
    assert!(!evil.text().await.unwrap().contains("evil"));
}

#[tokio::test]
async fn only_harmless_clients_can_register() {
    let world = world().await;
    let register = async |metadata: Value| {
        let response = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap_or_default())
    };
    let with = |uris: Value| json!({ "client_name": "x", "redirect_uris": uris });
    for uris in [
        json!([]),
        json!(["http://evil.example/cb"]),
        json!(["javascript:alert(1)"]),
        json!(["https://a.example/cb#f"]),
        json!([format!("{}/auth/callback", world.url())]),
        json!("https://a.example/cb"),
        json!([REDIRECT, "data:text/html,x"]),
        json!(vec![REDIRECT; 1000]),
    ] {
        let (status, body) = register(with(uris.clone())).await;
        assert_eq!(status, 400, "{uris} {body}");
    }
    for (name, value) in [
        ("token_endpoint_auth_method", json!("private_key_jwt")),
        ("grant_types", json!(["implicit"])),
        ("response_types", json!(["token"])),
        ("client_name", json!("x".repeat(1000))),
    ] {
        let mut metadata = with(json!([REDIRECT]));
        metadata[name] = value;
        assert_eq!(register(metadata).await.0, 400, "{name}");
    }
    let (status, body) = register(with(json!([REDIRECT, "https://a.example/cb", "cursor://x/cb"]))).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    assert!(body["client_secret"].is_null());
    // Clients that ask for a secret, as some do whatever the metadata says, are told that they are public.
    let mut metadata = with(json!([REDIRECT]));
    metadata["token_endpoint_auth_method"] = json!("client_secret_post");
    let (status, body) = register(metadata).await;
    assert_eq!((status, &body["token_endpoint_auth_method"]), (201, &json!("none")));
    assert!(body["client_secret"].is_null());
}

#[tokio::test]
async fn faults_are_pages_until_the_client_is_known_and_redirects_after_that() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    for (name, value) in [
        ("client_id", "unknown"),
        ("client_id", ""),
        ("redirect_uri", ""),
        ("redirect_uri", "https://evil.example/cb"),
        ("redirect_uri", "http://127.0.0.1:33418/callback2"),
        ("redirect_uri", "http://localhost:33418/callback"),
    ] {
        let mut parameters = flow.parameters("rita");
        parameters.insert(name.to_owned(), value.to_owned());
        let response = flow.authorize(&parameters).await;
        assert_eq!(response.status(), 400, "{name}={value}");
        assert!(!response.headers().contains_key(LOCATION));
    }
    for (name, value, code) in [
        ("response_type", "token", "unsupported_response_type"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("code_challenge_method", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge", "", "invalid_request"),
        ("resource", "https://evil.example/mcp", "invalid_target"),
        ("scope", "read root", "invalid_scope"),
        ("prompt", "none", "interaction_required"),
        ("request", "x", "request_not_supported"),
        ("request_uri", "https://evil.example", "request_uri_not_supported"),
        ("response_mode", "fragment", "invalid_request"),
    ] {
        let mut parameters = flow.parameters("rita");
        parameters.insert(name.to_owned(), value.to_owned());
        let answer = location(&flow.authorize(&parameters).await);
        assert!(answer.as_str().starts_with(REDIRECT));
        assert_eq!(parameter(&answer, "error").as_deref(), Some(code), "{name}={value}");
        assert_eq!(
            (parameter(&answer, "state").as_deref(), parameter(&answer, "iss")),
            (Some("the state"), Some(world.url()))
        );
    }
    let twice = format!("{}/authorize?client_id={}&client_id={}", world.url(), flow.client_id, flow.client_id);
    assert_eq!(world.http().get(twice).send().await.unwrap().status(), 400);
    let other_port = {
        let mut p = flow.parameters("rita");
        p.insert("redirect_uri".to_owned(), REDIRECT.replace("33418", "40000"));
        p
    };
    assert_eq!(flow.authorize(&other_port).await.status(), 200, "a loopback port may differ");
    assert_eq!(flow.authorize(&flow.parameters("rita")).await.status(), 200);
}

#[tokio::test]
async fn the_consent_page_names_the_client_and_cannot_be_framed_or_scripted() {
    let world = world().await;
    let metadata = json!({ "client_name": "<img src=x onerror=alert(1)>\u{202e}evil", "redirect_uris": [REDIRECT] });
    let registered: Value = world
        .http()
        .post(format!("{}/register", world.url()))
        .json(&metadata)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let flow = Flow { client_id: registered["client_id"].as_str().unwrap().to_owned(), ..Flow::register(&world).await };
    let response = flow.authorize(&flow.parameters("rita")).await;
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert!(
        header("content-security-policy").contains("frame-ancestors 'none'")
            && !header("content-security-policy").contains("form-action")
    );
    assert_eq!(
        (header("x-frame-options"), header("referrer-policy"), header("cache-control")),
        ("DENY".to_owned(), "no-referrer".to_owned(), "no-store".to_owned())
    );
    let mut cookies = response.headers().get_all(SET_COOKIE).iter();
    assert!(cookies.all(|line| !line.to_str().unwrap().contains("login")), "no login cookie before consent");
    let page = response.text().await.unwrap();
    assert!(!page.contains("<img") && !page.contains('\u{202e}') && !page.contains("<script"));
    assert!(
        page.contains("127.0.0.1")
            && page.contains("Nobody has verified it")
            && page.contains("a program on this device")
    );
}

#[tokio::test]
async fn a_form_that_was_not_shown_is_refused() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let consent = flow.consent("rita").await;
    let other = flow.consent("rita").await;
    let mut crossed = consent.clone();
    crossed.fields.insert("csrf".to_owned(), other.fields["csrf"].clone());
    assert_eq!(flow.decide(&crossed, "approve").await.status(), 403);
    let mut empty = consent.clone();
    empty.fields.insert("csrf".to_owned(), String::new());
    assert_eq!(flow.decide(&empty, "approve").await.status(), 403);
    let mut second_browser = consent.clone();
    second_browser.cookie.clone_from(&other.cookie);
    assert_eq!(flow.decide(&second_browser, "approve").await.status(), 403);
    let mut form = consent.fields.clone();
    form.insert("decision".to_owned(), "approve".to_owned());
    for (name, value) in [("origin", "https://evil.example"), ("sec-fetch-site", "cross-site")] {
        let request = world.http().post(format!("{}/consent", world.url())).header("cookie", &consent.cookie);
        assert_eq!(request.header(name, value).form(&form).send().await.unwrap().status(), 403, "{name}");
    }
    assert_eq!(flow.decide(&consent, "approve").await.status(), 303, "the honest form still works");
    assert_eq!(flow.decide(&consent, "approve").await.status(), 400, "once");
    let refused = location(&flow.decide(&other, "deny").await);
    assert_eq!(parameter(&refused, "error").as_deref(), Some("access_denied"));
}

#[tokio::test]
async fn a_login_is_finished_in_the_browser_that_consented_and_once() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let (callback, cookie) = flow.at_callback("rita").await;
    assert_eq!(world.http().get(callback.clone()).send().await.unwrap().status(), 403, "another browser");
    assert_eq!(flow.arrive(&callback, &cookie).await.status(), 400, "and the login is over");
    let (callback, cookie) = flow.at_callback("rita").await;
    let forged = format!("{}=forged", cookie.split('=').next().unwrap());
    assert_eq!(flow.arrive(&callback, &forged).await.status(), 403);
    let (first, cookie_of_first) = flow.at_callback("rita").await;
    let (second, cookie_of_second) = flow.at_callback("rita").await;
    let both = format!("{cookie_of_first}; {cookie_of_second}");
    for callback in [&first, &second] {
        assert!(
            parameter(&location(&flow.arrive(callback, &both).await), "code").is_some(),
            "two tabs do not disturb each other"
        );
    }
    assert_eq!(flow.arrive(&first, &both).await.status(), 400, "the back button gives no second code");
    let mut unknown = first.clone();
    unknown.set_query(Some("code=x&state=y"));
    assert_eq!(flow.arrive(&unknown, &both).await.status(), 400);
}

#[tokio::test]
async fn a_code_is_good_once_for_the_one_it_was_issued_to() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let other = Flow::register(&world).await;
    let code = flow.code("rita").await;
    let with = |name: &str, value: &str| {
        let mut form = flow.code_form(&code);
        form.insert(name.to_owned(), value.to_owned());
        form
    };
    for (name, value, expected) in [
        ("client_id", other.client_id.as_str(), "invalid_grant"),
        ("client_id", "unknown", "invalid_client"),
        ("code_verifier", &other.verifier, "invalid_grant"),
        ("code_verifier", "", "invalid_grant"),
        ("code_verifier", "short", "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:1/callback", "invalid_grant"),
        ("resource", "https://evil.example", "invalid_target"),
        ("grant_type", "password", "unsupported_grant_type"),
        ("grant_type", "client_credentials", "unauthorized_client"),
        ("client_assertion", "x", "invalid_client"),
        ("code", "unknown", "invalid_grant"),
    ] {
        assert_eq!(error(flow.token(&with(name, value)).await).await, expected, "{name}={value}");
    }
    let json = world
        .http()
        .post(format!("{}/token", world.url()))
        .header(CONTENT_TYPE, "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(error(json).await, "invalid_request");
    let tokens = flow.tokens(&code).await;
    assert_eq!(tokens.scope, "admin delete read write");
    assert_eq!(error(flow.token(&flow.code_form(&code)).await).await, "invalid_grant");
    assert_eq!(
        error(flow.token(&flow.refresh_form(&tokens.refresh)).await).await,
        "invalid_grant",
        "a replay ends the grant"
    );
}

#[tokio::test]
async fn a_refresh_token_is_good_once_and_its_reuse_ends_the_grant() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let other = Flow::register(&world).await;
    let first = flow.tokens(&flow.code("rita").await).await;
    let stolen = {
        let mut form = flow.refresh_form(&first.refresh);
        form.insert("client_id".to_owned(), other.client_id.clone());
        form
    };
    assert_eq!(error(flow.token(&stolen).await).await, "invalid_grant");
    let wider = {
        let mut form = flow.refresh_form(&first.refresh);
        form.insert("scope".to_owned(), "root".to_owned());
        form
    };
    assert_eq!(error(flow.token(&wider).await).await, "invalid_scope");
    let second = flow.refreshed(&first.refresh).await;
    assert_ne!(first.refresh, second.refresh);
    let again = flow.refreshed(&first.refresh).await;
    assert_eq!(again.refresh, second.refresh, "a lost answer is given again");
    let third = flow.refreshed(&second.refresh).await;
    assert_eq!(error(flow.token(&flow.refresh_form(&first.refresh)).await).await, "invalid_grant");
    assert_eq!(
        error(flow.token(&flow.refresh_form(&third.refresh)).await).await,
        "invalid_grant",
        "the whole family is over"
    );
}

#[tokio::test]
async fn roles_are_read_again_at_every_refresh() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let tokens = flow.tokens(&flow.code("alice").await).await;
    let list = async |token: &str| {
        world.ask(token, "tools/list", json!({})).await["result"]["tools"].as_array().unwrap().len()
    };
    assert_eq!(list(&tokens.access).await, 2);
    world.identity.set_roles("alice", &["Task.Read"]);
    let tokens = flow.refreshed(&tokens.refresh).await;
    assert_eq!(list(&tokens.access).await, 1);
    world.identity.set_down(true);
    let down = flow.token(&flow.refresh_form(&tokens.refresh)).await;
    assert_eq!(down.status(), 503);
    assert!(down.headers().contains_key("retry-after"));
    assert_eq!(list(&tokens.access).await, 1, "tokens that are good stay good");
    world.identity.set_down(false);
    let tokens = flow.refreshed(&tokens.refresh).await;
    world.identity.revoke("alice");
    assert_eq!(error(flow.token(&flow.refresh_form(&tokens.refresh)).await).await, "invalid_grant");
}

#[tokio::test]
async fn a_token_for_less_is_challenged_for_what_it_lacks() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    let mut parameters = flow.parameters("alice");
    parameters.insert("scope".to_owned(), "read offline_access".to_owned());
    let response = flow.authorize(&parameters).await;
    let shown = portcullis_tests::flow::cookie(&response);
    let page = response.text().await.unwrap();
    assert!(page.contains("<code>read</code>") && !page.contains("<code>delete</code>"));
    let tokens = {
        let field = |name: &str| {
            page.split_once(&format!("name=\"{name}\" value=\"")).unwrap().1.split('"').next().unwrap().to_owned()
        };
        let mut fields: std::collections::BTreeMap<String, String> =
            ["transaction", "csrf"].map(|name| (name.to_owned(), field(name))).into();
        fields.extend(portcullis_tests::flow::boxes(&page).into_iter().map(|name| (name, "1".to_owned())));
        let consent = portcullis_tests::flow::Consent { fields, page: page.clone(), cookie: shown };
        let approved = flow.decide(&consent, "approve").await;
        let cookie = approved.headers()[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned();
        let signed_in = world.http().get(location(&approved)).send().await.unwrap();
        let answer = location(&flow.arrive(&location(&signed_in), &cookie).await);
        flow.tokens(&parameter(&answer, "code").unwrap()).await
    };
    assert_eq!(tokens.scope, "read");
    let call = json!({ "jsonrpc": "2.0", "id": 4, "method": "tools/call", "params": { "name": "delete_station" } });
    let refused = world.post(&tokens.access, &call).await;
    assert_eq!(refused.status(), 403);
    let challenge = refused.headers()["www-authenticate"].to_str().unwrap().to_owned();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && challenge.contains("scope=\"delete\""),
        "{challenge}"
    );
    assert_eq!(refused.json::<Value>().await.unwrap()["id"], 4);
    let list = world.ask(&tokens.access, "tools/list", json!({})).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2, "what is one sign-in away is shown");
}

#[tokio::test]
async fn nothing_of_the_client_reaches_the_identity_provider() {
    let world = world().await;
    let flow = Flow::register(&world).await;
    flow.refreshed(&flow.tokens(&flow.code("rita").await).await.refresh).await;
    let requests = world.identity.requests().join("\n");
    assert!(requests.contains("authorize?") && requests.contains("token?"));
    for secret in ["resource", flow.client_id.as_str(), "the%20state", "the+state", "33418"] {
        assert!(!requests.contains(secret), "{secret} in {requests}");
    }
    assert!(
        requests.contains("login_hint=rita")
            && requests.contains("code_challenge_method=S256")
            && requests.contains("nonce=")
    );
}

#[tokio::test]
async fn registrations_grants_and_keys_survive_a_kill() {
    let mut world = world().await;
    let tokens = {
        let flow = Flow::register(&world).await;
        let tokens = flow.tokens(&flow.code("rita").await).await;
        (flow.client_id.clone(), tokens)
    };
    world.gateway.kill().await;
    world.restart().await;
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    assert_eq!(world.post(&tokens.1.access, &list).await.status(), 200);
    let flow = Flow { client_id: tokens.0, ..Flow::register(&world).await };
    flow.refreshed(&tokens.1.refresh).await;
}
