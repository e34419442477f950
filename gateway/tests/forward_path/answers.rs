//! Answers of every shape: relayed whole, refused, or visibly cut; and the next call is never out of step.

use crate::client::Client;
use crate::client::with_length;
use crate::world::{World, call};

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_answer_is_relayed_and_the_next_call_is_in_step() {
    let world = World::start().await;
    let cases = [
        ("no_content", 204, ""),
        ("accepted", 202, ""),
        ("not_modified", 304, ""),
        ("interim", 200, "{}"),
        ("chunked", 200, "{\"ok\":1}"),
        ("until_close", 200, "{\"ok\":1}"),
        ("goodbye", 200, "{}"),
        ("nosy", 200, "{}"),
        ("extra", 200, "{\"ok\":1}"),
    ];
    for (tool, status, body) in cases {
        let mut client = Client::connect(world.gateway).await;
        client.send(with_length(&call(tool, 0))).await;
        let answer = client.answer().await;
        assert_eq!((answer.status(), answer.text(), answer.complete), (status, body, true), "{tool}: {answer:?}");
        client.send(with_length(&call("echo", 0))).await;
        let next = client.answer().await;
        assert!(next.is_ok() && next.text().contains("len"), "after {tool}: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_has_a_true_length_however_the_backend_framed_it() {
    let world = World::start().await;
    for tool in ["chunked", "until_close"] {
        let answer = world.post(call(tool, 0)).await;
        assert_eq!(answer.field("content-length"), Some("8"));
        assert_eq!(answer.field("transfer-encoding"), None);
    }
    let empty = world.post(call("no_content", 0)).await;
    assert_eq!((empty.field("content-length"), empty.field("transfer-encoding")), (None, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_broken_or_ambiguous_is_a_bad_gateway_and_its_connection_is_dropped() {
    let world = World::start().await;
    for tool in [
        "switching",
        "interim_flood",
        "truncated",
        "bad_chunk",
        "chunks_cut",
        "two_framings",
        "two_lengths",
        "coded_twice",
        "folded",
        "bare_lf",
        "nul",
        "old_http",
        "big_head",
        "big_answer",
        "gzip",
        "closes",
    ] {
        world.backend.forget();
        let answer = world.post(call(tool, 0)).await;
        assert_eq!((answer.status(), answer.complete), (502, true), "{tool}: {answer:?}");
        assert_eq!(world.upstream.idle_connections(), 0, "{tool}: a broken connection must not be kept");
        assert_eq!(world.backend.log().requests.len(), 1, "{tool}: one delivery");
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_beyond_an_answer_never_reach_another_call() {
    let world = World::start().await;
    assert_eq!(world.post(call("extra", 0)).await.text(), "{\"ok\":1}");
    for _ in 0..5 {
        let answer = world.post(call("echo", 0)).await;
        assert!(answer.text().contains("len"), "{answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_is_silent_too_long_is_a_gateway_timeout() {
    let world = World::start().await;
    for tool in ["hangs", "stalls"] {
        let mut client = Client::connect(world.gateway).await;
        client.send(with_length(&call(tool, 0))).await;
        let mut answer = client.answer().await;
        for _ in 0..3 {
            if answer.status() == 0 {
                answer = client.answer().await;
            }
        }
        assert_eq!(answer.status(), 504, "{tool}");
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_gets_the_head_with_its_length_and_nothing_more() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("HEAD /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let head = String::from_utf8(client.rest().await).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\ncontent-length: 5\r\n"), "{head}");
    client.send("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.text(), "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_the_handler_forgets_is_cut_not_left_waiting() {
    let world = World::start().await;
    let mut client = Client::connect(world.gateway).await;
    client.send("GET /forgotten HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(client.is_closed().await);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_handler_panics_costs_its_connection_and_nothing_else() {
    const PANICS: usize = 50;
    let world = World::start().await;
    let mut other = Client::connect(world.gateway).await;
    other.send("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(other.answer().await.text(), "hello");
    for _ in 0..PANICS {
        let mut client = Client::connect(world.gateway).await;
        client.send("POST /panic HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}").await;
        assert!(client.is_closed().await, "it is left waiting");
    }
    other.send("GET /local HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(other.answer().await.text(), "hello", "who was there before goes on");
    world.still_serves().await;
    drop(other);
    // Whatever a request held is given back.
    while ["connections", "requests", "request_bytes"].iter().any(|name| world.budget(name).0 > 0) {
        tokio::task::yield_now().await;
    }
    println!(
        "\nfault 31: {PANICS} panics, {PANICS} connections closed, every budget given back (pass: others are served)"
    );
}
