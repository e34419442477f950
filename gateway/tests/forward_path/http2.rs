//! The same over HTTP/2 without TLS, on the same port.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Request, StatusCode, Version};
use tokio::net::TcpStream;

use crate::bodies::SIZES;
use crate::world::{World, call};

pub(crate) async fn connect(to: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(to).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    fields: http::HeaderMap,
    body: Vec<u8>,
}

pub(crate) fn request(method: &str, path: &str) -> http::request::Builder {
    Request::builder().version(Version::HTTP_2).method(method).uri(format!("http://mcp.example{path}"))
}

/// Sends a body, or none, and reads the answer; what cannot be sent because the answer is there already is not.
async fn exchange(
    client: &mut SendRequest<Bytes>,
    request: http::request::Builder,
    body: Option<String>,
) -> Result<Answer, h2::Error> {
    let (answer, mut stream) = client.send_request(request.body(()).unwrap(), body.is_none())?;
    let sending = tokio::spawn(async move {
        let mut rest = Bytes::from(body.unwrap_or_default());
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|context| stream.poll_capacity(context)).await;
            let Some(Ok(room)) = room else { return stream };
            let piece = rest.split_to(room.min(rest.len()));
            if stream.send_data(piece, rest.is_empty()).is_err() {
                return stream;
            }
        }
        stream
    });
    let answer = answer.await;
    let (parts, mut incoming) = answer?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = incoming.data().await {
        let piece = piece?;
        incoming.flow_control().release_capacity(piece.len())?;
        body.extend_from_slice(&piece);
    }
    sending.abort();
    Ok(Answer { status: parts.status, fields: parts.headers, body })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_any_size_with_or_without_a_length_arrives_whole() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    for size in SIZES {
        let body = call("echo", size);
        let expected = format!("{{\"len\":{}}}", body.len());
        for declared in [true, false] {
            world.backend.forget();
            let mut head = request("POST", "/mcp").header("content-type", "application/json");
            if declared {
                head = head.header("content-length", body.len());
            }
            let answer = exchange(&mut client, head, Some(body.clone())).await.unwrap();
            assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, expected.as_bytes()), "{size} {declared}");
            assert_eq!(answer.fields["content-length"], expected.len().to_string());
            let log = world.backend.log();
            assert_eq!(log.requests.len(), 1);
            assert_eq!(log.requests[0].body, body.as_bytes());
            assert!(!log.requests[0].head.contains("transfer-encoding"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_request_gets_the_length_and_no_body() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    let answer = exchange(&mut client, request("HEAD", "/local"), None).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 0));
    assert_eq!(answer.fields["content-length"], "5");
    assert!(!answer.fields.contains_key("connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_and_the_connection_goes_on() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    let body = "x".repeat(6_000_000);
    for declared in [true, false] {
        let mut head = request("POST", "/mcp");
        if declared {
            head = head.header("content-length", body.len());
        }
        let answer = exchange(&mut client, head, Some(body.clone())).await.unwrap();
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE, "{declared}");
    }
    assert_eq!(world.backend.log().connections, 0);
    let control = exchange(&mut client, request("POST", "/mcp"), Some(call("echo", 0))).await.unwrap();
    assert_eq!(control.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_its_client_resets_is_given_up_at_the_backend() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    let (answer, mut stream) = client.send_request(request("POST", "/mcp").body(()).unwrap(), false).unwrap();
    stream.send_data(call("hangs", 0).into(), true).unwrap();
    world.backend.eventually("the call arrives", |log| log.requests.len() == 1).await;
    stream.send_reset(h2::Reason::CANCEL);
    drop(answer);
    world.backend.eventually("the backend sees it leave", |log| log.abandoned == 1).await;
    let control = exchange(&mut client, request("POST", "/mcp"), Some(call("echo", 0))).await.unwrap();
    assert_eq!(control.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_off_is_reset_not_ended() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    assert!(exchange(&mut client, request("POST", "/mcp"), Some(call("events_cut", 0))).await.is_err());
    let control = exchange(&mut client, request("POST", "/mcp"), Some(call("events", 0))).await.unwrap();
    assert_eq!(control.body, b"data: {\"n\":1}\n\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_two_readings_is_refused() {
    let world = World::start().await;
    let mut client = connect(world.gateway).await;
    let body = || Some(call("echo", 0));
    let refused = [
        (request("POST", "/mcp").header("authorization", "a").header("authorization", "b"), body(), 400),
        (request("POST", "/mcp").header("mcp-name", "a").header("mcp-name", "b"), body(), 400),
        (request("POST", "/mcp").header("host", "other.example"), body(), 400),
        (request("POST", "/mcp").header("expect", "200-ok"), body(), 417),
        (request("POST", "/mcp").header("content-encoding", "br"), body(), 415),
        (request("GET", "/mcp"), body(), 400),
        (request("TRACE", "/mcp"), None, 405),
        (request("GET", "/mcp%0D"), None, 400),
        (request("GET", &format!("/local?{}", "a".repeat(9_000))), None, 414),
        ((0..120).fold(request("GET", "/local"), |head, n| head.header(format!("x-{n}"), "1")), None, 431),
        (request("GET", "/local").header("x", "a".repeat(17_000)), None, 431),
    ];
    for (head, body, status) in refused {
        let answer = exchange(&mut client, head, body).await.unwrap();
        assert_eq!(answer.status.as_u16(), status);
    }
    assert_eq!(world.backend.log().connections, 0);
    let control = exchange(&mut client, request("POST", "/mcp").header("host", "mcp.example"), body()).await.unwrap();
    assert_eq!(control.status, StatusCode::OK);
}
