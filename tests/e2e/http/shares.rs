//! One client, with a token or without, takes its share of what there is; everybody else is served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Version};
use portcullis_tests::backend::{json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::{call, request};

const NO_RATES: &str = "calls_per_minute: 0";
const TOKEN_FORM: &str = "content-type: application/x-www-form-urlencoded\r\n";

/// A connection from this address of this machine.
async fn connect(world: &World, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(([127, 0, 0, 1], world.port).into()).await.unwrap()
}

async fn http2(world: &World, from: &str) -> h2::client::SendRequest<Bytes> {
    let (client, connection) = h2::client::handshake(connect(world, from).await).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// What came of a request of which not all of the body was sent: a status, or nothing yet.
type Open = tokio::task::JoinHandle<StatusCode>;

/// Declares a body of so many bytes over HTTP/2, and sends no more than `sent` of it.
async fn open_http2(
    client: &mut h2::client::SendRequest<Bytes>,
    world: &World,
    path: &str,
    token: &str,
    (declared, sent): (usize, usize),
) -> Open {
    let head = Request::post(format!("{}{path}", world.url())).version(Version::HTTP_2);
    let head = head.header("content-length", declared).header("content-type", "application/json");
    let head = if token.is_empty() { head } else { head.header("authorization", format!("Bearer {token}")) };
    let mut ready = client.clone().ready().await.unwrap();
    let (answer, mut body) = ready.send_request(head.body(()).unwrap(), false).unwrap();
    if sent > 0 {
        body.send_data(Bytes::from(vec![b' '; sent]), false).unwrap();
    }
    tokio::spawn(async move {
        let answer = answer.await.unwrap();
        drop(body);
        assert!(answer.status() != 429 || answer.headers().contains_key("retry-after"));
        answer.status()
    })
}

/// The same over HTTP/1.1, on a connection of its own.
async fn open_http1(world: &World, from: &str, head: &[u8], sent: usize) -> TcpStream {
    let mut stream = connect(world, from).await;
    stream.write_all(head).await.unwrap();
    stream.write_all(&vec![b' '; sent]).await.unwrap();
    stream
}

/// The head of an answer; empty when none has come within a moment.
async fn head(stream: &mut TcpStream) -> String {
    let mut came = Vec::new();
    let read =
        async { while !came.ends_with(b"\r\n\r\n") && stream.read_buf(&mut came).await.is_ok_and(|read| read > 0) {} };
    let _elapsed = tokio::time::timeout(Duration::from_millis(300), read).await;
    String::from_utf8_lossy(&came).into_owned()
}

/// A whole call over either version; its status.
async fn called(world: &World, from: &str, token: &str) -> [u16; 2] {
    let body = call();
    let whole = request(world, token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), &body);
    let mut stream = connect(world, from).await;
    stream.write_all(&whole).await.unwrap();
    let mut status = [0; 12];
    stream.read_exact(&mut status).await.unwrap();
    let first = String::from_utf8_lossy(&status[9..]).parse().unwrap();
    let head = Request::post(world.mcp()).version(Version::HTTP_2).header("authorization", format!("Bearer {token}"));
    let head = head.header("content-type", "application/json").header("accept", "application/json");
    let (answer, mut sending) = http2(world, from).await.send_request(head.body(()).unwrap(), false).unwrap();
    sending.send_data(body.into(), true).unwrap();
    [first, answer.await.unwrap().status().as_u16()]
}

/// The status of the metadata document, asked for from this address.
async fn metadata(world: &World, from: &str) -> u16 {
    let client = reqwest::Client::builder().local_address(Some(from.parse().unwrap())).build().unwrap();
    let url = format!("{}/.well-known/oauth-authorization-server", world.url());
    client.get(url).send().await.unwrap().status().as_u16()
}

/// How many of these have an answer, once no more is coming; all of them 429.
async fn turned_away(open: &mut Vec<Open>, expected: usize) {
    for _ in 0..500 {
        if open.iter().filter(|one| one.is_finished()).count() >= expected {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let (done, waiting): (Vec<_>, Vec<_>) = std::mem::take(open).into_iter().partition(Open::is_finished);
    assert_eq!(done.len(), expected);
    for one in done {
        assert_eq!(one.await.unwrap(), 429);
    }
    *open = waiting;
}

#[tokio::test]
async fn who_sends_no_bodies_without_a_token_leaves_calls_and_other_addresses_alone() {
    let limits = format!("limits: {{ {NO_RATES}, requests: 40, requests_per_backend: 40 }}\n");
    let world = WorldBuilder::new(&Backend::plain().await).more(&limits).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    // Over HTTP/2 ten are let wait, which is a quarter, and all the others told so at once.
    let mut flood = http2(&world, "127.0.0.1").await;
    let mut open = Vec::new();
    for _ in 0..60 {
        open.push(open_http2(&mut flood, &world, "/token", "", (10, 0)).await);
    }
    turned_away(&mut open, 50).await;
    world.until_metric("portcullis_budget_used{budget=\"local_requests\"} 10").await;
    assert_eq!(metadata(&world, "127.0.0.1").await, 429, "the same address has had its share");
    assert_eq!(metadata(&world, "127.0.0.2").await, 200, "another has not");
    assert_eq!(called(&world, "127.0.0.1", &token).await, [200; 2], "whoever has a token is somebody else");
    // Over HTTP/1.1 from another address, and no more than half in all.
    let line =
        format!("POST /token HTTP/1.1\r\nhost: 127.0.0.1:{}\r\n{TOKEN_FORM}content-length: 10\r\n\r\n", world.port);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(open_http1(&world, "127.0.0.3", line.as_bytes(), 0).await);
    }
    world.until_metric("portcullis_budget_used{budget=\"local_requests\"} 20").await;
    let mut next = open_http1(&world, "127.0.0.3", line.as_bytes(), 0).await;
    assert!(head(&mut next).await.starts_with("HTTP/1.1 429"));
    assert_eq!(called(&world, "127.0.0.3", &token).await, [200; 2]);
    // Nobody waits long for them.
    for one in open {
        assert_eq!(one.await.unwrap(), 408);
    }
    drop(held);
    world.until_metric("portcullis_budget_used{budget=\"local_requests\"} 0").await;
    assert_eq!((metadata(&world, "127.0.0.1").await, metadata(&world, "127.0.0.3").await), (200, 200));
}

#[tokio::test]
async fn one_caller_leaves_the_requests_of_a_backend_to_others() {
    let limits = format!("limits: {{ {NO_RATES}, requests: 200, requests_per_backend: 40 }}\n");
    let world = WorldBuilder::new(&Backend::plain().await).more(&limits).start().await;
    let (rita, max) = (world.identity.mint("rita", &Value::Null), world.identity.mint("max", &Value::Null));
    let mut flood = http2(&world, "127.0.0.1").await;
    let mut open = Vec::new();
    for _ in 0..80 {
        open.push(open_http2(&mut flood, &world, "/mcp", &rita, (10, 0)).await);
    }
    turned_away(&mut open, 70).await;
    assert_eq!(called(&world, "127.0.0.1", &rita).await, [429; 2]);
    assert_eq!(called(&world, "127.0.0.1", &max).await, [200; 2], "somebody else has a share too");
    world.until_metric("portcullis_budget_refused_total{budget=\"requests_per_caller\"} 72").await;
    for one in open {
        one.abort();
    }
    world.until_metric("portcullis_budget_used{budget=\"requests\"} 0").await;
    assert_eq!(called(&world, "127.0.0.1", &rita).await, [200; 2]);
}

#[tokio::test]
async fn bodies_that_are_declared_and_not_sent_take_no_room_and_large_ones_of_one_caller_a_share() {
    const MIB: usize = 1 << 20;
    let limits = format!("limits: {{ {NO_RATES}, request_bytes: {} }}\n", 16 * MIB);
    let world = WorldBuilder::new(&Backend::plain().await).more(&limits).start().await;
    let (rita, max) = (world.identity.mint("rita", &Value::Null), world.identity.mint("max", &Value::Null));
    let large = |token: &str| {
        let length = format!("content-length: {}\r\n", 4 * MIB);
        request(&world, token, "POST /mcp HTTP/1.1", &length, "")
    };
    let mut open = Vec::new();
    for _ in 0..40 {
        open.push(open_http1(&world, "127.0.0.1", &large(&rita), 1).await);
    }
    world.until_metric("portcullis_budget_used{budget=\"request_bytes\"} 40").await;
    assert_eq!(called(&world, "127.0.0.1", &max).await, [200; 2]);
    drop(open);
    world.until_metric("portcullis_budget_used{budget=\"request_bytes\"} 0").await;
    // Once it is a large body that comes, it counts whole, and there is room for one.
    let first = open_http1(&world, "127.0.0.1", &large(&rita), 100_000).await;
    world.until_metric(&format!("portcullis_budget_used{{budget=\"request_bytes\"}} {}", 4 * MIB)).await;
    let mut second = open_http1(&world, "127.0.0.1", &large(&rita), 100_000).await;
    let refused = head(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("retry-after: "), "{refused}");
    let mut flood = http2(&world, "127.0.0.1").await;
    let third = open_http2(&mut flood, &world, "/mcp", &rita, (4 * MIB, 100_000)).await;
    assert_eq!(third.await.unwrap(), 429);
    assert_eq!(called(&world, "127.0.0.1", &rita).await, [200; 2], "small ones do not count");
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "x": "x".repeat(3 * MIB) } } });
    assert_eq!(world.post(&max, &body).await.status(), 200, "somebody else's large ones have room");
    drop(first);
    world.until_metric("portcullis_budget_used{budget=\"request_bytes\"} 0").await;
    assert_eq!(world.post(&rita, &body).await.status(), 200);
}

#[tokio::test]
async fn one_caller_leaves_the_places_of_a_backend_to_others() {
    let stream = "HTTP/1.1 200 OK\r\nx-held: 1\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n5\r\n: x\n\n\r\n";
    let backend = Backend::start(Arc::new(move |request: &portcullis_tests::backend::Request| {
        let message = request.json();
        if message["params"]["arguments"]["long"] == true { stream.into() } else { json_answer(&mcp(&message)) }
    }))
    .await;
    let care = "max_concurrent: 4, max_queued: 0";
    let limits = format!("limits: {{ {NO_RATES} }}\n");
    let world = WorldBuilder::new(&backend).backend_more(care).more(&limits).start().await;
    let [rita, max, walt] = ["rita", "max", "walt"].map(|who| world.identity.mint(who, &Value::Null));
    let long = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "long": true } } });
    let mut talking = Vec::new();
    for (who, gets) in [(&rita, 2), (&max, 1)] {
        for _ in 0..gets {
            let answer = world.post(who, &long).await;
            assert_eq!(answer.status(), 200);
            talking.push(answer);
        }
        let more = world.post(who, &long).await;
        assert_eq!((more.status().as_u16(), more.headers().contains_key("retry-after")), (429, true));
    }
    assert_eq!(called(&world, "127.0.0.1", &walt).await, [200; 2], "whoever has none gets the last");
    drop(talking);
    world.until_metric("portcullis_backend_waiting{backend=\"weather\"} 0").await;
    assert_eq!(world.post(&rita, &long).await.status(), 200);
}
