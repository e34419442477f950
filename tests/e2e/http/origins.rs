//! Pages of other origins: refused, or listed and able to read what they get.

use portcullis_tests::backend::{answer, json_answer};
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world;

const PAGE: &str = "https://app.example";

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let (world, backend, token) = world().await;
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    for origin in ["https://evil.example", "null", "http://127.0.0.1", "http://localhost:1"] {
        assert_eq!(world.post_with(&token, &message, &[("origin", origin)]).await.status(), 403, "{origin}");
    }
    assert!(backend.requests().is_empty());
    assert_eq!(world.post_with(&token, &message, &[("origin", &world.url())]).await.status(), 200);
}

async fn listed() -> (World, Backend) {
    let backend = Backend::start(std::sync::Arc::new(|request: &portcullis_tests::backend::Request| {
        let message = request.json();
        if message["params"]["name"] == "get_forecast" {
            let event =
                format!("data: {}\n\n", json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [] } }));
            let reply = String::from_utf8(answer("200 OK", "text/event-stream", &event)).unwrap();
            return reply
                .replacen(
                    "content-type",
                    "access-control-allow-origin: *\r\naccess-control-allow-credentials: true\r\ncontent-type",
                    1,
                )
                .into_bytes();
        }
        json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "tools": [] } }))
    }))
    .await;
    let origins = format!("allowed_origins: ['{PAGE}', 'vscode-webview://1a2b']");
    let world = WorldBuilder::new(&backend).server(&origins).start().await;
    (world, backend)
}

fn field<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// What a page needs to read an answer, of its own origin and of nobody else's.
fn assert_readable(response: &Response, what: &str) {
    assert_eq!(field(response, "access-control-allow-origin"), Some(PAGE), "{what}: {response:?}");
    assert_eq!(field(response, "vary"), Some("Origin"), "{what}");
    assert_eq!(response.headers().get_all("access-control-allow-origin").iter().count(), 1, "{what}");
    assert_eq!(field(response, "access-control-allow-credentials"), None, "{what}");
    let exposed = field(response, "access-control-expose-headers").unwrap();
    for name in ["Mcp-Session-Id", "WWW-Authenticate", "MCP-Protocol-Version"] {
        assert!(exposed.contains(name), "{what}: {exposed}");
    }
}

#[tokio::test]
async fn every_answer_to_a_listed_page_can_be_read_by_it() {
    let (world, backend) = listed().await;
    let token = world.identity.mint("rita", &Value::Null);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let call = |name: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": name } });
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "x": "x".repeat(5 << 20) } } });
    let cases = [
        ("a list", token.as_str(), list.clone(), 200),
        ("a stream", &token, call("get_forecast"), 200),
        ("a tool that is not open", &token, call("rotate_keys"), 200),
        (
            "a notification",
            &token,
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } }),
            202,
        ),
        ("no token", "", list.clone(), 401),
        ("a bad token", "x", list.clone(), 401),
        ("no JSON-RPC", &token, json!({ "jsonrpc": "1.0" }), 400),
        ("a large body", &token, large, 413),
    ];
    for (what, token, message, status) in cases {
        let response = world.post_with(token, &message, &[("origin", PAGE)]).await;
        assert_eq!(response.status().as_u16(), status, "{what}");
        assert_readable(&response, what);
        assert_eq!(field(&response, "www-authenticate").is_some(), status == 401, "{what}");
    }
    let get = world.http().get(world.mcp()).bearer_auth(&token).header("origin", PAGE).send().await.unwrap();
    assert_eq!(get.status().as_u16(), 405);
    assert_readable(&get, "a method");
    let editor = world.post_with(&token, &list, &[("origin", "vscode-webview://1a2b")]).await;
    assert_eq!(field(&editor, "access-control-allow-origin"), Some("vscode-webview://1a2b"));
    let before = backend.requests().len();
    for foreign in [
        "https://evil.example",
        "null",
        "https://app.example.evil.example",
        "http://app.example",
        "https://APP.example",
        "https://app.example:444",
        "*",
    ] {
        let response = world.post_with(&token, &list, &[("origin", foreign)]).await;
        assert_eq!(response.status().as_u16(), 403, "{foreign}");
        assert_eq!(field(&response, "access-control-allow-origin"), None, "{foreign}");
    }
    assert_eq!(backend.requests().len(), before);
    let no_page = world.post(&token, &list).await;
    assert_eq!((no_page.status().as_u16(), field(&no_page, "access-control-allow-origin")), (200, None));
}

#[tokio::test]
async fn a_listed_page_asks_beforehand_without_a_bearer_and_a_foreign_one_in_vain() {
    let (world, backend) = listed().await;
    let ask = |origin: &str, headers: &str| {
        let request = world.http().request(Method::OPTIONS, world.mcp()).header("origin", origin);
        request.header("access-control-request-method", "POST").header("access-control-request-headers", headers).send()
    };
    let asked = "authorization,content-type,last-event-id,mcp-method,mcp-name,mcp-param-city,mcp-protocol-version,mcp-session-id";
    let response = ask(PAGE, &format!("{asked},x-forwarded-for,cookie")).await.unwrap();
    assert_eq!(response.status().as_u16(), 204);
    assert_eq!(field(&response, "access-control-allow-origin"), Some(PAGE));
    assert_eq!(
        field(&response, "access-control-allow-headers").map(|granted| granted.replace(", ", ",")).as_deref(),
        Some(asked)
    );
    assert_eq!(field(&response, "access-control-allow-methods"), Some("GET, POST, DELETE"));
    assert!(response.headers().get_all("vary").iter().any(|vary| vary == "Origin"));
    let foreign = ask("https://evil.example", asked).await.unwrap();
    assert_eq!(foreign.status().as_u16(), 403);
    assert!(foreign.headers().keys().all(|name| !name.as_str().starts_with("access-control")));
    // Without what makes it a preflight it is a request as any other.
    let options = world.http().request(Method::OPTIONS, world.mcp()).header("origin", PAGE).send().await.unwrap();
    assert_eq!(options.status().as_u16(), 401);
    assert!(backend.requests().is_empty());
}
