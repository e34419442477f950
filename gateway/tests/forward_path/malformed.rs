//! Requests that two readers could read in two ways: refused, and the backend not even connected to.

use crate::client::{Client, with_fields, with_length};
use crate::world::{World, call};

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /mcp HTTP/1.1\r\nhost: a\r\n{fields}\r\n{body}").into_bytes()
}

/// The first 22 are those that Pingora's own proxy was measured with.
#[expect(clippy::too_many_lines, reason = "one table, a line or two for each case")]
fn cases() -> Vec<(&'static str, Vec<u8>, &'static [u16])> {
    let body = call("echo", 0);
    let length = body.len();
    let sized = format!("content-length: {length}\r\n");
    let chunk = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let chunked = "transfer-encoding: chunked\r\n";
    let line = |line: &str| format!("{line}\r\nhost: a\r\n{sized}\r\n{body}").into_bytes();
    let with = |field: &str| post(&format!("{field}\r\n{sized}"), &body);
    vec![
        ("Content-Length and Transfer-Encoding", post(&format!("content-length: 5\r\n{chunked}"), &chunk), &[400]),
        ("two lengths", post(&format!("content-length: 5\r\n{sized}"), &body), &[400]),
        ("length with a sign", post(&format!("content-length: +{length}\r\n"), &body), &[400]),
        ("chunk size of letters", post(chunked, &format!("ZZ\r\n{body}")), &[400]),
        ("chunk size that overflows", post(chunked, &format!("ffffffffffffffff1\r\n{body}\r\n0\r\n\r\n")), &[400]),
        ("chunk without its end", post(chunked, &format!("{length:x}\r\n{body}XX0\r\n\r\n")), &[400]),
        ("chunked twice", post("transfer-encoding: chunked, chunked\r\n", &chunk), &[400]),
        ("unknown coding", post("transfer-encoding: xchunked\r\n", &chunk), &[400]),
        ("coding in HTTP/1.0", format!("POST /mcp HTTP/1.0\r\nhost: a\r\n{chunked}\r\n{chunk}").into_bytes(), &[400]),
        ("space before the colon", post(&format!("content-length : {length}\r\n"), &body), &[400]),
        ("folded line", with("x-a: 1\r\n b"), &[400]),
        ("NUL in a value", with("x-a: a\0b"), &[400]),
        ("bare LF", format!("POST /mcp HTTP/1.1\nhost: a\ncontent-length: {length}\n\n{body}").into_bytes(), &[400]),
        ("two hosts", with("host: b"), &[400]),
        ("no host", format!("POST /mcp HTTP/1.1\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        ("GET with a body", format!("GET /mcp HTTP/1.1\r\nhost: a\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n".to_vec(), &[405]),
        ("TRACE", b"TRACE /mcp HTTP/1.1\r\nhost: a\r\n\r\n".to_vec(), &[405]),
        ("upgrade", with("connection: upgrade, x-secret\r\nupgrade: websocket\r\nx-secret: 1"), &[400]),
        ("CR in the path", line("POST /mc\rp HTTP/1.1"), &[400]),
        ("absolute form", line("POST http://evil/mcp HTTP/1.1"), &[400]),
        ("upgrade to one of two", with("connection: upgrade\r\nupgrade: h2c, websocket"), &[400]),
        ("two upgrades", with("connection: upgrade\r\nupgrade: h2c\r\nupgrade: websocket"), &[400]),
        (
            "the PROXY protocol",
            [b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n".to_vec(), line("POST /mcp HTTP/1.1")].concat(),
            &[400],
        ),
        ("chunk size in hex notation", post(chunked, &format!("0x{chunk}")), &[400]),
        ("chunk size beyond 64 bits", post(chunked, &format!("10000000000000000{chunk}")), &[400]),
        // What else Pingora or hyper would take.
        ("Transfer-Encoding and Content-Length", post(&format!("{chunked}content-length: 5\r\n"), &chunk), &[400]),
        ("equal lengths", post(&format!("{sized}{sized}"), &body), &[400]),
        ("list of equal lengths", post(&format!("content-length: {length}, {length}\r\n"), &body), &[400]),
        ("coding before chunked", post("transfer-encoding: gzip, chunked\r\n", &chunk), &[400]),
        ("two codings", post(&format!("{chunked}transfer-encoding: identity\r\n"), &chunk), &[400]),
        ("one bare LF", post(&format!("x-a: 1\n{sized}"), &body), &[400]),
        ("CR in a value", with("x-a: a\rb"), &[400]),
        ("chunk size with a sign", post(chunked, &format!("+{chunk}")), &[400]),
        ("chunk size with underscore", post(chunked, &format!("0_{chunk}")), &[400]),
        ("DELETE with a body", format!("DELETE /mcp HTTP/1.1\r\nhost: a\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        ("empty host", format!("POST /mcp HTTP/1.1\r\nhost:\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        ("host with a path", format!("POST /mcp HTTP/1.1\r\nhost: a/x\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        ("host with user", format!("POST /mcp HTTP/1.1\r\nhost: u@a\r\n{sized}\r\n{body}").into_bytes(), &[400]),
        (
            "host with a port beyond",
            format!("POST /mcp HTTP/1.1\r\nhost: a:99999\r\n{sized}\r\n{body}").into_bytes(),
            &[400],
        ),
        ("fragment", line("POST /mcp#x HTTP/1.1"), &[400]),
        ("backslash", line("POST /\\mcp HTTP/1.1"), &[400]),
        ("no slash", line("POST mcp HTTP/1.1"), &[400]),
        ("unknown expectation", with("expect: 200-ok"), &[417]),
        ("encoded body", with("content-encoding: gzip"), &[415]),
        ("two tokens", with("authorization: Bearer a\r\nauthorization: Bearer b"), &[400]),
        ("two content types", with("content-type: application/json\r\ncontent-type: text/plain"), &[400]),
        ("two origins", with("origin: https://a\r\norigin: https://b"), &[400]),
        ("two names", with("mcp-name: a\r\nmcp-name: b"), &[400]),
        ("two sessions", with("mcp-session-id: a\r\nmcp-session-id: b"), &[400]),
        ("not HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaa\r\n\r\n".to_vec(), &[400]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_two_readings_is_refused_and_its_connection_closed() {
    let world = World::start().await;
    for (what, request, statuses) in cases() {
        let mut client = Client::connect(world.gateway).await;
        client.send(request).await;
        let answer = client.answer().await;
        assert!(statuses.contains(&answer.status()), "{what}: {answer:?}");
        assert!(answer.complete && client.is_closed().await, "{what}: {answer:?}");
        assert_eq!(world.backend.log().connections, 0, "{what}: the backend heard of it");
    }
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_pingora_repairs_is_not_the_path_that_was_meant() {
    let world = World::start().await;
    let request = with_length(&call("echo", 0)).replace("POST /mcp", "POST /mcp /x");
    assert_eq!(world.raw(request).await.status(), 400, "a space would become `%20`, and the path another");
    assert_eq!(world.backend.log().connections, 0);
    world.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_requests_made_honest_are_served() {
    let world = World::start().await;
    let body = call("echo", 0);
    for fields in ["", "x-a: 1\r\n", "host-x: b\r\n", "expect: 100-CONTINUE\r\n", "content-encoding: identity\r\n"] {
        let mut client = Client::connect(world.gateway).await;
        client.send(with_fields(fields, &body)).await;
        let mut answer = client.answer().await;
        if answer.status() == 100 {
            answer = client.answer().await;
        }
        assert!(answer.is_ok(), "{fields}: {answer:?}");
    }
    let chunked = format!("{:X};ext=1\r\n{body}\r\n0\r\nx-trailer: 1\r\n\r\n", body.len());
    assert!(world.raw(post("transfer-encoding: Chunked\r\n", &chunked)).await.is_ok());
}

/// What Java's `HttpClient` sends unless told otherwise (RFC 9110 section 7.8, RFC 7540 section 3.2).
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_of_h2c_is_ignored_and_the_connection_stays_in_step() {
    let world = World::start().await;
    let offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\n";
    let mut client = Client::connect(world.gateway).await;
    for size in [0, 100_000] {
        client.send(with_fields(offer, &call("echo", size))).await;
        let answer = client.answer().await;
        assert!(answer.is_ok() && answer.field("upgrade").is_none(), "{answer:?}");
    }
    client.send(with_fields("", &call("echo", 0))).await;
    assert!(client.answer().await.is_ok());
    let log = world.backend.log();
    assert_eq!(log.requests.len(), 3);
    for head in log.requests.iter().map(|request| request.head.to_ascii_lowercase()) {
        assert!(!head.contains("upgrade") && !head.contains("http2-settings"), "{head}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_ends_early_is_no_request() {
    let world = World::start().await;
    let whole = with_length(&call("echo", 0));
    let mut client = Client::connect(world.gateway).await;
    client.send(whole.split_at(whole.len() - 9).0).await;
    client.finish_sending().await;
    let answer = client.answer().await;
    assert!(matches!(answer.status(), 0 | 400) && client.is_closed().await, "{answer:?}");
    assert_eq!(world.backend.log().connections, 0);
    world.still_serves().await;
}
