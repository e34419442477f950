//! Header fields in both directions: identity cannot be brought along, and a backend's fields stay behind.

use std::sync::Arc;

use portcullis_tests::{Backend, WorldBuilder, raw};
use serde_json::{Value, json};

use crate::{call, request, world};

#[tokio::test]
async fn no_field_that_claims_an_identity_reaches_a_backend_and_none_of_ours_can_be_struck_out() {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).backend_more("identity: { headers: true }").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let names = [
        "X-Forwarded-User",
        "X_Forwarded_User",
        "X.Forwarded.User",
        "x-forwarded-email",
        "X-Forwarded-Groups",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Real-IP",
        "Forwarded",
        "X-Auth-Request-User",
        "X-Remote-User",
        "Remote-User",
        "REMOTE_USER",
        "X-MS-CLIENT-PRINCIPAL",
        "X-Authenticated-User",
        "X-Original-URL",
        "X-Rewrite-URL",
        "Cookie",
        "Proxy-Authorization",
        "X-User-Id",
        "X-Portcullis-Subject",
        "X_Portcullis_Subject",
        "X-Portcullis-Roles",
        "X-Portcullis-Tenant",
        "X-Portcullis-Assertion",
    ];
    let claims: String = names.map(|name| format!("{name}: spoofed\r\n")).concat();
    let nominated = "connection: x-portcullis-subject, x-portcullis-roles, authorization, content-length, host\r\n";
    let body = call();
    let fields = format!("{claims}{nominated}content-length: {}\r\n", body.len());
    let answer = raw::send(world.port, &request(&world, &token, "POST /mcp HTTP/1.1", &fields, &body)).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let requests = backend.requests();
    assert_eq!(requests.len(), 1);
    let head = requests[0].head.to_ascii_lowercase();
    assert!(!head.contains("spoofed") && !head.contains("authorization") && !head.contains("connection"), "{head}");
    for ours in ["x-portcullis-subject", "x-portcullis-roles", "x-portcullis-tenant"] {
        assert_eq!(head.matches(&format!("\r\n{ours}:")).count(), 1, "control: ours is there once: {head}");
    }
    assert_eq!(requests[0].json()["params"]["name"], "get_forecast");
}

#[tokio::test]
async fn a_backends_own_fields_challenges_and_redirects_reach_nobody() {
    let head = "set-cookie: a=b\r\nserver: uvicorn\r\nx-powered-by: x\r\nlocation: http://169.254.169.254/\r\nwww-authenticate: Bearer realm=\"evil\"\r\naccess-control-allow-origin: *\r\nstrict-transport-security: max-age=0\r\nalt-svc: h3=\":443\"\r\n";
    let answering = Backend::start(Arc::new(move |request: &portcullis_tests::backend::Request| {
        let message = request.json();
        let status = message["params"]["arguments"]["status"].as_str().unwrap_or("200 OK").to_owned();
        let body = json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [] } }).to_string();
        format!(
            "HTTP/1.1 {status}\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }))
    .await;
    let world = WorldBuilder::new(&answering).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    for (status, seen) in [
        ("200 OK", 200),
        ("401 Unauthorized", 502),
        ("403 Forbidden", 502),
        ("407 Proxy Authentication Required", 502),
        ("301 Moved Permanently", 502),
        ("302 Found", 502),
        ("307 Temporary Redirect", 502),
        ("308 Permanent Redirect", 502),
        ("500 Internal Server Error", 502),
    ] {
        let before = answering.requests().len();
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "status": status } } });
        let response = world.post(&token, &message).await;
        assert_eq!(response.status().as_u16(), seen, "{status}");
        for name in [
            "set-cookie",
            "server",
            "x-powered-by",
            "location",
            "www-authenticate",
            "access-control-allow-origin",
            "strict-transport-security",
            "alt-svc",
        ] {
            assert!(!response.headers().contains_key(name), "{status}: {name}");
        }
        assert_eq!(answering.requests().len(), before + 1, "{status}: neither followed nor asked again");
    }
}

#[tokio::test]
async fn a_second_method_is_refused_by_name() {
    let (world, backend, token) = world().await;
    for method in ["PUT", "PATCH", "HEAD", "PROPFIND", "MKCOL", "SEARCH", "SLUDGE", "PRI", "get", "Post"] {
        let status = raw::status(
            &raw::send(world.port, &request(&world, &token, &format!("{method} /mcp HTTP/1.1"), "", "")).await,
        );
        assert!(matches!(status, 400 | 405), "{method}: {status}");
    }
    assert!(backend.requests().is_empty());
    let body = call();
    let control = request(&world, &token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), &body);
    assert_eq!(raw::status(&raw::send(world.port, &control).await), 200);
}
