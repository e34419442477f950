//! Event streams: relayed as they come, ended or visibly cut, and given up with their client.

use crate::client::{Client, with_length};
use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread")]
async fn an_event_reaches_the_client_before_the_stream_ends() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("GET /mcp HTTP/1.1\r\nhost: a\r\nmcp-session-id: s1\r\nlast-event-id: e7\r\n\r\n").await;
    let seen = client.first_event().await;
    assert!(seen.contains("200 OK") && seen.contains("data: {\"n\":1}"), "{seen}");
    let head = world.backend.log().requests[0].head.clone();
    assert!(head.starts_with("GET /mcp HTTP/1.1\r\n") && head.contains("\r\nmcp-session-id: s1\r\n"), "{head}");
    assert!(head.contains("\r\nlast-event-id: e7\r\n") && !head.contains("content-length"), "{head}");
    drop(client);
    world.backend.eventually("the stream is given up with its client", |log| log.abandoned == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_is_complete_and_its_connection_is_used_again() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    for _ in 0..2 {
        client.send(with_length(&call("events", 0))).await;
        let answer = client.answer().await;
        assert!(answer.is_ok() && answer.text() == "data: {\"n\":1}\n\n", "{answer:?}");
    }
    assert_eq!(world.backend.log().connections, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_never_complete() {
    let world = World::start().await;
    let answer = world.post(call("events_cut", 0)).await;
    assert_eq!((answer.status(), answer.complete, answer.closed), (200, false, true), "{answer:?}");
    let control = world.post(call("events", 0)).await;
    assert!(control.complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_ended_without_a_body() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("DELETE /mcp HTTP/1.1\r\nhost: a\r\nmcp-session-id: s1\r\n\r\n").await;
    client.first_event().await;
    let request = world.backend.log().requests[0].clone();
    assert!(request.head.starts_with("DELETE /mcp HTTP/1.1\r\n") && request.body.is_empty());
    assert!(request.head.contains("\r\nmcp-session-id: s1\r\n"), "{}", request.head);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http_1_0_client_gets_a_stream_that_ends_with_its_connection() {
    let world = World::start().await;
    let body = call("events", 0);
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&body).replace("HTTP/1.1", "HTTP/1.0")).await;
    let all = String::from_utf8(client.rest().await).unwrap();
    assert!(all.ends_with("\r\n\r\ndata: {\"n\":1}\n\n") && !all.to_ascii_lowercase().contains("chunked"), "{all}");
    assert!(client.is_closed().await);
}
