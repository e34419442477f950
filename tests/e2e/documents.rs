//! What is kept of the documents and keys of clients, for how long, and what a crowd of them costs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_tests::documents::{Documents, Page};
use portcullis_tests::{Backend, Calendar, Flow, World, WorldBuilder};
use rcgen::{KeyPair, PublicKeyData, SigningKey};
use serde_json::{Value, json};

const APP: &str = "https://client.example/oauth/app.json";
const OTHER: &str = "https://other.example/oauth/app.json";
const KEYS: &str = "https://keys.example/keys.json";
const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;

fn document(url: &str) -> Value {
    json!({ "client_id": url, "client_name": "A documented app", "redirect_uris": ["http://127.0.0.1/callback"],
        "grant_types": ["authorization_code", "refresh_token"], "token_endpoint_auth_method": "none" })
}

async fn world(documents: &Documents, calendar: &Calendar) -> World {
    let oauth = format!("oauth: {{ {}, client_domains: [client.example, other.example] }}\n", documents.config());
    WorldBuilder::new(&Backend::plain().await).more(&oauth).calendar(calendar).start().await
}

/// The requests so far for what is at this URL.
fn asked(documents: &Documents, url: &str) -> Vec<String> {
    let url = url::Url::parse(url).unwrap();
    let (path, host) = (format!("get {} ", url.path()), format!("host: {}\r\n", url.host_str().unwrap()));
    let heads = documents.seen().into_iter().map(|head| head.to_ascii_lowercase());
    heads.filter(|head| head.starts_with(&path) && head.contains(&host)).collect()
}

#[tokio::test]
async fn a_document_is_asked_for_again_when_it_is_stale_and_not_sent_again_when_it_is_the_same() {
    let (documents, calendar) = (Documents::start().await, Calendar::new());
    documents.put(APP, Page::json(&document(APP)).named("\"first\""));
    let world = world(&documents, &calendar).await;
    let page = async || Flow::of(&world, APP).begin("rita").await.text().await.unwrap();
    assert!(page().await.contains("A documented app"));
    assert!(page().await.contains("A documented app"));
    assert_eq!(asked(&documents, APP).len(), 1, "it is fresh");
    calendar.set(2 * MINUTE);
    assert!(page().await.contains("A documented app"));
    let heads = asked(&documents, APP);
    assert!(heads.len() == 2 && heads[1].contains("if-none-match: \"first\""), "{heads:?}");
    assert!(page().await.contains("A documented app"));
    assert_eq!(asked(&documents, APP).len(), 2, "it is fresh again");
    let mut changed = document(APP);
    changed["client_name"] = json!("Another name");
    documents.put(APP, Page::json(&changed).named("\"second\""));
    calendar.set(4 * MINUTE);
    assert!(page().await.contains("Another name"), "what is another is read anew");
    calendar.set(6 * MINUTE);
    assert!(page().await.contains("Another name"));
    assert!(asked(&documents, APP)[3].contains("if-none-match: \"second\""));
    // The first and the one with another name were fetched, and two confirmed; what was shown besides was at hand.
    let metrics = world.probe("/metrics").await;
    for (outcome, count) in [("fetched", 2), ("unchanged", 2)] {
        let line = format!("portcullis_client_documents_total{{document=\"metadata\",outcome=\"{outcome}\"}} {count}");
        assert!(metrics.lines().any(|found| found == line), "`{line}` is not in\n{metrics}");
    }
    assert!(metrics.contains("document=\"metadata\",outcome=\"cached\"}"), "{metrics}");
}

#[tokio::test]
async fn a_document_goes_on_for_a_day_while_its_host_is_out_and_ends_when_its_host_says_so() {
    let (documents, calendar) = (Documents::start().await, Calendar::new());
    documents.put(APP, Page::json(&document(APP)));
    documents.put(OTHER, Page::json(&document(OTHER)));
    let world = world(&documents, &calendar).await;
    for url in [APP, OTHER] {
        assert_eq!(Flow::of(&world, url).begin("rita").await.status(), 200, "the control");
    }
    documents.take_down();
    calendar.set(2 * MINUTE);
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200);
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200);
    assert_eq!(asked(&documents, APP).len(), 2, "and its host is not asked each time");
    calendar.set(23 * HOUR);
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200);
    documents.put(APP, Page::with("404 Not Found", "", ""));
    calendar.set(23 * HOUR + 2 * MINUTE);
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 400, "it is gone");
    calendar.set(25 * HOUR);
    assert_eq!(Flow::of(&world, OTHER).begin("rita").await.status(), 400, "after a day nobody knows");
}

#[tokio::test]
async fn whoever_names_any_number_of_urls_of_a_host_shuts_nobody_out_for_longer_than_they_take() {
    let (documents, calendar) = (Documents::start().await, Calendar::new());
    documents.put(APP, Page::json(&document(APP)));
    documents.put(OTHER, Page::json(&document(OTHER)));
    let junk = |number: usize| format!("https://client.example/junk/{number}.json");
    for number in 0..60 {
        documents.put(&junk(number), Page::json(&document(&junk(number))).slowly(Duration::from_millis(100)));
    }
    let world = std::sync::Arc::new(world(&documents, &calendar).await);
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..60 {
        let world = std::sync::Arc::clone(&world);
        crowd.spawn(async move { Flow::of(&world, &junk(number)).begin("rita").await.status().as_u16() });
    }
    let fetched = || documents.seen().iter().filter(|head| head.contains("/junk/")).count();
    while fetched() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(Flow::of(&world, OTHER).begin("rita").await.status(), 200, "another host's clients do not notice");
    let during = Flow::of(&world, APP).begin("rita").await.status();
    while let Some(status) = crowd.join_next().await {
        assert_eq!(status.unwrap(), 400);
    }
    assert!((4..=12).contains(&fetched()), "a few at a time: {}", fetched());
    // Whatever came of it then, nobody was told that this client is none.
    assert_eq!(Flow::of(&world, APP).begin("rita").await.status(), 200, "during the rush it was {during}");
}

/// A client's key pair under a name.
struct ClientKey {
    kid: &'static str,
    pair: KeyPair,
}

impl ClientKey {
    fn new(kid: &'static str) -> Self {
        Self { kid, pair: KeyPair::generate().unwrap() }
    }

    /// Its public half as a set of one.
    fn set(&self) -> Value {
        let (x, y) = self.pair.der_bytes()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        json!({ "keys": [{ "kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.kid, "x": x, "y": y }] })
    }

    /// An assertion of the client for this server (RFC 7523 section 3), so many seconds from now.
    #[expect(clippy::disallowed_methods, reason = "the gateway's calendar is set by how far it is from the machine's")]
    fn assertion(&self, world: &World, offset: i64) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let claims = json!({ "iss": APP, "sub": APP, "aud": world.url(), "jti": rand::random::<u64>().to_string(),
            "exp": now.checked_add_signed(offset).unwrap() + 200 });
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": self.kid });
        let message = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let signature = fixed(&self.pair.sign(message.as_bytes()).unwrap());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The two numbers of a DER signature, each in 32 bytes (RFC 7518 section 3.4).
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let (number, after) = rest[2..].split_at(rest[1].into());
        let number = &number[number.iter().take_while(|byte| **byte == 0).count()..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = after;
    }
    out
}

#[tokio::test]
async fn a_client_shows_itself_by_the_keys_that_it_publishes_and_replaces_them() {
    let (documents, calendar) = (Documents::start().await, Calendar::new());
    let (first, second, foreign) = (ClientKey::new("1"), ClientKey::new("2"), ClientKey::new("1"));
    let mut with_keys = document(APP);
    with_keys["token_endpoint_auth_method"] = json!("private_key_jwt");
    with_keys["jwks_uri"] = json!(KEYS);
    documents.put(APP, Page::json(&with_keys));
    documents.put(KEYS, Page::json(&first.set()).named("\"keys\""));
    let world = world(&documents, &calendar).await;
    let flow = Flow::of(&world, APP);
    let send = async |form: &std::collections::BTreeMap<String, String>, assertion: Option<String>| {
        let mut form = form.clone();
        if let Some(assertion) = assertion {
            let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
            form.insert("client_assertion_type".to_owned(), kind.to_owned());
            form.insert("client_assertion".to_owned(), assertion);
        }
        let response = flow.token(&form).await;
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let form = flow.code_form(&flow.code("rita").await);
    for wrong in [None, Some(foreign.assertion(&world, 0)), Some(second.assertion(&world, 0))] {
        let (status, body) = send(&form, wrong).await;
        assert_eq!((status, &body["error"]), (401, &json!("invalid_client")));
    }
    let own = first.assertion(&world, 0);
    let (status, tokens) = send(&form, Some(own.clone())).await;
    assert_eq!(status, 200, "the client itself; what others tried spent nothing: {tokens}");
    let refresh = |tokens: &Value| flow.refresh_form(tokens["refresh_token"].as_str().unwrap());
    let form = refresh(&tokens);
    assert_eq!(send(&form, Some(own)).await.0, 401, "an assertion is good once");
    // Another key in place of the first: it is looked for when it is shown.
    documents.put(KEYS, Page::json(&second.set()).named("\"others\""));
    calendar.set(45);
    let (status, tokens) = send(&form, Some(second.assertion(&world, 45))).await;
    assert_eq!(status, 200, "{tokens}");
    let form = refresh(&tokens);
    assert_eq!(send(&form, Some(first.assertion(&world, 45))).await.0, 401, "what was replaced is over");
    // Their host may be out, and is not asked for everything.
    documents.take_down();
    for minutes in [3, 5] {
        calendar.set(minutes * MINUTE);
        let (status, _) = send(&form, Some(foreign.assertion(&world, minutes * MINUTE))).await;
        assert_eq!(status, 401);
    }
    let (status, tokens) = send(&form, Some(second.assertion(&world, 5 * MINUTE))).await;
    assert_eq!(status, 200, "keys that were good go on for their day: {tokens}");
}
