//! What the catalogue of attacks in `threats.yaml` asks for and no other suite has.

use portcullis_tests::{Backend, World, WorldBuilder, raw};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn world() -> (World, Backend, String) {
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, backend, token)
}

fn call() -> String {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } }).to_string()
}

/// Two requests on one connection, the second after the answer to the first, which has this target: how many are answered
/// with 200.
async fn two(world: &World, token: &str, target: &str) -> usize {
    let body = call();
    let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
    let mut answered = 0;
    for target in [target, "/mcp"] {
        let request = format!(
            "POST {target} HTTP/1.1\r\nhost: 127.0.0.1:{}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\naccept: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            world.port,
            body.len()
        );
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let mut answer = Vec::new();
        while !answer.ends_with(b"}") && matches!(stream.read_buf(&mut answer).await, Ok(read) if read > 0) {}
        answered += usize::from(raw::status(&String::from_utf8_lossy(&answer)) == 200);
    }
    answered
}

#[tokio::test]
async fn a_control_character_in_a_query_is_the_last_request_of_its_connection() {
    let (world, backend, token) = world().await;
    assert_eq!(two(&world, &token, "/mcp?a=b%20c").await, 2, "the control");
    for target in ["/mcp?a\rb", "/mcp?a=%0d%0Ab", "/mcp?%7f", "/mcp?\u{1}"] {
        assert_eq!(two(&world, &token, target).await, 1, "{target:?}");
    }
    assert_eq!(backend.requests().len(), 2 + 4, "no second request was seen");
    for target in ["/mcp /x", "/mcp\r", "/mcp%20", "/<mcp>", "/mcp?a\rcontent-length: 5\rx:"] {
        assert_eq!(two(&world, &token, target).await, 0, "{target:?}");
    }
}
