//! Slow clients: a head, a body and an answer have a time in all, however often a byte comes; a connection may lie idle
//! for its own time.

use std::time::Duration;

use crate::client::{Client, with_length};
use crate::world::{BODY_DEADLINE, HEAD_DEADLINE, KEEP_ALIVE, LARGE, WRITE_DEADLINE, World, call};

const TICK: Duration = Duration::from_millis(100);
const HEAD: &str = "GET /local HTTP/1.1\r\nhost: a\r\n";

/// Sends a byte every now and then; how many could be sent before the gateway closed or answered.
async fn drip(client: &mut Client, most: usize) -> usize {
    for sent in 0..most {
        client.send(b"x").await;
        if client.has_something(TICK).await {
            return sent;
        }
    }
    most
}

fn ticks(of: Duration) -> usize {
    usize::try_from(of.as_millis() / TICK.as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_has_its_time_in_all_on_a_new_connection_and_on_a_used_one() {
    let world = World::start().await;
    for used in [false, true] {
        let mut client = Client::connect(world.gateway).await;
        if used {
            client.send(format!("{HEAD}\r\n")).await;
            assert!(client.answer().await.is_ok());
            tokio::time::sleep(HEAD_DEADLINE + TICK).await;
        }
        client.send(format!("{HEAD}x: ")).await;
        let most = 2 * ticks(HEAD_DEADLINE);
        assert!(drip(&mut client, most).await < most, "used: {used}");
        assert!(client.is_closed().await, "used: {used}");
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_its_time_in_all_and_its_client_is_told() {
    let world = World::start().await;
    let head = "POST /mcp HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
    let mut client = Client::connect(world.gateway).await;
    client.send(head).await;
    let most = 2 * ticks(BODY_DEADLINE);
    assert!(drip(&mut client, most).await < most);
    assert_eq!(client.answer().await.status(), 408);
    assert!(client.is_closed().await);
    assert_eq!(world.backend.log().connections, 0);
    world.until_given_back("request_bytes").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_given_up() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    tokio::time::sleep(WRITE_DEADLINE / 3).await;
    assert_eq!(world.budget("requests").0, 1, "control: it is waited for");
    world.until_given_back("requests").await;
    let mut reader = Client::connect(world.gateway).await;
    reader.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let answer = reader.answer().await;
    assert_eq!((answer.complete, answer.body.len()), (true, LARGE), "control: who reads gets it all");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_may_lie_idle_and_not_for_ever() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send(format!("{HEAD}\r\n")).await;
    assert!(client.answer().await.is_ok());
    tokio::time::sleep(KEEP_ALIVE / 2).await;
    client.send(with_length(&call("echo", 0))).await;
    assert!(client.answer().await.is_ok(), "longer than a head may take, and still open");
    assert!(client.has_something(2 * KEEP_ALIVE).await && client.is_closed().await);
    world.until_given_back("connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_hundreds_are_slow_others_are_served() {
    let world = World::start().await;
    let mut slow = Vec::new();
    for n in 0..300 {
        let mut client = Client::connect(world.gateway).await;
        client.send(if n % 2 == 0 { format!("{HEAD}x: ") } else { with_length(&call("echo", 9)).split_off(30) }).await;
        slow.push(client);
    }
    for _ in 0..20 {
        world.still_serves().await;
    }
    world.until_given_back("connections").await;
}
