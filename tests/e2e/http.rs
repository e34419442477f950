//! Requests that no client library would send: framing, hosts, methods, origins, sizes.

use portcullis_tests::{Backend, World, WorldBuilder, raw};
use serde_json::{Value, json};

async fn world() -> (World, Backend, String) {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

fn call() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } }).to_string()
}

/// A good request with some of its lines changed.
fn request(world: &World, token: &str, line: &str, headers: &str, body: &str) -> Vec<u8> {
    format!(
        "{line}\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json\r\n{headers}\r\n{body}",
        world.port
    )
    .into_bytes()
}

#[tokio::test]
async fn a_request_that_could_be_framed_in_two_ways_is_refused() {
    let (world, backend, token) = world().await;
    let body = call();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let post = "POST /mcp HTTP/1.1";
    let cases = [
        ("both", post, "content-length: 5\r\ntransfer-encoding: chunked\r\n".to_owned(), chunked.clone()),
        ("both, other order", post, "transfer-encoding: chunked\r\ncontent-length: 5\r\n".to_owned(), chunked.clone()),
        ("two lengths", post, format!("content-length: 5\r\ncontent-length: {length}\r\n"), body.clone()),
        (
            "the same length twice",
            post,
            format!("content-length: {length}\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        ("a signed length", post, format!("content-length: +{length}\r\n"), body.clone()),
        ("two codings", post, "transfer-encoding: chunked, chunked\r\n".to_owned(), chunked.clone()),
        ("gzip, chunked", post, "transfer-encoding: gzip, chunked\r\n".to_owned(), chunked.clone()),
        ("an unknown coding", post, "transfer-encoding: xchunked\r\n".to_owned(), chunked.clone()),
        ("a coding in 1.0", "POST /mcp HTTP/1.0", "transfer-encoding: chunked\r\n".to_owned(), chunked.clone()),
        ("a bad chunk size", post, "transfer-encoding: chunked\r\n".to_owned(), format!("zz\r\n{body}\r\n0\r\n\r\n")),
        (
            "a huge chunk size",
            post,
            "transfer-encoding: chunked\r\n".to_owned(),
            format!("ffffffffffffffff1\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("a space before the colon", post, format!("content-length : {length}\r\n"), body.clone()),
        ("a folded line", post, format!("x-a: 1\r\n b\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a NUL", post, format!("x-a: a\0b\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a bare LF", post, format!("x-a: 1\ncontent-length: {length}\r\n"), body.clone()),
        ("a second host", post, format!("host: other\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a GET with a body", "GET /mcp HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
        (
            "an upgrade",
            post,
            format!("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        ("an unknown expectation", post, format!("expect: x\r\ncontent-length: {length}\r\n"), body.clone()),
        (
            "a second authorization",
            post,
            format!("authorization: Bearer x\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        (
            "absolute form of another host",
            "POST http://evil.example/mcp HTTP/1.1",
            format!("content-length: {length}\r\n"),
            body.clone(),
        ),
        ("a fragment", "POST /mcp#x HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
        ("TRACE", "TRACE /mcp HTTP/1.1", String::new(), String::new()),
        ("CONNECT", "CONNECT 127.0.0.1:80 HTTP/1.1", String::new(), String::new()),
        ("a lower-case method", "post /mcp HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
    ];
    for (name, line, headers, body) in cases {
        let answer = raw::send(world.port, &request(&world, &token, line, &headers, &body)).await;
        let status = raw::status(&answer);
        assert!((400..=431).contains(&status) || answer == "<closed>", "{name}: {answer}");
    }
    assert!(backend.requests().is_empty());
    let good = request(&world, &token, post, &format!("content-length: {length}\r\n"), &body);
    assert_eq!(raw::status(&raw::send(world.port, &good).await), 200);
    let good = request(&world, &token, post, "transfer-encoding: chunked\r\n", &chunked);
    assert_eq!(raw::status(&raw::send(world.port, &good).await), 200);
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.header("content-length").as_deref() == Some(&length.to_string())));
}

#[tokio::test]
async fn only_hosts_that_are_ours_are_served() {
    let (world, backend, token) = world().await;
    let body = call();
    let with_host = |host: &str| {
        format!("POST /mcp HTTP/1.1\r\n{host}authorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let port = world.port;
    for host in [
        "",
        "host: \r\n",
        "host: evil.example\r\n",
        "host: 127.0.0.1\r\n",
        "host: 127.0.0.1:1\r\n",
        "host: a b\r\n",
        "host: 127.0.0.1/x\r\n",
        "host: u@127.0.0.1\r\n",
    ] {
        let status = raw::status(&raw::send(port, &with_host(host)).await);
        assert!(matches!(status, 400 | 421), "{host:?}: {status}");
    }
    assert!(backend.requests().is_empty());
    for host in ["127.0.0.1", "localhost", "LOCALHOST"] {
        assert_eq!(raw::status(&raw::send(port, &with_host(&format!("host: {host}:{port}\r\n"))).await), 200, "{host}");
    }
}

#[tokio::test]
async fn only_the_exact_path_is_a_backends() {
    let (world, backend, token) = world().await;
    let body = call();
    let at = |path: &str| {
        request(&world, &token, &format!("POST {path} HTTP/1.1"), &format!("content-length: {}\r\n", body.len()), &body)
    };
    for path in [
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/%6dcp",
        "/mcp%2f",
        "/MCP",
        "/mcp/x",
        "/mcp;x",
        "/mcp//",
        "/mcp%00",
        "/metrics",
        "/readyz",
        "/",
    ] {
        let status = raw::status(&raw::send(world.port, &at(path)).await);
        assert!(matches!(status, 400 | 404 | 405), "{path}: {status}");
    }
    assert!(backend.requests().is_empty());
    for path in ["/mcp", "/mcp/", "/mcp?x=/healthz"] {
        assert_eq!(raw::status(&raw::send(world.port, &at(path)).await), 200, "{path}");
    }
}

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

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_and_the_refusal_arrives() {
    let (world, backend, token) = world().await;
    let large = "x".repeat(5 << 20);
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "x": large } } });
    assert_eq!(world.post(&token, &body).await.status(), 413);
    assert!(backend.requests().is_empty());
    let allowed = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "x": "x".repeat(3 << 20) } } });
    assert_eq!(world.post(&token, &allowed).await.status(), 200);
    assert_eq!(backend.requests()[0].json(), allowed);
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_at_the_backend() {
    let backend = Backend::start(std::sync::Arc::new(|_: &portcullis_tests::backend::Request| Vec::new())).await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let body = call();
    let bytes = request(&world, &token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), &body);
    raw::send(world.port, &bytes).await;
    for _ in 0..40 {
        if backend.closed() == 1 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(25)).await;
    }
    panic!("the backend was not told within a second");
}
