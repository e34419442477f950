//! What the whole process holds at once, seen from outside: shares, refusals, series, and the memory of it all.

use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::process::{binary, until_listening};
use portcullis_tests::{Backend, Process, World, WorldBuilder, raw};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{call, request};

const NO_RATES: &str = "calls_per_minute: 0";

async fn series(world: &World, name: &str) -> u64 {
    let text = world.probe("/metrics").await;
    let value = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let value = value.trim().parse::<f64>().unwrap() as u64;
    value
}

/// A backend that gives a session to whoever introduces themselves, and never ends its streams.
async fn streaming() -> Backend {
    Backend::start(Arc::new(|request: &portcullis_tests::backend::Request| {
        if request.head.starts_with("GET") {
            return b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n2\r\n:\n\r\n".to_vec();
        }
        let result = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": { "name": "s", "version": "1" } });
        let body = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }).to_string();
        format!("HTTP/1.1 200 OK\r\nmcp-session-id: s1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }))
    .await
}

async fn open_stream(world: &World, token: &str) -> reqwest::Response {
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } } });
    let response = world.post(token, &hello).await;
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let request = world.http().get(world.mcp()).bearer_auth(token).header("accept", "text/event-stream");
    request.header("mcp-session-id", session).send().await.unwrap()
}

#[tokio::test]
async fn a_caller_has_a_share_of_the_streams_and_others_have_theirs() {
    let limits = format!("limits: {{ {NO_RATES}, streams: 4, streams_per_caller: 3 }}\n");
    let world = WorldBuilder::new(&streaming().await).more(&limits).start().await;
    let (rita, max) = (world.identity.mint("rita", &Value::Null), world.identity.mint("max", &Value::Null));
    let mut open = Vec::new();
    for _ in 0..3 {
        let stream = open_stream(&world, &rita).await;
        assert_eq!(stream.status(), 200);
        open.push(stream);
    }
    let fourth = open_stream(&world, &rita).await;
    assert_eq!(fourth.status(), 429);
    assert!(fourth.headers().contains_key("retry-after"));
    let other = open_stream(&world, &max).await;
    assert_eq!(other.status(), 200, "somebody else has a share too");
    let beyond = open_stream(&world, &max).await;
    assert_eq!(beyond.status(), 503, "and there are no more than there are");
    assert_eq!(series(&world, "portcullis_budget_used{budget=\"streams\"}").await, 4);
    assert_eq!(series(&world, "portcullis_budget_refused_total{budget=\"streams_per_caller\"}").await, 1);
    assert_eq!(series(&world, "portcullis_budget_refused_total{budget=\"streams\"}").await, 1);
    drop((open, other));
    for _ in 0..100 {
        if series(&world, "portcullis_budget_used{budget=\"streams\"}").await == 0 {
            assert_eq!(open_stream(&world, &rita).await.status(), 200);
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("places of streams are not given back");
}

#[tokio::test]
async fn an_address_has_a_share_of_the_connections_and_operators_keep_theirs() {
    let limits = format!("limits: {{ {NO_RATES}, connections: 40, connections_per_address: 20 }}\n");
    let backend = Backend::plain().await;
    let world = WorldBuilder::new(&backend).more(&limits).start().await;
    let mut open = Vec::new();
    for _ in 0..20 {
        open.push(TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    for _ in 0..100 {
        if series(&world, "portcullis_budget_used{budget=\"connections\"}").await >= 20 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let body = call();
    let token = world.identity.mint("rita", &Value::Null);
    let good = request(&world, &token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), &body);
    let answer = raw::send(world.port, &good).await;
    assert!(answer.starts_with("HTTP/1.1 429") && answer.contains("retry-after: "), "{answer}");
    assert_eq!(raw::status(&raw::send(world.admin_port, b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n").await), 200);
    drop(open);
    for _ in 0..100 {
        if raw::status(&raw::send(world.port, &good).await) == 200 {
            return;
        }
    }
    panic!("places of connections are not given back");
}

#[tokio::test]
async fn one_slow_backend_leaves_room_for_the_others() {
    let slow = Backend::start(Arc::new(|_: &portcullis_tests::backend::Request| Vec::new())).await;
    let quick = Backend::plain().await;
    let limits = format!("limits: {{ {NO_RATES}, requests: 10, requests_per_backend: 3, requests_per_caller: 0 }}\n");
    let policy = "
  roles: { Task.Read: { opens: [read], on: ['*'] } }
  tools: { weather: { read: ['*'] }, quick: { read: ['*'] } }
";
    let builder = WorldBuilder::new(&slow).backend("quick", &quick.url()).policy(policy);
    let world = builder.more(&limits).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let body = call();
    let length = format!("content-length: {}\r\n", body.len());
    let to = |name: &str| request(&world, &token, &format!("POST /{name}/mcp HTTP/1.1"), &length, &body);
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(("127.0.0.1", world.port)).await.unwrap();
        stream.write_all(&to("weather")).await.unwrap();
        waiting.push(stream);
    }
    while slow.requests().len() < 3 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let fourth = raw::send(world.port, &to("weather")).await;
    assert!(fourth.starts_with("HTTP/1.1 503") && fourth.contains("retry-after: "), "{fourth}");
    assert_eq!(slow.requests().len(), 3);
    for _ in 0..10 {
        assert_eq!(raw::status(&raw::send(world.port, &to("quick")).await), 200, "the other backend");
    }
}

#[tokio::test]
async fn with_few_open_files_clients_are_put_off_and_nothing_spins() {
    let backend = Backend::plain().await;
    let mut world = WorldBuilder::new(&backend).start().await;
    world.gateway.terminate().await;
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", "ulimit -n 256; exec \"$0\" serve --config \"$1\""]);
    command.arg(binary("portcullis")).arg(world.directory().join("gateway.yaml"));
    world.gateway = Process::start(command, world.directory().join("few-files.log"));
    until_listening(world.port).await;
    let token = world.identity.mint("rita", &Value::Null);
    let mut open = Vec::new();
    for _ in 0..300 {
        open.push(TcpStream::connect(("127.0.0.1", world.port)).await.unwrap());
    }
    let body = call();
    let good = request(&world, &token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), &body);
    // Whoever is being turned away holds a file too: for a moment there may be none left to accept with.
    let mut put_off = 0;
    for _ in 0..10 {
        put_off = raw::status(&raw::send(world.port, &good).await);
        if put_off == 503 {
            break;
        }
    }
    assert_eq!(put_off, 503);
    let busy = world.probe("/metrics").await;
    assert!(busy.contains("portcullis_budget_limit{budget=\"connections\"} 96"), "{busy}");
    assert!(world.gateway.said().contains("raise `ulimit -n`"));
    let before = series(&world, "process_cpu_seconds_total ").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(series(&world, "process_cpu_seconds_total ").await <= before + 1, "it spins");
    drop(open);
    for _ in 0..100 {
        if raw::status(&raw::send(world.port, &good).await) == 200 {
            return;
        }
    }
    panic!("it does not recover");
}

/// Sends a body of 4 MB until it is answered; the status.
async fn send_large(port: u16, head: Arc<Vec<u8>>, body: Arc<Vec<u8>>) -> u16 {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return 0 };
    let (mut read, mut write) = stream.split();
    let mut answer = vec![0; 12];
    let send = async {
        let _ = write.write_all(&head).await;
        let _ = write.write_all(&body).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = send => 0,
        came = read.read_exact(&mut answer) => match came {
            Ok(_) => String::from_utf8_lossy(&answer).get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0),
            Err(_) => 0,
        },
    }
}

#[tokio::test]
async fn a_thousand_large_bodies_take_no_more_memory_than_there_is() {
    const ROOM: u64 = 32 << 20;
    let backend = Backend::start(Arc::new(|request: &portcullis_tests::backend::Request| {
        let body = json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": { "content": [] } }).to_string();
        portcullis_tests::backend::answer("200 OK", "application/json", &body)
    }))
    .await;
    let limits = format!("limits: {{ {NO_RATES}, request_bytes: {ROOM} }}\n");
    let world = WorldBuilder::new(&backend).more(&limits).start().await;
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": { "x": "x".repeat(4_000_000) } } });
    let body = Arc::new(body.to_string().into_bytes());
    // Of many callers, each of which has room for one.
    let heads = (0..20).map(|caller| {
        let who = json!({ "oid": format!("00000000-0000-4000-8000-{caller:012x}") });
        let token = world.identity.mint("rita", &who);
        let head = request(&world, &token, "POST /mcp HTTP/1.1", &format!("content-length: {}\r\n", body.len()), "");
        Arc::new(head)
    });
    let heads: Vec<_> = heads.collect();
    let head = Arc::clone(&heads[0]);
    assert_eq!(send_large(world.port, Arc::clone(&head), Arc::clone(&body)).await, 200, "control: one is served");
    let before = series(&world, "process_resident_memory_bytes ").await;
    let mut clients = tokio::task::JoinSet::new();
    for head in heads.iter().cycle().take(1000) {
        clients.spawn(send_large(world.port, Arc::clone(head), Arc::clone(&body)));
    }
    let (mut served, mut put_off, mut over_share, mut most) = (0, 0, 0, 0);
    let mut watch = tokio::time::interval(Duration::from_millis(50));
    while !clients.is_empty() {
        tokio::select! {
            Some(status) = clients.join_next() => match status.unwrap() {
                200 => served += 1,
                503 => put_off += 1,
                429 => over_share += 1,
                other => panic!("{other}"),
            },
            _ = watch.tick() => {
                most = most.max(series(&world, "process_resident_memory_bytes ").await);
                assert!(series(&world, "portcullis_budget_used{budget=\"request_bytes\"}").await <= ROOM);
            }
        }
    }
    assert!(served > 0 && served + put_off + over_share == 1000, "{served} {put_off} {over_share}");
    // A body, what was decided of it and what is sent; and the buffers of a thousand connections, 64 KiB each way.
    assert!(most < before + 3 * ROOM + 1000 * (128 << 10), "{before} -> {most}");
    assert_eq!(send_large(world.port, head, body).await, 200, "control: there is room again");
}

#[tokio::test]
async fn the_answers_of_a_batch_take_no_more_room_than_there_is() {
    let large = "x".repeat(3_000_000);
    let backend = Backend::start(Arc::new(move |request: &portcullis_tests::backend::Request| {
        let result = json!({ "content": [{ "type": "text", "text": large }] });
        portcullis_tests::backend::json_answer(
            &json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }),
        )
    }))
    .await;
    let limits = format!("limits: {{ {NO_RATES}, answer_body: 4194304, answer_bytes: 16777216 }}\n");
    let world = WorldBuilder::new(&backend).more(&limits).start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let call =
        |id: u64| json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": "get_forecast" } });
    let batch: Vec<Value> = (0..6).map(call).collect();
    let answer = world.post_with(&token, &json!(batch), &[("mcp-protocol-version", "2025-03-26")]).await;
    let answers: Vec<Value> = answer.json().await.unwrap();
    // Each takes its room twice: itself, and its place in the array.
    let (whole, none): (Vec<_>, Vec<_>) = answers.iter().partition(|one| one["result"].is_object());
    assert_eq!((whole.len(), none.len()), (2, 4));
    assert!(none.iter().all(|one| one["error"]["message"] == "Temporarily unavailable"), "{none:?}");
    world.until_metric("portcullis_budget_used{budget=\"answer_bytes\"} 0").await;
    let answer = world.post(&token, &call(9)).await;
    assert_eq!(answer.status(), 200, "the control: there is room again");
}
