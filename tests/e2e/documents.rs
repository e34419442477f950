//! What is kept of the documents and keys of clients, for how long, and what a crowd of them costs.

use std::time::Duration;

use portcullis_tests::documents::{Documents, Page};
use portcullis_tests::{Backend, Calendar, Flow, World, WorldBuilder};
use reqwest::Response;
use serde_json::{Value, json};

const APP: &str = "https://client.example/oauth/app.json";
const OTHER: &str = "https://other.example/oauth/app.json";
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

fn flow<'w>(world: &'w World, client_id: &str) -> Flow<'w> {
    Flow {
        world,
        client_id: client_id.to_owned(),
        verifier: "a-verifier-that-is-long-enough-to-be-one-of-them".to_owned(),
        at: world.url(),
    }
}

async fn begin(world: &World, client_id: &str) -> Response {
    let flow = flow(world, client_id);
    flow.authorize(&flow.parameters("rita")).await
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
    let page = async || begin(&world, APP).await.text().await.unwrap();
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
}

#[tokio::test]
async fn a_document_goes_on_for_a_day_while_its_host_is_out_and_ends_when_its_host_says_so() {
    let (documents, calendar) = (Documents::start().await, Calendar::new());
    documents.put(APP, Page::json(&document(APP)));
    documents.put(OTHER, Page::json(&document(OTHER)));
    let world = world(&documents, &calendar).await;
    for url in [APP, OTHER] {
        assert_eq!(begin(&world, url).await.status(), 200, "the control");
    }
    documents.take_down();
    calendar.set(2 * MINUTE);
    assert_eq!(begin(&world, APP).await.status(), 200);
    assert_eq!(begin(&world, APP).await.status(), 200);
    assert_eq!(asked(&documents, APP).len(), 2, "and its host is not asked each time");
    calendar.set(23 * HOUR);
    assert_eq!(begin(&world, APP).await.status(), 200);
    documents.put(APP, Page::with("404 Not Found", "", ""));
    calendar.set(23 * HOUR + 2 * MINUTE);
    assert_eq!(begin(&world, APP).await.status(), 400, "it is gone");
    calendar.set(25 * HOUR);
    assert_eq!(begin(&world, OTHER).await.status(), 400, "after a day nobody knows");
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
        crowd.spawn(async move { begin(&world, &junk(number)).await.status().as_u16() });
    }
    let fetched = || documents.seen().iter().filter(|head| head.contains("/junk/")).count();
    while fetched() < 4 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(begin(&world, OTHER).await.status(), 200, "another host's clients do not notice");
    let during = begin(&world, APP).await.status();
    while let Some(status) = crowd.join_next().await {
        assert_eq!(status.unwrap(), 400);
    }
    assert!((4..=12).contains(&fetched()), "a few at a time: {}", fetched());
    // Whatever came of it then, nobody was told that this client is none.
    assert_eq!(begin(&world, APP).await.status(), 200, "during the rush it was {during}");
}
