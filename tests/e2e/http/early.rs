//! Answers that come before the body did, and clients that leave: nothing gets out of step, and the refusal is read.

use portcullis_tests::{Backend, WorldBuilder, raw};
use serde_json::{Value, json};

use crate::{call, request, world};

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
    // One that has sent on meanwhile is seen to leave as well: a byte, a line, another request.
    for (left, more) in [b"".as_slice(), b"x", b"\r\n", &bytes].into_iter().enumerate() {
        let mut connection = raw::Connection::open(world.port).await;
        connection.say(&bytes).await;
        assert_eq!(backend.closed(), left, "it waits: {more:?}");
        connection.say(more).await;
        drop(connection);
        let noticed = tokio::time::timeout(std::time::Duration::from_secs(1), async {
            while backend.closed() <= left {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        assert!(noticed.await.is_ok(), "the backend was not told within a second: {more:?}");
    }
}

#[tokio::test]
async fn after_an_early_refusal_nothing_of_the_body_becomes_a_request() {
    let (world, backend, token) = world().await;
    let body = call();
    let post = "POST /mcp HTTP/1.1";
    let good = String::from_utf8(request(&world, &token, post, &format!("content-length: {}\r\n", body.len()), &body))
        .unwrap();
    // The body of a request that is refused at once is a request itself, small and large, whole and with a rest.
    for (status, refused_by) in [(401, "x"), (415, token.as_str()), (413, token.as_str())] {
        for times in [1, 400] {
            let smuggled = good.repeat(times);
            let declared = if status == 413 { 50_000_000 } else { smuggled.len() };
            let outer = request(&world, refused_by, post, &format!("content-length: {declared}\r\n"), &smuggled);
            let outer = String::from_utf8(outer).unwrap();
            let outer = if status == 415 { outer.replacen("application/json", "text/plain", 1) } else { outer };
            let answer = raw::send(world.port, outer.as_bytes()).await;
            assert_eq!(raw::status(&answer), status, "{times}: {answer}");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{status} {times}: {answer}");
        }
    }
    assert!(backend.requests().is_empty());
    assert_eq!(raw::status(&raw::send(world.port, good.as_bytes()).await), 200, "control");
}

#[tokio::test]
async fn text_of_a_caller_makes_no_header_of_ours() {
    let (world, _, token) = world().await;
    let evil = "x\r\nset-cookie: a=b\r\n\r\nHTTP/1.1 200 OK";
    let message = json!({ "jsonrpc": "2.0", "id": evil, "method": "tools/call", "params": { "name": evil } });
    let response = world.post(&token, &message).await;
    assert!(response.headers().get("set-cookie").is_none());
    let line = "GET /authorize?client_id=x%0d%0aset-cookie:%20a=b&state=%0d%0aset-cookie:%20a=b&redirect_uri=http://127.0.0.1/%0d%0aset-cookie:%20a=b HTTP/1.1";
    let answer = raw::send(world.port, &request(&world, &token, line, "", "")).await;
    let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 400") && !head.contains("\r\nset-cookie: a=b"), "{answer}");
    let metadata =
        json!({ "client_name": evil, "redirect_uris": ["http://127.0.0.1:1/x"], "token_endpoint_auth_method": "none" });
    let response = world.http().post(format!("{}/register", world.url())).json(&metadata).send().await.unwrap();
    assert!(response.headers().get("set-cookie").is_none());
    let control = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    assert_eq!(world.post(&token, &control).await.status(), 200);
}
