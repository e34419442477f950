//! What is refused before a backend hears of it: over a limit, or not permitted. Each client gets to read the answer.

use crate::client::{Client, in_chunks, with_fields, with_length};
use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_not_permitted_never_reaches_the_backend() {
    let world = World::start().await;
    assert_eq!(world.post(call("delete_everything", 0)).await.status(), 403);
    assert_eq!(world.backend.log().connections, 0);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_in_a_way_the_client_gets_to_read() {
    let world = World::start().await;
    let body = call("echo", 6_000_000);
    for request in [with_length(&body).into_bytes(), in_chunks(&body)] {
        let mut client = Client::connect(world.gateway).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.complete), (413, true), "{answer:?}");
        assert!(client.is_closed().await);
    }
    assert_eq!(world.backend.log().connections, 0);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_declared_too_large_is_not_asked_for() {
    let world = World::start().await;
    let request = with_fields("expect: 100-continue\r\n", &"x".repeat(5_000_000));
    let mut client = Client::connect(world.gateway).await;
    client.send(request.split_at(request.find("\r\n\r\n").unwrap() + 4).0).await;
    assert_eq!(client.answer().await.status(), 413);
    assert!(client.is_closed().await);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_that_left_the_body_unread_a_small_body_is_read_and_the_connection_kept() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&"x".repeat(60_000)).replace("POST /mcp", "POST /local")).await;
    assert!(client.answer().await.is_ok());
    client.send(with_length(&call("echo", 0))).await;
    let next = client.answer().await;
    assert!(next.text().contains("len"), "{next:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_refusal_that_left_a_large_body_unread_nothing_of_it_becomes_a_request() {
    let world = World::start().await;
    let smuggled = "POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n".repeat(4000);
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&smuggled).replacen("POST /mcp", "POST /local", 1)).await;
    let answer = client.answer().await;
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert!(client.rest().await.is_empty());
    assert_eq!(world.backend.log().connections, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_over_a_limit_are_refused_by_their_own_status() {
    let world = World::start().await;
    let head = |target: &str, fields: &str| format!("GET {target} HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    let many = |count: usize| (0..count).fold(String::new(), |fields, n| fields + &format!("x-{n}: 1\r\n"));
    let cases = [
        (head("/local", &many(99)), 200),
        (head("/local", &many(100)), 431),
        (head("/local", &many(300)), 431),
        (head("/local", &format!("x: {}\r\n", "a".repeat(16_000))), 200),
        (head("/local", &format!("x: {}\r\n", "a".repeat(17_000))), 431),
        (head("/local", &format!("x: {}\r\n", "a".repeat(1_100_000))), 431),
        (head(&format!("/local?{}", "a".repeat(8_000)), ""), 200),
        (head(&format!("/local?{}", "a".repeat(9_000)), ""), 414),
    ];
    for (request, status) in cases {
        let answer = world.raw(&request).await;
        assert_eq!(answer.status(), status, "{} bytes: {answer:?}", request.len());
    }
    world.still_serves().await;
}
