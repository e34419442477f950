//! Connections are kept, given up and never used out of step; a call is delivered once or not at all.

use std::time::Duration;

use crate::client::{Client, with_length};
use crate::world::{HEAD_DEADLINE, World, call};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_calls_on_one_connection_use_one_connection_to_the_backend() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    for _ in 0..50 {
        client.send(with_length(&call("echo", 0))).await;
        assert!(client.answer().await.is_ok());
    }
    let log = world.backend.log();
    assert_eq!((log.connections, log.requests.len()), (1, 50));
    assert_eq!(log.requests[49].nth, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_the_backend_reads_and_drops_is_delivered_once() {
    let world = World::start().await;
    assert_eq!(world.post(call("closes", 0)).await.status(), 502);
    assert_eq!(world.backend.log().requests.len(), 1);
    world.backend.forget();
    world.still_serves().await;
    assert_eq!(world.post(call("closes_reused", 0)).await.status(), 502);
    let log = world.backend.log();
    assert_eq!((log.connections, log.requests.len(), log.requests[1].nth), (1, 2, 2), "on a used connection, once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_asked_for_on_a_connection_that_the_backend_closes_is_asked_for_once_more() {
    let world = World::start().await;
    world.still_serves().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("GET /mcp HTTP/1.1\r\nhost: a\r\nlast-event-id: closes-reused\r\n\r\n").await;
    assert!(client.answer().await.is_ok());
    let log = world.backend.log();
    let asked: Vec<usize> = log.requests.iter().skip(1).map(|request| request.nth).collect();
    assert_eq!(asked, [2, 1], "on the used connection, then on a new one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_call_that_the_backend_does_not_read_is_not_sent_again() {
    let world = World::start().await;
    assert_eq!(world.post(call("unread", 3_000_000)).await.status(), 200, "control: the backend reads this one");
    world.backend.forget();
    let answer = world.raw(crate::client::with_fields("accept: unread\r\n", &call("echo", 3_000_000))).await;
    assert_eq!(answer.status(), 502);
    assert!(world.backend.log().connections <= 1);
    assert!(world.backend.log().requests.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_that_the_backend_closed_is_not_used() {
    let world = World::start().await;
    for _ in 0..3 {
        assert!(world.post(call("leaves", 0)).await.is_ok());
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.still_serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_lets_go_of_what_the_backend_closed() {
    let world = World::start().await;
    world.still_serves().await;
    world.upstream.sweep();
    assert_eq!(world.upstream.idle_connections(), 1);
    let taken = world.upstream.pooled().unwrap();
    drop(taken);
    assert!(world.post(call("leaves", 0)).await.is_ok());
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.upstream.sweep();
    assert_eq!(world.upstream.idle_connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_the_backend_thinks_is_told_to_the_backend() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&call("hangs", 0))).await;
    world.backend.eventually("the call arrives", |log| log.requests.len() == 1).await;
    assert_eq!(world.backend.log().abandoned, 0);
    drop(client);
    world.backend.eventually("the backend sees it leave", |log| log.abandoned == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_calls_sent_without_waiting_the_first_is_answered_and_the_connection_closed() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&call("echo", 0)).repeat(3)).await;
    assert!(client.answer().await.is_ok());
    assert!(client.is_closed().await);
    assert_eq!(world.backend.log().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_sent_while_the_first_is_thought_about_does_not_harm_the_first() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send(with_length(&call("hangs", 0))).await;
    world.backend.eventually("the call arrives", |log| log.requests.len() == 1).await;
    client.send(with_length(&call("echo", 0))).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.backend.log().abandoned, 0, "the first call goes on");
    let mut answer = client.answer().await;
    for _ in 0..3 {
        if answer.status() == 0 {
            answer = client.answer().await;
        }
    }
    assert_eq!(answer.status(), 504);
    assert!(client.is_closed().await);
    assert_eq!(world.backend.log().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_closed_when_its_client_asks_for_it_or_speaks_http_1_0() {
    let world = World::start().await;
    for (version, fields) in [("1.1", "connection: x, Close\r\n"), ("1.0", ""), ("1.0", "connection: keep-alive\r\n")] {
        let mut client = Client::connect(world.gateway).await;
        client.send(format!("GET /local HTTP/{version}\r\nhost: a\r\n{fields}\r\n")).await;
        let answer = client.answer().await;
        assert!(answer.is_ok() && answer.field("connection") == Some("close"), "{answer:?}");
        assert!(client.is_closed().await);
    }
    let mut client = Client::connect(world.gateway).await;
    client.send("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.answer().await.is_ok());
    assert!(!client.is_closed().await, "control: otherwise it stays open");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_whole_in_time_costs_its_connection() {
    let world = World::start().await;
    for start in ["", "P", "POST /mcp HTTP/1.1\r\nhost: a\r\nx: "] {
        let mut client = Client::connect(world.gateway).await;
        client.send(start).await;
        let before = tokio::time::Instant::now();
        while !client.is_closed().await {
            assert!(before.elapsed() < 4 * HEAD_DEADLINE, "{start:?}");
        }
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_backend_that_closes_often_never_gets_a_call_twice() {
    let world = World::start().await;
    let mut clients = Vec::new();
    for _ in 0..8 {
        let gateway = world.gateway;
        clients.push(tokio::spawn(async move {
            let mut client = Client::connect(gateway).await;
            let (mut answered, mut failed) = (0, 0);
            for round in 0..60 {
                let tool = if round % 7 == 0 { "leaves" } else { "echo" };
                client.send(with_length(&call(tool, 0))).await;
                match client.answer().await.status() {
                    200 => answered += 1,
                    502 => failed += 1,
                    other => panic!("{other}"),
                }
            }
            (answered, failed)
        }));
    }
    let (mut answered, mut failed) = (0, 0);
    for client in clients {
        let (more_answered, more_failed) = client.await.unwrap();
        (answered, failed) = (answered + more_answered, failed + more_failed);
    }
    let delivered = world.backend.log().requests.len();
    assert_eq!(answered + failed, 480);
    assert!(answered <= delivered && delivered <= answered + failed, "{answered} {failed} {delivered}");
}
