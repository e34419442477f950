//! Bodies of every size and framing reach the backend whole, with a length of our own.

use crate::client::{Client, in_chunks, with_fields, with_length};
use crate::world::{World, call};

/// Around the buffers on the way: 64 KiB in Pingora, 4 MiB our limit.
pub(crate) const SIZES: [usize; 8] = [0, 10, 65_000, 65_536, 70_000, 200_000, 1_000_000, 3_900_000];

#[tokio::test(flavor = "multi_thread")]
async fn a_body_of_any_size_and_framing_arrives_whole_and_with_its_length() {
    let world = World::start().await;
    for size in SIZES {
        let body = call("echo", size);
        let expected = format!("{{\"len\":{}}}", body.len());
        for request in [with_length(&body).into_bytes(), in_chunks(&body)] {
            world.backend.forget();
            let answer = world.raw(request).await;
            assert!(answer.is_ok() && answer.text() == expected, "{size}: {answer:?}");
            let log = world.backend.log();
            assert_eq!(log.requests.len(), 1);
            assert_eq!(log.requests[0].body, body.as_bytes());
            assert!(log.requests[0].head.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
            assert!(!log.requests[0].head.contains("transfer-encoding"), "{}", log.requests[0].head);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_for_continue_gets_it_and_the_backend_hears_nothing_of_it() {
    let world = World::start().await;
    let request = with_fields("expect: 100-continue\r\n", &call("echo", 10));
    let (head, body) = request.split_at(request.find("\r\n\r\n").unwrap() + 4);
    let mut client = Client::connect(world.gateway).await;
    client.send(head).await;
    assert_eq!(client.answer().await.status(), 100);
    client.send(body).await;
    assert!(client.answer().await.is_ok());
    assert!(!world.backend.log().requests[0].head.contains("expect"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_byte_by_byte_arrives_whole() {
    let world = World::start().await;
    let body = call("echo", 0);
    for request in [with_length(&body).into_bytes(), in_chunks(&body)] {
        let mut client = Client::connect(world.gateway).await;
        for byte in request {
            client.send([byte]).await;
            tokio::task::yield_now().await;
        }
        assert!(client.answer().await.is_ok());
    }
    assert!(world.backend.log().requests.iter().all(|request| request.body == body.as_bytes()));
}
