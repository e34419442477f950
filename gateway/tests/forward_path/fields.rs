//! Header fields: a short list crosses in each direction, and nothing else.

use crate::client::with_fields;
use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_gets_the_listed_fields_and_nothing_of_the_caller() {
    let world = World::start().await;
    let fields = "accept: application/json, text/event-stream\r\nauthorization: Bearer secret\r\ncookie: a=b\r\norigin: https://a\r\n\
        x-forwarded-for: 1.2.3.4\r\nx_forwarded_user: admin\r\nforwarded: for=1\r\nx-ms-client-principal: x\r\nproxy: x\r\n\
        accept-encoding: gzip, br\r\nte: trailers\r\nconnection: accept, mcp-session-id, content-length, keep-alive\r\n\
        keep-alive: timeout=5\r\nmcp-session-id: s1\r\nmcp-param-city: Berlin\r\nmcp-method: tools/list\r\nuser-agent: x\r\n";
    assert!(world.raw(with_fields(fields, &call("echo", 0))).await.is_ok());
    let head = world.backend.log().requests[0].head.clone();
    let mut names: Vec<&str> = head.trim_end().lines().skip(1).map(|line| line.split(':').next().unwrap()).collect();
    names.sort_unstable();
    let expected =
        ["accept", "accept-encoding", "content-length", "content-type", "host", "mcp-param-city", "mcp-session-id"];
    assert_eq!(names, expected, "{head}");
    assert!(
        head.contains("\r\naccept-encoding: identity\r\n") && head.contains("\r\nmcp-session-id: s1\r\n"),
        "{head}"
    );
    assert!(head.contains(&format!("\r\nhost: {}\r\n", world.backend.address)), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gets_the_listed_fields_and_nothing_of_the_backend() {
    let world = World::start().await;
    let answer = world.post(call("nosy", 0)).await;
    let names: Vec<String> = answer
        .head
        .trim_end()
        .lines()
        .skip(1)
        .map(|line| line.split(':').next().unwrap().to_ascii_lowercase())
        .collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["connection", "content-length", "content-type", "date", "retry-after"], "{}", answer.head);
}
