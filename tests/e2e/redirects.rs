//! Redirect URIs: whatever is sent, an answer goes to a registered address or nowhere.

use std::path::PathBuf;

use portcullis_tests::flow::REDIRECT;
use portcullis_tests::process::file;
use portcullis_tests::{Backend, Flow, World, WorldBuilder};
use reqwest::header::{LOCATION, REFRESH};
use serde_json::{Value, json};

const HOSTED: &str = "https://claude.ai/api/mcp/auth_callback";
const APPLICATION: &str = "cursor://anysphere.cursor-mcp/oauth/callback";

/// Addresses that resemble the registered ones, one trick each.
fn tricks() -> Vec<String> {
    let mut tricks: Vec<String> = [
        // Another host, scheme, port or path.
        "https://evil.example/callback",
        "https://127.0.0.1:33418/callback",
        "http://127.0.0.2:33418/callback",
        "http://127.1:33418/callback",
        "http://0x7f.0.0.1:33418/callback",
        "http://0177.0.0.1:33418/callback",
        "http://2130706433:33418/callback",
        "http://0:33418/callback",
        "http://0.0.0.0:33418/callback",
        "http://[::1]:33418/callback",
        "http://[::ffff:127.0.0.1]:33418/callback",
        "http://[::ffff:7f00:1]:33418/callback",
        "http://localhost:33418/callback",
        "http://LOCALHOST:33418/callback",
        "http://127.0.0.1.evil.example:33418/callback",
        "http://127.0.0.1.:33418/callback",
        "http://127.0.0.1:33418/callback/",
        "http://127.0.0.1:33418/Callback",
        "http://127.0.0.1:33418//callback",
        "http://127.0.0.1:33418/callback2",
        "http://127.0.0.1:33418/callback;x",
        "http://127.0.0.1:33418/",
        "http://127.0.0.1:0/callback",
        "http://127.0.0.1:65536/callback",
        "http://127.0.0.1:033418/callback",
        "http://127.0.0.1:+33418/callback",
        "http://127.0.0.1:33418x/callback",
        // The same to some parsers, not to others.
        "http://127.0.0.1:33418@evil.example/callback",
        "http://evil.example@127.0.0.1:33418/callback",
        "http://user:pass@127.0.0.1:33418/callback",
        "http://127.0.0.1:33418\\@evil.example/callback",
        "http://127.0.0.1:33418/\\evil.example/callback",
        "http://evil.example\\127.0.0.1:33418/callback",
        "http:\\\\127.0.0.1:33418\\callback",
        "http:/127.0.0.1:33418/callback",
        "http:127.0.0.1:33418/callback",
        "//127.0.0.1:33418/callback",
        "HTTP://127.0.0.1:33418/callback",
        " http://127.0.0.1:33418/callback",
        "http://127.0.0.1:33418/callback ",
        "http://127.0.0.1:33418/callback\t",
        "http://127.0.0.1:33418/callback\r\nlocation: https://evil.example",
        "http://127.0.0.1:33418/callback\0",
        "ht\ttp://127.0.0.1:33418/callback",
        "http://127.0.0.1:33418/callback#",
        "http://127.0.0.1:33418/callback#@evil.example",
        "http://127.0.0.1:33418/callback?",
        "http://127.0.0.1:33418/callback?next=https://evil.example",
        "http://127.0.0.1:33418/./callback",
        "http://127.0.0.1:33418/x/../callback",
        "http://127.0.0.1:33418/%2e/callback",
        "http://127.0.0.1:33418/%63allback",
        "http://127.0.0.1:33418/callback%2f..%2fevil",
        "http://127.0.0.1:33418/callback%00",
        "http://127.0.0.1:33418/callback%0d%0aset-cookie:x",
        "http://\u{ff11}27.0.0.1:33418/callback",
        "http://127\u{3002}0.0.1:33418/callback",
        // Near the hosted address.
        "https://claude.ai.evil.example/api/mcp/auth_callback",
        "https://evilclaude.ai/api/mcp/auth_callback",
        "https://claude.ai@evil.example/api/mcp/auth_callback",
        "https://claude.ai:443/api/mcp/auth_callback",
        "https://claude.ai:8443/api/mcp/auth_callback",
        "https://CLAUDE.ai/api/mcp/auth_callback",
        "https://claude.ai./api/mcp/auth_callback",
        "https://www.claude.ai/api/mcp/auth_callback",
        "http://claude.ai/api/mcp/auth_callback",
        "https://cl\u{430}ude.ai/api/mcp/auth_callback",
        "https://claude.ai/api/mcp/auth_callback/../../../x",
        "https://claude.ai/api/mcp/auth_callback%2f..%2fx",
        "https://claude.ai/api/mcp/",
        "https://claude.ai",
        // Near the application's address, and schemes that run or read something.
        "cursor://evil/oauth/callback",
        "cursor:anysphere.cursor-mcp/oauth/callback",
        "cursor://anysphere.cursor-mcp:1/oauth/callback",
        "CURSOR://anysphere.cursor-mcp/oauth/callback",
        "cursorx://anysphere.cursor-mcp/oauth/callback",
        "javascript:alert(1)",
        "javascript://127.0.0.1:33418/callback%0aalert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "file:///etc/passwd",
        "blob:http://127.0.0.1:33418/x",
        "about:blank",
        "view-source:http://127.0.0.1:33418/callback",
        "intent://127.0.0.1:33418/#Intent;scheme=http;end",
        "urn:ietf:wg:oauth:2.0:oob",
        "null",
        "*",
        "http://*:33418/callback",
        "http://127.0.0.1:*/callback",
        "callback",
        "/callback",
        "?x",
    ]
    .map(str::to_owned)
    .to_vec();
    tricks.push(format!("http://127.0.0.1:33418/{}", "a".repeat(5000)));
    tricks.push(format!("{REDIRECT},https://evil.example/"));
    tricks.push(format!("{REDIRECT} https://evil.example/"));
    tricks
}

/// The lines of a published collection, where it is at hand.
fn published() -> Vec<String> {
    let corpora = std::env::var_os("PORTCULLIS_CORPORA").map_or_else(|| file("../../shared/corpora"), PathBuf::from);
    let path = corpora.join("redirect/openredirects.txt");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("{} is not here: the published collection is not run", path.display());
        return Vec::new();
    };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines.len() > 500, "the published collection has {} lines only", lines.len());
    lines.into_iter().map(str::to_owned).collect()
}

async fn world() -> World {
    WorldBuilder::new(&Backend::plain().await).own_tokens_only().start().await
}

async fn register(world: &World, uris: &[&str]) -> (u16, Value) {
    let metadata = json!({ "client_name": "x", "redirect_uris": uris });
    let response = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
    assert!(!response.headers().contains_key(LOCATION));
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test]
async fn an_answer_goes_to_a_registered_address_or_nowhere() {
    let world = world().await;
    let (status, registered) = register(&world, &[REDIRECT, HOSTED, APPLICATION]).await;
    assert_eq!((status, registered["redirect_uris"].as_array().map(Vec::len)), (201, Some(3)));
    let client_id = registered["client_id"].as_str().unwrap().to_owned();
    let flow = Flow { world: &world, client_id, verifier: "v".repeat(43), at: world.url() };
    let send = async |uri: &str, name: &str, value: &str| {
        let mut parameters = flow.parameters("rita");
        parameters.insert("redirect_uri".to_owned(), uri.to_owned());
        parameters.insert(name.to_owned(), value.to_owned());
        flow.authorize(&parameters).await
    };
    // The controls: each registered address is taken, and told of a fault; a loopback port may differ.
    for good in [REDIRECT, HOSTED, APPLICATION, "http://127.0.0.1:1/callback", "http://127.0.0.1/callback"] {
        assert_eq!(send(good, "state", "s").await.status(), 200, "{good}");
        let faulty = send(good, "response_type", "token").await;
        // To a program of the device a page leads, since a browser may not follow a redirect to it.
        let told = faulty.headers().get(LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        assert!(!faulty.headers().contains_key(REFRESH), "{good}: nothing is opened before anybody did anything");
        let page = faulty.text().await.unwrap();
        let link = page.split_once("href=\"").map(|(_, rest)| rest.to_owned());
        assert!(told.or(link).is_some_and(|told| told.starts_with(good)), "{good}: {page}");
    }
    let tricks = tricks();
    assert!(tricks.len() >= 50);
    let published = published();
    let behind = published.iter().filter(|line| !line.is_empty()).map(|line| format!("{REDIRECT}{line}"));
    let all: Vec<String> = behind.chain(tricks).chain(published.iter().cloned()).collect();
    for trick in &all {
        // An honest request, and one with a fault that would be told to the client.
        for (name, value) in [("state", "s"), ("response_type", "token")] {
            let response = send(trick, name, value).await;
            assert_eq!((response.status().as_u16(), response.headers().get(LOCATION)), (400, None), "{trick:?}");
        }
    }
    let unknown = Flow { client_id: "https://evil.example/x".to_owned(), ..flow };
    for client_id in ["", "nobody", "https://evil.example/app.json", "javascript:alert(1)", &"x".repeat(2000)] {
        let mut parameters = unknown.parameters("rita");
        parameters.insert("client_id".to_owned(), client_id.to_owned());
        parameters.insert("redirect_uri".to_owned(), "https://evil.example/cb".to_owned());
        let response = unknown.authorize(&parameters).await;
        assert_eq!((response.status().as_u16(), response.headers().get(LOCATION)), (400, None), "{client_id:.60}");
    }
    println!("{} redirect URIs, none followed", all.len());
}

#[tokio::test]
async fn what_cannot_be_an_address_of_a_client_is_not_registered() {
    let world = world().await;
    for trick in published() {
        let (status, body) = register(&world, &[&trick]).await;
        assert_eq!((status, body["error"].as_str()), (400, Some("invalid_redirect_uri")), "{trick:?} {body}");
    }
    // Not one of these may stand among registered ones; those that may are harmless by themselves.
    for trick in tricks() {
        let (status, body) = register(&world, &[&trick]).await;
        if status == 201 {
            let harmless = [
                "https://claude.ai",
                "http://127.0.0.1",
                "https://127.0.0.1",
                "http://localhost:",
                "http://[::1]:",
                "cursor://",
            ];
            let registered = body["redirect_uris"][0].as_str().unwrap();
            assert_eq!(registered, trick);
            assert!(harmless.iter().any(|start| registered.starts_with(start)), "{trick:?}");
            assert!(!registered.contains(['@', '\\', '#', '*', ' ']), "{trick:?}");
        } else {
            assert_eq!((status, body["error"].as_str()), (400, Some("invalid_redirect_uri")), "{trick:?}");
        }
    }
}

#[tokio::test]
async fn addresses_that_the_operator_does_not_know_are_left_out_of_a_registration() {
    let world = world().await;
    let known = [APPLICATION, "https://www.cursor.com/agents/mcp/oauth/callback", "http://localhost:8787/callback"];
    let (status, body) = register(&world, &[known[0], "https://unknown.example/cb", known[1], known[2]]).await;
    assert_eq!((status, &body["redirect_uris"]), (201, &json!(known)), "one that is not known spoils nothing");
    let (status, body) = register(&world, &["https://unknown.example/cb"]).await;
    assert_eq!((status, body["error"].as_str()), (400, Some("invalid_redirect_uri")));
    let more = "oauth: { redirect_hosts: ['*.corp.example'] }\n";
    let narrow = WorldBuilder::new(&Backend::plain().await).more(more).start().await;
    for (uri, status) in [
        ("https://app.corp.example/cb", 201),
        ("https://corp.example/cb", 400),
        ("https://app.corp.example.evil.example/cb", 400),
        ("https://claude.ai/api/mcp/auth_callback", 400),
        (REDIRECT, 400),
        (APPLICATION, 400),
        ("javascript:alert(1)//.corp.example", 400),
    ] {
        assert_eq!(register(&narrow, &[uri]).await.0, status, "{uri}");
    }
}
