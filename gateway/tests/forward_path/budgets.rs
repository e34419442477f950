//! What the whole process may hold: beyond it a client is told to come back, and what ends is given back.

use std::time::Duration;

use portcullis::proxy::budget::Limits;

use crate::client::{Answer, Client, with_length};
use crate::world::{World, call};

fn is_put_off(answer: &Answer) -> bool {
    answer.status() == 503 && answer.field("retry-after").is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_too_many_is_told_to_come_back() {
    let world = World::within(Limits { connections: 3, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(world.gateway).await;
        client.send("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert!(client.answer().await.is_ok());
        held.push(client);
    }
    let mut fourth = Client::connect(world.gateway).await;
    fourth.send(with_length(&call("echo", 0))).await;
    let answer = fourth.answer().await;
    assert!(is_put_off(&answer) && fourth.is_closed().await, "{answer:?}");
    assert_eq!(world.backend.log().connections, 0);
    drop(held);
    world.until_given_back("connections").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_too_many_is_told_to_come_back() {
    let world = World::within(Limits { requests: 2, ..Limits::default() }).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(world.gateway).await;
        client.send(with_length(&call("hangs", 0))).await;
        held.push(client);
    }
    world.backend.eventually("both arrive", |log| log.requests.len() == 2).await;
    let answer = world.post(call("echo", 0)).await;
    assert!(is_put_off(&answer), "{answer:?}");
    assert_eq!(world.backend.log().requests.len(), 2);
    assert_eq!(world.budget("requests"), (2, 1));
    drop(held);
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_take_their_room_and_never_more_than_there_is() {
    let world = World::within(Limits { request_bytes: 9_000_000, ..Limits::default() }).await;
    let whole = with_length(&call("echo", 3_000_000));
    let (most, last) = whole.split_at(whole.len() - 1);
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(world.gateway).await;
        client.send(most).await;
        held.push(client);
    }
    while world.budget("request_bytes").0 < 6_000_000 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for _ in 0..5 {
        let mut late = Client::connect(world.gateway).await;
        late.send(with_length(&call("echo", 3_900_000))).await;
        let answer = late.answer().await;
        assert_eq!((answer.status(), answer.complete), (503, true), "the refusal is read: {answer:?}");
        assert!(world.budget("request_bytes").0 <= 9_000_000);
    }
    assert_eq!(world.backend.log().connections, 0);
    for client in &mut held {
        client.send(last).await;
        assert!(client.answer().await.is_ok(), "who came first is served");
    }
    world.until_given_back("request_bytes").await;
    assert!(world.post(call("echo", 3_900_000)).await.is_ok(), "control: there is room again");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_finds_no_room_is_not_read_on() {
    let world = World::within(Limits { answer_bytes: 400_000, ..Limits::default() }).await;
    assert_eq!(world.post(call("half_a_mebibyte", 0)).await.status(), 502);
    world.until_given_back("answer_bytes").await;
    assert_eq!(world.budget("answer_bytes"), (0, 1));
    world.still_serves().await;
    let roomy = World::start().await;
    assert!(roomy.post(call("half_a_mebibyte", 0)).await.is_ok(), "control");
    roomy.until_given_back("answer_bytes").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_only_declared_take_no_room() {
    let world = World::within(Limits { request_bytes: 4 << 20, ..Limits::default() }).await;
    let whole = with_length(&call("echo", 3_000_000));
    let (first, _) = whole.split_at(whole.find("\r\n\r\n").unwrap() + 5);
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut client = Client::connect(world.gateway).await;
        client.send(first).await;
        held.push(client);
    }
    while world.budget("requests").0 < 20 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(world.post(call("echo", 3_000_000)).await.is_ok(), "who sends one is served");
    assert_eq!(world.budget("request_bytes").1, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_a_share_of_an_address_waits_for_bodies_that_nobody_wants() {
    let world = World::within(Limits { requests: 60, requests_per_address: 2, ..Limits::default() }).await;
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut client = crate::http2::connect(world.gateway).await;
        for _ in 0..100 {
            let head = crate::http2::request("POST", "/nowhere").header("content-length", 10);
            open.push(client.send_request(head.body(()).unwrap(), false).unwrap());
        }
    }
    // All but two are answered at once, and their places are free again: hardly one finds none.
    let mut answered = 0;
    for (answer, _body) in open {
        let status = answer.await.unwrap().status();
        assert!(status == 404 || status == 503, "{status}");
        answered += usize::from(status == 404);
    }
    assert!(answered > 150, "{answered} of 300");
    world.until_given_back("requests").await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut client = Client::connect(world.gateway).await;
        client.send("POST /nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n").await;
        waiting.push(client);
        while waiting.len() == 2 && world.budget("requests").0 < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let answer = waiting[2].answer().await;
    assert_eq!((answer.status(), answer.complete), (404, true), "the third is not waited for: {answer:?}");
    world.still_serves().await;
}
