//! Clients that nobody registered by hand: named by a metadata document, or known from the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use portcullis_tests::documents::{Documents, Page};
use portcullis_tests::flow::REDIRECT;
use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use reqwest::header::{AUTHORIZATION, COOKIE, LOCATION};
use serde_json::{Value, json};

const APP: &str = "https://client.example/oauth/app.json";
const DOMAINS: &str = "client_domains: [client.example, other.example]";

fn document(url: &str) -> Value {
    json!({ "client_id": url, "client_name": "A documented app", "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" })
}

fn changed(url: &str, name: &str, value: Value) -> String {
    let mut document = document(url);
    document[name] = value;
    document.to_string()
}

async fn world(documents: &Documents) -> World {
    let oauth = format!("oauth: {{ {}, {DOMAINS} }}\n", documents.config());
    WorldBuilder::new(&Backend::plain().await).more(&oauth).start().await
}

#[tokio::test]
async fn a_client_with_a_document_signs_in_and_refreshes_when_its_host_is_gone() {
    let documents = Documents::start().await;
    documents.put(APP, Page::json(&document(APP)));
    let mut world = world(&documents).await;
    let metadata = format!("{}/.well-known/oauth-authorization-server", world.url());
    let metadata: Value = world.http().get(metadata).send().await.unwrap().json().await.unwrap();
    assert_eq!(metadata["client_id_metadata_document_supported"], true);
    let tokens = {
        let flow = Flow::of(&world, APP);
        let page = flow.consent("rita").await.page;
        assert!(page.contains("A documented app") && page.contains("<strong>client.example</strong>"), "{page}");
        assert!(page.contains("127.0.0.1:33418") && page.contains("on this device"));
        flow.tokens(&flow.code("rita").await).await
    };
    let list = world.ask(&tokens.access, "tools/list", json!({})).await;
    assert!(list["result"]["tools"].is_array(), "{list}");
    documents.take_down();
    world.restart().await;
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 400, "nobody says any more who it is");
    let again = Flow::of(&world, APP).refreshed(&tokens.refresh).await;
    assert_ne!(again.access, tokens.access);
}

#[tokio::test]
async fn a_document_that_changed_is_asked_about_as_it_is_now() {
    let documents = Documents::start().await;
    documents.put(APP, Page::json(&document(APP)));
    let mut world = world(&documents).await;
    {
        let flow = Flow::of(&world, APP);
        let _ = flow.tokens(&flow.code("rita").await).await;
    }
    documents.put(APP, Page::json(&changed(APP, "client_name", json!("Another name"))));
    world.restart().await;
    let page = Flow::of(&world, APP).begin("rita").await.text().await.unwrap();
    assert!(page.contains("Another name") && page.contains("Allow and sign in"), "consent is asked again: {page}");
    documents.put(APP, Page::json(&changed(APP, "redirect_uris", json!(["http://127.0.0.1/elsewhere"]))));
    world.restart().await;
    let response = Flow::of(&world, APP).begin("rita").await;
    assert_eq!((response.status().as_u16(), response.headers().contains_key(LOCATION)), (400, false));
}

/// Documents that are not as they must be, by what is wrong with them.
fn broken(url: &str) -> Vec<(&'static str, Page)> {
    let fine = document(url).to_string();
    let json = "content-type: application/json\r\n";
    vec![
        ("not found", Page::with("404 Not Found", json, fine.clone())),
        ("an error", Page::with("500 Internal Server Error", json, fine.clone())),
        ("partial", Page::with("206 Partial Content", json, fine.clone())),
        ("moved", Page::with("301 Moved Permanently", &format!("location: {APP}\r\n"), "")),
        ("found inside", Page::with("302 Found", "location: http://127.0.0.1:1/\r\n", "")),
        ("see itself", Page::with("307 Temporary Redirect", &format!("location: {url}\r\n"), "")),
        ("html", Page::with("200 OK", "content-type: text/html\r\n", fine.clone())),
        ("no type", Page::with("200 OK", "", fine.clone())),
        ("compressed", Page::with("200 OK", &format!("{json}content-encoding: gzip\r\n"), fine.clone())),
        ("too long", Page::json(&changed(url, "software_id", json!("x".repeat(70_000))))),
        ("cut short", Page { body: fine.as_bytes()[..40].to_vec(), ..Page::json(&fine.clone()) }),
        ("huge head", Page::with("200 OK", &format!("{json}x-long: {}\r\n", "x".repeat(1_000_000)), fine.clone())),
        ("a mark before it", Page::json(&format!("\u{feff}{fine}"))),
        ("a member twice", Page::json(&fine.replacen('{', "{\"client_name\":\"Claude\",", 1))),
        ("another id", Page::json(&document("https://client.example/oauth/APP.json"))),
        ("the id of another host", Page::json(&document("https://other.example/oauth/app.json"))),
        ("a secret", Page::json(&changed(url, "client_secret", json!("s3cret")))),
        ("a symmetric method", Page::json(&changed(url, "token_endpoint_auth_method", json!("client_secret_post")))),
        ("keys that are not there", Page::json(&changed(url, "token_endpoint_auth_method", json!("private_key_jwt")))),
        (
            "a script",
            Page::json(&changed(url, "redirect_uris", json!(["http://127.0.0.1/callback", "javascript:alert(1)"]))),
        ),
        ("back to us", Page::json(&changed(url, "redirect_uris", json!(["https://*.client.example/cb"])))),
        ("no name", Page::json(&changed(url, "client_name", json!("\u{200b}")))),
        ("no JSON", Page::json(&"{")),
        ("nothing", Page::json(&"")),
    ]
}

#[tokio::test]
async fn a_document_that_is_not_as_it_must_be_names_nobody_and_nobody_learns_why() {
    let documents = Documents::start().await;
    documents.put(APP, Page::json(&document(APP)));
    let world = world(&documents).await;
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200, "the control");
    let unknown = Flow::of(&world, "an-unknown-client").begin("rita").await.text().await.unwrap();
    for (number, what) in broken("").iter().map(|(what, _)| *what).enumerate() {
        let url = format!("https://client.example/broken/{number}.json");
        let (_, page) = broken(&url).swap_remove(number);
        documents.put(&url, page);
        let response = Flow::of(&world, &url).begin("rita").await;
        assert_eq!((response.status().as_u16(), response.headers().contains_key(LOCATION)), (400, false), "{what}");
        assert_eq!(response.text().await.unwrap(), unknown, "{what}");
    }
    // Nor whether a host is not there, not trusted, or not who it says it is.
    for url in ["https://client.example/nothing", "https://untrusted.example/app.json", "https://keys.example/app.json"]
    {
        assert_eq!(Flow::of(&world, url).begin("rita").await.text().await.unwrap(), unknown, "{url}");
    }
    // The operator does, by kind: with one of another host that says 404.
    let metrics = world.probe("/metrics").await;
    for (outcome, count) in [("fetched", "1"), ("status", "7"), ("not_json", "3")] {
        let line = format!("portcullis_client_documents_total{{document=\"metadata\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
    for outcome in ["rejected", "unreadable"] {
        assert!(metrics.contains(&format!("outcome=\"{outcome}\"}}")), "`{outcome}` is not in\n{metrics}");
    }
}

#[tokio::test]
async fn a_document_that_drips_is_given_up_within_seconds() {
    let documents = Documents::start().await;
    let slow = "https://client.example/slow.json";
    documents.put(slow, Page::json(&document(slow)).slowly(Duration::from_millis(300)));
    documents.put(APP, Page::json(&document(APP)));
    let world = world(&documents).await;
    let (held, free) = (Flow::of(&world, slow), Flow::of(&world, APP));
    let both = async { tokio::join!(held.begin("rita"), free.begin("rita")) };
    let (refused, fine) = tokio::time::timeout(Duration::from_secs(30), both).await.expect("it is given up");
    assert_eq!((refused.status().as_u16(), fine.status().as_u16()), (400, 200));
    assert_eq!(Flow::of(&world, slow).begin("rita").await.status(), 400, "and is not tried again at once");
    assert_eq!(documents.seen().iter().filter(|head| head.contains("slow.json")).count(), 1);
    world.until_metric("portcullis_client_documents_total{document=\"metadata\",outcome=\"slow\"} 1").await;
}

#[tokio::test]
async fn nothing_is_fetched_for_what_cannot_name_a_client() {
    let documents = Documents::start().await;
    let world = world(&documents).await;
    for url in [
        "http://client.example/app.json",
        "https://client.example",
        "https://client.example/",
        "https://client.example/app#x",
        "https://client.example/app?x",
        "https://u@client.example/app",
        "https://client.example/../app",
        "https://client.example/app/.",
        "https://client.example/%2e%2e/app",
        "https://client.example:443/app",
        "https://client.example:22/app",
        "https://CLIENT.example/app",
        "https://client.example./app",
        "https://127.0.0.1/app",
        "https://[::1]/app",
        "https://[::ffff:127.0.0.1]/app",
        "https://2130706433/app",
        "https://localhost/app",
        "https://169.254.169.254/latest/meta-data",
        "https://metadata.google.internal/computeMetadata/v1/",
        "https://untrusted.example/app",
        "https://client.example.evil.example/app",
        "https://evil.example\\@client.example/app",
        "https://evil.example@client.example/app",
        "file://client.example/etc/passwd",
        "gopher://client.example/x",
    ] {
        let response = Flow::of(&world, url).begin("rita").await;
        assert_eq!((response.status().as_u16(), response.headers().contains_key(LOCATION)), (400, false), "{url}");
    }
    assert_eq!(documents.seen(), Vec::<String>::new());
    documents.put(APP, Page::json(&document(APP)));
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200, "the control");
    assert_eq!(documents.seen().len(), 1);
}

#[tokio::test]
async fn a_crowd_causes_one_fetch_and_it_carries_nothing_of_anybody() {
    let documents = Documents::start().await;
    documents.put(APP, Page::json(&document(APP)));
    let world = world(&documents).await;
    let flow = Flow::of(&world, APP);
    let url = url::Url::parse_with_params(&format!("{}/authorize", world.url()), flow.parameters("rita")).unwrap();
    let visit =
        || world.http().get(url.clone()).header(COOKIE, "session=s3cret").header(AUTHORIZATION, "Bearer s3cret").send();
    let visits: Vec<_> = (0..50).map(|_| tokio::spawn(visit())).collect();
    for visit in visits {
        assert_eq!(visit.await.unwrap().unwrap().status(), 200);
    }
    let seen = documents.seen();
    assert_eq!(seen.len(), 1, "{seen:?}");
    let head = seen[0].to_ascii_lowercase();
    assert!(head.starts_with("get /oauth/app.json http/1.1") && head.contains("user-agent: portcullis/"), "{head}");
    for name in ["cookie", "authorization", "referer", "origin", "x-forwarded", "s3cret", "accept-encoding"] {
        assert!(!head.contains(name), "{name}: {head}");
    }
}

fn form(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const SECRET: &str = "a-secret-of-many-characters+/:";
const POLICY: &str = "
  roles:
    reader: { members: { roles: [Task.Read] }, opens: [read] }
    job: { members: { apps: [Report.Run] }, opens: [read] }
  tools: { weather: { read: ['get_*', 'list_*'], write: ['add_*'] } }
";

/// A world with a client of the configuration that acts on its own behalf, and one that signs people in.
async fn with_configured() -> (World, Backend, tempfile::TempDir) {
    let files = tempfile::tempdir().unwrap();
    let secret = files.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).unwrap();
    let secret = secret.display();
    let backend = Backend::plain().await;
    let oauth = format!(
        "oauth: {{ clients: [\
           {{ id: report, secret_file: '{secret}', grant_types: [client_credentials], roles: [Report.Run] }},\
           {{ id: portal, name: The portal, secret_file: '{secret}', redirect_uris: ['https://portal.corp.example/cb', '{REDIRECT}'] }}] }}\n"
    );
    let world = WorldBuilder::new(&backend).policy(POLICY).own_tokens_only().more(&oauth).start().await;
    (world, backend, files)
}

async fn token(world: &World, header: Option<(&str, &str)>, pairs: &[(&str, &str)]) -> (u16, Value) {
    let mut request = world.http().post(format!("{}/token", world.url())).form(&form(pairs));
    if let Some((id, secret)) = header {
        let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
        request = request.header(AUTHORIZATION, format!("Basic {pair}"));
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn a_job_gets_a_token_for_itself_with_the_roles_of_the_configuration_and_no_others() {
    let (world, backend, _files) = with_configured().await;
    let own = [("grant_type", "client_credentials")];
    let (status, body) = token(&world, Some(("report", SECRET)), &own).await;
    assert_eq!((status, body.get("refresh_token")), (200, None), "{body}");
    let in_body = [("grant_type", "client_credentials"), ("client_id", "report"), ("client_secret", SECRET)];
    assert_eq!(token(&world, None, &in_body).await.0, 200);
    let access = body["access_token"].as_str().unwrap();
    let listed = world.ask(access, "tools/list", json!({})).await;
    let names: Vec<&str> =
        listed["result"]["tools"].as_array().unwrap().iter().filter_map(|tool| tool["name"].as_str()).collect();
    assert!(names.contains(&"get_forecast") && !names.contains(&"add_station"), "{names:?}");
    let called = world.ask(access, "tools/call", json!({ "name": "get_forecast" })).await;
    assert!(called["result"].is_object(), "{called}");
    let before = backend.requests().len();
    let refused = world.ask(access, "tools/call", json!({ "name": "add_station" })).await;
    assert_eq!((&refused["error"]["code"], backend.requests().len()), (&json!(-32602), before));
    let audited = world.audit(6).await;
    assert!(audited.iter().any(|line| line["actor"]["kind"] == "app" && line["actor"]["client"] == "report"));
    for (what, status, error, header, pairs) in [
        ("a wrong secret", 401, "invalid_client", Some(("report", "wrong")), &own[..]),
        ("no secret", 401, "invalid_client", None, &[own[0], ("client_id", "report")]),
        ("somebody else's name", 401, "invalid_client", Some(("nobody", SECRET)), &own),
        ("two ways", 400, "invalid_request", Some(("report", SECRET)), &[own[0], ("client_secret", SECRET)]),
        ("two names", 401, "invalid_client", Some(("report", SECRET)), &[own[0], ("client_id", "portal")]),
        ("not its grant", 400, "unauthorized_client", Some(("portal", SECRET)), &own),
        (
            "another resource",
            400,
            "invalid_target",
            Some(("report", SECRET)),
            &[own[0], ("resource", "https://evil.example/mcp")],
        ),
        ("another scope", 400, "invalid_scope", Some(("report", SECRET)), &[own[0], ("scope", "root")]),
    ] {
        let (got, body) = token(&world, header, pairs).await;
        assert_eq!((got, body["error"].as_str()), (status, Some(error)), "{what}: {body}");
    }
    assert_eq!(Flow::of(&world, "report").begin("rita").await.status(), 400, "it signs nobody in");
}

#[tokio::test]
async fn a_client_of_the_configuration_signs_people_in_and_shows_its_secret_each_time() {
    let (world, _backend, _files) = with_configured().await;
    let flow = Flow::of(&world, "portal");
    let page = flow.consent("rita").await.page;
    assert!(page.contains("The portal") && page.contains("your administrator"), "{page}");
    let code = flow.code("rita").await;
    let exchange = flow.code_form(&code);
    let pairs: Vec<(&str, &str)> = exchange.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(token(&world, None, &pairs).await.0, 401, "a code is no secret");
    assert_eq!(token(&world, Some(("portal", "wrong")), &pairs).await.0, 401);
    let (status, tokens) = token(&world, Some(("portal", SECRET)), &pairs).await;
    assert_eq!(status, 200, "a failed attempt spends nothing: {tokens}");
    let refresh = flow.refresh_form(tokens["refresh_token"].as_str().unwrap());
    let pairs: Vec<(&str, &str)> = refresh.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(token(&world, None, &pairs).await.0, 401);
    assert_eq!(token(&world, Some(("portal", SECRET)), &pairs).await.0, 200);
    let metadata = format!("{}/.well-known/oauth-authorization-server", world.url());
    let metadata: Value = world.http().get(metadata).send().await.unwrap().json().await.unwrap();
    let methods = json!(["none", "private_key_jwt", "client_secret_basic", "client_secret_post"]);
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], methods);
    assert_eq!(metadata["grant_types_supported"], json!(["authorization_code", "refresh_token", "client_credentials"]));
}

#[tokio::test]
async fn clients_that_make_no_sense_are_faults_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let sample = std::fs::read_to_string(portcullis_tests::process::file("../gateway.yaml")).unwrap();
    std::fs::write(directory.path().join("good"), SECRET).unwrap();
    std::fs::write(directory.path().join("short"), "hunter2").unwrap();
    std::fs::write(directory.path().join("keys"), r#"{"keys":[{"kty":"oct","k":"AA"}]}"#).unwrap();
    let own = "grant_types: [client_credentials], roles: [R]";
    let cases = [
        (format!("clients: [{{ id: a, secret_file: good, {own} }}]"), ""),
        ("clients: [{ id: a, redirect_uris: ['https://a.corp.example/cb'] }]".to_owned(), ""),
        ("redirect_hosts: [defaults, '*.corp.example'], client_domains: []".to_owned(), ""),
        (format!("clients: [{{ id: 'https://a/b', secret_file: good, {own} }}]"), "cannot be a client's id"),
        (format!("clients: [{{ id: a, {own} }}]"), "needs a `secret_file`"),
        (format!("clients: [{{ id: a, secret_file: short, {own} }}]"), "at least 24 characters"),
        (format!("clients: [{{ id: a, secret_file: missing, {own} }}]"), "cannot be read"),
        (format!("clients: [{{ id: a, secret_file: good, jwks_file: keys, {own} }}]"), "keep one of"),
        (format!("clients: [{{ id: a, jwks_file: keys, {own} }}]"), "no set of public keys"),
        (
            format!("clients: [{{ id: a, secret_file: good, {own} }}, {{ id: a, secret_file: good, {own} }}]"),
            "there twice",
        ),
        ("clients: [{ id: a, secret_file: good, grant_types: [client_credentials] }]".to_owned(), "belong together"),
        ("clients: [{ id: a, roles: [R], redirect_uris: ['https://a.example/cb'] }]".to_owned(), "belong together"),
        ("clients: [{ id: a }]".to_owned(), "belong together"),
        ("clients: [{ id: a, redirect_uris: ['javascript:alert(1)'] }]".to_owned(), "`javascript:alert(1)`"),
        (
            "clients: [{ id: a, redirect_uris: ['https://mcp.example.com/auth/callback'] }]".to_owned(),
            "back to the gateway",
        ),
        (
            "clients: [{ id: a, grant_types: [password], redirect_uris: ['https://a.example/cb'] }]".to_owned(),
            "no grant type",
        ),
        ("redirect_hosts: ['*.com']".to_owned(), "`*.com` is no host"),
        ("client_domains: ['https://claude.ai']".to_owned(), "is no host"),
        ("document_double: { address: '127.0.0.1:1', ca_file: good }".to_owned(), "is for tests"),
    ];
    for (written, fault) in cases {
        std::fs::write(directory.path().join("gateway.yaml"), format!("{sample}\noauth: {{ {written} }}\n")).unwrap();
        let mut command = tokio::process::Command::new(portcullis_tests::process::binary("portcullis"));
        let output = command.args(["check", "gateway.yaml"]).current_dir(directory.path()).output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), fault.is_empty(), "{written}: {said}");
        assert!(said.contains(fault) && !said.contains("hunter2"), "{written}: {said}");
    }
}
