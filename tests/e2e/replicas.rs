//! One backend on several servers: who gets what, and what is left when one is gone.

use std::sync::Arc;

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use serde_json::{Value, json};

/// A server whose sessions have an id of its own.
async fn server(session: &'static str) -> Backend {
    let script = move |request: &Request| {
        let message = request.json();
        if message["method"] != "initialize" {
            return json_answer(&mcp(&message));
        }
        let body = mcp(&message).to_string();
        let media = format!("application/json\r\nmcp-session-id: {session}");
        answer("200 OK", &media, &body)
    };
    Backend::start(Arc::new(script)).await
}

async fn world(one: &Backend, other: &Backend) -> (World, String) {
    let world = WorldBuilder::new(one).replica(&other.url()).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    (world, token)
}

async fn initialize(world: &World, token: &str) -> String {
    let hello = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let response = world.post(token, &hello).await;
    assert_eq!(response.status(), 200);
    response.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

fn calls(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| request.json()["method"] == "tools/call").count()
}

#[tokio::test]
async fn a_session_stays_with_the_server_that_began_it() {
    let (one, other) = (server("session-one").await, server("session-other").await);
    let (mut world, token) = world(&one, &other).await;
    let mut sessions = Vec::new();
    for _ in 0..4 {
        sessions.push(initialize(&world, &token).await);
    }
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for session in sessions.iter().cycle().take(12) {
            assert_eq!(world.post_with(&token, &call(), &[("mcp-session-id", session)]).await.status(), 200);
        }
    }
    for (backend, id) in [(&one, "session-one"), (&other, "session-other")] {
        let named: Vec<_> = backend.requests().iter().filter_map(|request| request.header("mcp-session-id")).collect();
        assert_eq!(named.len(), 12);
        assert!(named.iter().all(|named| named == id), "{named:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_gone_loses_no_call_and_ends_its_sessions() {
    let (one, other) = (server("session-one").await, server("session-other").await);
    let (world, token) = world(&one, &other).await;
    let sessions = [initialize(&world, &token).await, initialize(&world, &token).await];
    assert_eq!(world.probe("/readyz").await, "ready\n");
    other.stop().await;
    for _ in 0..20 {
        assert_eq!(world.post(&token, &call()).await.status(), 200);
    }
    assert_eq!((calls(&one), calls(&other)), (20, 0), "each call is made once");
    let mut answers = Vec::new();
    for session in &sessions {
        answers.push(world.post_with(&token, &call(), &[("mcp-session-id", session)]).await.status().as_u16());
    }
    answers.sort_unstable();
    assert_eq!(answers, [200, 404], "one session lives, the client of the other is told to begin anew");
    initialize(&world, &token).await;
    let note = "ready\nbackend `weather`: 1 of 2 servers are in use; see the log\n";
    assert_eq!(world.probe("/readyz").await, note);
    let metrics = world.probe("/metrics").await;
    let up = |backend: &Backend| {
        let server = backend.url().replace("http://", "").replace("/mcp", "");
        metrics
            .lines()
            .find(|line| line.starts_with("portcullis_backend_up") && line.contains(&server))
            .map(str::to_owned)
    };
    assert!(up(&one).unwrap().ends_with(" 1"), "{metrics}");
    assert!(up(&other).unwrap().ends_with(" 0"), "{metrics}");
}

#[tokio::test]
async fn a_call_that_a_server_took_is_never_given_to_another() {
    let one = server("session-one").await;
    let broken = |request: &Request| {
        let taken = request.json()["method"] == "tools/call";
        if taken { b"nonsense\r\n\r\nCLOSE".to_vec() } else { json_answer(&mcp(&request.json())) }
    };
    let other = Backend::start(Arc::new(broken)).await;
    let (world, token) = world(&one, &other).await;
    let mut answers = Vec::new();
    for _ in 0..10 {
        answers.push(world.post(&token, &call()).await.status().as_u16());
    }
    answers.sort_unstable();
    assert_eq!(answers, [[200; 5], [502; 5]].concat());
    assert_eq!((calls(&one), calls(&other)), (5, 5), "each was taken by one server");
}
