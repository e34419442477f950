//! HTTP/2 used to wear a server out, or to say a thing in two ways: the connection ends or the stream does, a backend
//! hears little or nothing, and everybody else is served (RFC 9113 sections 8 and 10.5).

use crate::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, Peer, RST_STREAM, SETTINGS, WINDOW_UPDATE, block,
    frame, request,
};
use crate::world::{KEEP_ALIVE, World, call};

const CANCEL: [u8; 4] = 8u32.to_be_bytes();

fn odd(n: u32) -> u32 {
    2 * n + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn who_resets_stream_after_stream_at_once_is_cut_off() {
    let world = World::start().await;
    let mut peer = Peer::connect(world.gateway, &[]).await;
    let mut sent = 0;
    for n in 0..20_000 {
        let open = frame(HEADERS, END_HEADERS, odd(n), &request("POST", "/mcp", &[]));
        if !peer.send(&[open, frame(RST_STREAM, 0, odd(n), &CANCEL)].concat()).await {
            break;
        }
        sent = n;
    }
    assert!(sent < 19_999 || peer.is_ended().await, "{sent}");
    assert_eq!(world.backend.log().connections, 0);
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_what_was_begun_again_and_again_is_cut_off_and_who_does_so_now_and_then_is_not() {
    let world = World::start().await;
    let stream = request("GET", "/mcp", &[("mcp-session-id", "s")]);
    let ask = |n| frame(HEADERS, END_HEADERS | END_STREAM, odd(n), &stream);
    let mut peer = Peer::connect(world.gateway, &[]).await;
    for n in 0..50 {
        assert!(peer.send(&ask(n)).await);
        assert_eq!(peer.outcome(odd(n)).await, None, "control: it is begun");
        assert!(peer.send(&frame(RST_STREAM, 0, odd(n), &CANCEL)).await);
    }
    world.until_given_back("requests").await;
    assert!(peer.send(&ask(50)).await);
    assert_eq!(peer.outcome(odd(50)).await, None, "control: half a hundred are forgiven");
    let mut begun = 51;
    for n in 51..400 {
        if !peer.send(&[ask(n), frame(RST_STREAM, 0, odd(n - 1), &CANCEL)].concat()).await {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        begun = n;
    }
    assert!(begun < 399 && peer.is_ended().await, "{begun}");
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_makes_the_gateway_reset_stream_after_stream_is_cut_off() {
    let world = World::start().await;
    let mut peer = Peer::connect(world.gateway, &[]).await;
    let too_wide = 0x7fff_ffffu32.to_be_bytes();
    let mut sent = 0;
    for n in 0..5_000 {
        let open = frame(HEADERS, END_HEADERS, odd(n), &request("POST", "/mcp", &[]));
        if !peer.send(&[open, frame(WINDOW_UPDATE, 0, odd(n), &too_wide)].concat()).await {
            break;
        }
        sent = n;
    }
    assert!(sent < 4_999 || peer.is_ended().await, "{sent}");
    assert_eq!(world.backend.log().connections, 0);
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_without_end_and_one_that_unfolds_are_not_held() {
    let world = World::start().await;
    let mut endless = Peer::connect(world.gateway, &[]).await;
    let part = vec![0x40; 16_000];
    let mut going = endless.send(&frame(HEADERS, 0, 1, &request("POST", "/mcp", &[]))).await;
    let mut parts = 0;
    while going && parts < 10_000 {
        going = endless.send(&frame(CONTINUATION, 0, 1, &part)).await;
        parts += 1;
    }
    assert!(!going, "{parts} frames were taken");
    // A field that is put into the table once (RFC 7541 section 6.2.1) and named thousands of times, a byte each.
    let name_and_value = [[0x40, 1, b'x', 0x7f].as_slice(), &[0xa1, 0x1e], &[b'a'; 4000]].concat();
    let bomb = [request("POST", "/mcp", &[]), name_and_value, vec![0xbe; 10_000]].concat();
    let mut unfolding = Peer::connect(world.gateway, &[]).await;
    unfolding.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb)).await;
    let _ = unfolding.next().await;
    assert_eq!(world.backend.log().connections, 0);
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_settings_and_pings_keeps_nobody_out_and_no_connection_open() {
    let world = World::start().await;
    let mut peer = Peer::connect(world.gateway, &[]).await;
    let flood = [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[7; 8])].concat().repeat(500);
    let mut going = true;
    for _ in 0..40 {
        going = going && peer.send(&flood).await;
    }
    world.still_serves().await;
    // Pings are no requests: the connection is idle.
    let begun = tokio::time::Instant::now();
    while peer.send(&frame(PING, 0, 0, &[7; 8])).await {
        assert!(begun.elapsed() < 4 * KEEP_ALIVE, "pings keep a connection open");
        tokio::time::sleep(KEEP_ALIVE / 25).await;
    }
    world.until_given_back("connections").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_opens_no_window_is_given_up() {
    let world = World::start().await;
    let mut peer = Peer::connect(world.gateway, &[(4, 0)]).await;
    assert!(peer.send(&frame(HEADERS, END_HEADERS, 1, &request("POST", "/mcp", &[]))).await);
    assert!(peer.send(&frame(DATA, END_STREAM, 1, call("echo", 0).as_bytes())).await);
    assert_eq!(peer.outcome(1).await, None, "the head of the answer needs no window");
    assert_eq!(world.budget("requests").0, 1, "control: it is waited for");
    world.until_given_back("requests").await;
    world.until_given_back("answer_bytes").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_ten_thousand_streams_a_hundred_are_taken() {
    let world = World::start().await;
    let mut peer = Peer::connect(world.gateway, &[]).await;
    for n in 0..10_000 {
        if !peer.send(&frame(HEADERS, END_HEADERS, odd(n), &request("POST", "/mcp", &[]))).await {
            break;
        }
    }
    assert!(world.budget("requests").0 <= 100, "{:?}", world.budget("requests"));
    assert_eq!(world.backend.log().connections, 0);
    drop(peer);
    world.until_given_back("requests").await;
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_that_http2_forbids_are_refused() {
    let world = World::start().await;
    let without_path = block(&[(":method", "GET"), (":scheme", "http"), (":authority", "mcp.example")]);
    let twice = [request("GET", "/local", &[]), block(&[(":path", "/mcp")])].concat();
    let cases = [
        ("an uppercase name", request("GET", "/local", &[("X-A", "1")])),
        ("connection", request("GET", "/local", &[("connection", "close")])),
        ("keep-alive", request("GET", "/local", &[("keep-alive", "5")])),
        ("transfer-encoding", request("GET", "/local", &[("transfer-encoding", "chunked")])),
        ("upgrade", request("GET", "/local", &[("upgrade", "websocket")])),
        ("te", request("GET", "/local", &[("te", "gzip")])),
        ("a line end in a value", request("GET", "/local", &[("x", "a\r\nb: c")])),
        ("no path", without_path),
        ("a second path, last", twice),
        ("an unknown pseudo-field", request("GET", "/local", &[(":x", "1")])),
    ];
    for (what, fields) in cases {
        let mut peer = Peer::connect(world.gateway, &[]).await;
        assert!(peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)).await);
        assert!(peer.outcome(1).await.is_some(), "{what} is answered");
    }
    let mut peer = Peer::connect(world.gateway, &[]).await;
    let fields = request("GET", "/local", &[("te", "trailers"), ("x-a", "1")]);
    assert!(peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields)).await);
    assert_eq!(peer.outcome(1).await, None, "control");
    assert_eq!(world.backend.log().connections, 0);
}
