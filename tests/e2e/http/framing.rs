//! Framing that two readers could read in two ways.

use portcullis_tests::raw;

use crate::{call, request, world};

#[tokio::test]
async fn a_request_that_could_be_framed_in_two_ways_is_refused() {
    let (world, backend, token) = world().await;
    let body = call();
    let length = body.len();
    let chunked = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let post = "POST /mcp HTTP/1.1";
    let cases = [
        ("both", post, "content-length: 5\r\ntransfer-encoding: chunked\r\n".to_owned(), chunked.clone()),
        ("both, other order", post, "transfer-encoding: chunked\r\ncontent-length: 5\r\n".to_owned(), chunked.clone()),
        ("two lengths", post, format!("content-length: 5\r\ncontent-length: {length}\r\n"), body.clone()),
        (
            "the same length twice",
            post,
            format!("content-length: {length}\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        ("a signed length", post, format!("content-length: +{length}\r\n"), body.clone()),
        ("two codings", post, "transfer-encoding: chunked, chunked\r\n".to_owned(), chunked.clone()),
        ("gzip, chunked", post, "transfer-encoding: gzip, chunked\r\n".to_owned(), chunked.clone()),
        ("an unknown coding", post, "transfer-encoding: xchunked\r\n".to_owned(), chunked.clone()),
        ("a coding in 1.0", "POST /mcp HTTP/1.0", "transfer-encoding: chunked\r\n".to_owned(), chunked.clone()),
        ("a bad chunk size", post, "transfer-encoding: chunked\r\n".to_owned(), format!("zz\r\n{body}\r\n0\r\n\r\n")),
        (
            "a huge chunk size",
            post,
            "transfer-encoding: chunked\r\n".to_owned(),
            format!("ffffffffffffffff1\r\n{body}\r\n0\r\n\r\n"),
        ),
        ("a space before the colon", post, format!("content-length : {length}\r\n"), body.clone()),
        ("a folded line", post, format!("x-a: 1\r\n b\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a NUL", post, format!("x-a: a\0b\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a bare LF", post, format!("x-a: 1\ncontent-length: {length}\r\n"), body.clone()),
        ("a second host", post, format!("host: other\r\ncontent-length: {length}\r\n"), body.clone()),
        ("a GET with a body", "GET /mcp HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
        (
            "an upgrade",
            post,
            format!("connection: upgrade\r\nupgrade: websocket\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        ("an unknown expectation", post, format!("expect: x\r\ncontent-length: {length}\r\n"), body.clone()),
        (
            "a second authorization",
            post,
            format!("authorization: Bearer x\r\ncontent-length: {length}\r\n"),
            body.clone(),
        ),
        (
            "absolute form of another host",
            "POST http://evil.example/mcp HTTP/1.1",
            format!("content-length: {length}\r\n"),
            body.clone(),
        ),
        ("a fragment", "POST /mcp#x HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
        ("TRACE", "TRACE /mcp HTTP/1.1", String::new(), String::new()),
        ("CONNECT", "CONNECT 127.0.0.1:80 HTTP/1.1", String::new(), String::new()),
        ("a lower-case method", "post /mcp HTTP/1.1", format!("content-length: {length}\r\n"), body.clone()),
    ];
    for (name, line, headers, body) in cases {
        let answer = raw::send(world.port, &request(&world, &token, line, &headers, &body)).await;
        let status = raw::status(&answer);
        assert!((400..=431).contains(&status), "{name}: {answer}");
    }
    assert!(backend.requests().is_empty());
    let good = request(&world, &token, post, &format!("content-length: {length}\r\n"), &body);
    assert_eq!(raw::status(&raw::send(world.port, &good).await), 200);
    let good = request(&world, &token, post, "transfer-encoding: chunked\r\n", &chunked);
    assert_eq!(raw::status(&raw::send(world.port, &good).await), 200);
    let requests = backend.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests.iter().all(|request| request.header("content-length").as_deref() == Some(&length.to_string())));
}

#[tokio::test]
async fn nothing_is_read_behind_a_body_that_two_readers_may_end_at_different_places() {
    let (world, backend, token) = world().await;
    let body = call();
    let post = "POST /mcp HTTP/1.1";
    let plain = request(&world, &token, post, &format!("content-length: {}\r\n", body.len()), &body);
    let size = format!("{:x}", body.len());
    let cases = [
        format!("{size}\r\n{body}\r\n0\r\n\r\n"),
        // Whoever ends a line at LF reads another body.
        format!("3;\nxxx\r\n{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("{size};{}\r\n{body}\r\n0\r\n\r\n", "x".repeat(20_000)),
        format!("{size} \t\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}\r\n\r\n\r\n"),
        format!("{size}\r\n{body}\r\n;a=b\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\nGET /livez HTTP/1.1\r\n\r\n"),
        format!("{size}\r\n{body}\r\n0\r\n X-A b\0\r\n\r\n"),
    ];
    for chunks in cases {
        let before = backend.requests().len();
        let bytes = request(&world, &token, post, "transfer-encoding: chunked\r\n", &chunks);
        let mut connection = raw::Connection::open(world.port).await;
        let answer = connection.say(&bytes).await;
        let served = usize::from(raw::status(&answer) == 200);
        assert!(served == 1 || raw::status(&answer) == 400, "{chunks:?}: {answer}");
        assert!(answer.ends_with("<closed>"), "{chunks:?}: {answer}");
        assert_eq!(connection.say(&plain).await, "<closed>", "{chunks:?}");
        assert_eq!(backend.requests().len(), before + served, "{chunks:?}");
    }
    // The control: a declared length ends where everybody says that it ends.
    let mut connection = raw::Connection::open(world.port).await;
    for _ in 0..2 {
        let answer = connection.say(&plain).await;
        assert!(raw::status(&answer) == 200 && !answer.ends_with("<closed>"), "{answer}");
    }
}
