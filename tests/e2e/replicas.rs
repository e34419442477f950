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

/// A server without sessions that asks every caller something, under the same id, before it does what it is told.
async fn asking(name: &'static str) -> Backend {
    let script = move |request: &Request| {
        let message = request.json();
        if message["method"] != "tools/call" {
            return answer("202 Accepted", "text/plain", "");
        }
        let ask = json!({ "jsonrpc": "2.0", "id": 1, "method": "elicitation/create", "params": { "message": name, "requestedSchema": { "type": "object" } } });
        let event = format!("data: {ask}\n\n");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-held: 1\r\ntransfer-encoding: chunked";
        format!("{head}\r\n\r\n{:x}\r\n{event}\r\n", event.len()).into_bytes()
    };
    Backend::start(Arc::new(script)).await
}

/// A call that is asked something back; who asks.
async fn asked(world: &World, token: &str) -> (reqwest::Response, String) {
    let mut stream = world.post(token, &call()).await;
    let event = stream.chunk().await.unwrap().unwrap();
    let data = std::str::from_utf8(&event).unwrap().trim().strip_prefix("data: ").unwrap();
    let ask: Value = serde_json::from_str(data).unwrap();
    assert_eq!(ask["id"], 1);
    (stream, ask["params"]["message"].as_str().unwrap().to_owned())
}

fn answers(backend: &Backend) -> Vec<Value> {
    let bodies = backend.requests().into_iter().map(|request| request.json());
    bodies.filter(|body| body["id"] == 1 && body["result"].is_object()).map(|body| body["result"].clone()).collect()
}

#[tokio::test]
async fn an_answer_goes_to_the_server_that_asked_and_to_nobody_else() {
    let (one, other) = (asking("one").await, asking("other").await);
    let world = WorldBuilder::new(&one).replica(&other.url()).start().await;
    let [alice, rita] = ["alice", "rita"].map(|user| world.identity.mint(user, &Value::Null));
    let of =
        |who: &str| json!({ "jsonrpc": "2.0", "id": 1, "result": { "action": "accept", "content": { "of": who } } });
    let told = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    for turn in 0..4 {
        let (first, asks_alice) = asked(&world, &alice).await;
        let (second, asks_rita) = asked(&world, &rita).await;
        assert_ne!(asks_alice, asks_rita, "each is asked by another");
        // Whose turn it is decides nothing.
        for _ in 0..turn % 2 {
            assert_eq!(world.post(&alice, &told).await.status(), 202);
        }
        assert_eq!(world.post(&alice, &of("alice")).await.status(), 202);
        assert_eq!(world.post(&rita, &of("rita")).await.status(), 202);
        for (token, who) in [(&alice, "alice"), (&rita, "rita")] {
            assert_eq!(world.post(token, &of(who)).await.status(), 400, "once, and no session has ended");
        }
        let got = |name: &str| answers(if name == "one" { &one } else { &other });
        assert_eq!(got(&asks_alice).last().unwrap()["content"]["of"], "alice");
        assert_eq!(got(&asks_rita).last().unwrap()["content"]["of"], "rita");
        drop((first, second));
    }
    assert_eq!(answers(&one).len() + answers(&other).len(), 8);

    // What a server asked that is gone, nobody else is told.
    let (_stream, gone) = asked(&world, &alice).await;
    let (stopped, left) = if gone == "one" { (&one, &other) } else { (&other, &one) };
    stopped.stop().await;
    for _ in 0..20 {
        let (_stream, asks) = asked(&world, &rita).await;
        assert_ne!(asks, gone);
    }
    let before = answers(left).len();
    assert_eq!(world.post(&alice, &of("alice")).await.status(), 503);
    assert_eq!(answers(left).len(), before);
    assert_eq!(world.post(&rita, &of("rita")).await.status(), 202, "the control");
    assert_eq!(answers(left).len(), before + 1);
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

#[tokio::test]
async fn in_a_batch_every_task_goes_to_the_server_that_gave_it() {
    let giving = async |name: &'static str| {
        let script = move |request: &Request| {
            let message = request.json();
            let result = match message["method"].as_str() {
                Some("tools/call") => json!({ "task": { "taskId": name, "status": "working" } }),
                _ => json!({ "taskId": message["params"]["taskId"], "status": "completed" }),
            };
            json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
        };
        Backend::start(Arc::new(script)).await
    };
    let (one, other) = (giving("one").await, giving("other").await);
    let world = WorldBuilder::new(&one).replica(&other.url()).features("tasks").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let call = json!({ "name": "get_forecast", "arguments": {}, "task": {} });
        let begun = world.ask(&token, "tools/call", call).await;
        tasks.push(begun["result"]["task"]["taskId"].clone());
    }
    for order in [[0, 1, 0], [1, 0, 1]] {
        let get = |(id, task): (usize, usize)| json!({ "jsonrpc": "2.0", "id": id, "method": "tasks/get", "params": { "taskId": tasks[task] } });
        let batch: Value = order.into_iter().enumerate().map(get).collect();
        let response = world.post_with(&token, &batch, &[("mcp-protocol-version", "2025-03-26")]).await;
        let answers: Value = response.json().await.unwrap();
        for (at, task) in order.into_iter().enumerate() {
            assert_eq!(answers[at]["result"]["taskId"], tasks[task], "{answers}");
        }
    }
    for (backend, name) in [(&one, "one"), (&other, "other")] {
        let asked = backend.requests().into_iter().map(|request| request.json());
        let asked: Vec<Value> = asked.filter(|message| message["method"] == "tasks/get").collect();
        assert_eq!(asked.len(), 3);
        assert!(asked.iter().all(|message| message["params"]["taskId"] == name), "{asked:?}");
    }
}
