//! How servers are looked after: a full backend, a server that is ill, one that breaks calls, and who is sent where
//! when there are no sessions.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Request, answer, json_answer, mcp};
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::Response;
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// Two backends, so that a role has to say where it counts.
const TWO: &str = "
  roles: { Task.Read: { opens: [read], on: ['*'] }, Task.All: { opens: [read], on: ['*'] } }
  tools: { weather: { read: ['get_*'] }, crm: { read: ['get_*'] } }
";

fn call() -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast", "arguments": {} } })
}

fn token(world: &World, user: &str) -> String {
    world.identity.mint(user, &Value::Null)
}

fn calls(backend: &Backend) -> usize {
    backend.requests().iter().filter(|request| request.json()["method"] == "tools/call").count()
}

/// Asks until the answer is the wanted one; most of the time a second or two.
async fn until(what: &str, mut is: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if is().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("never: {what}");
}

/// A switch that a backend's script reads.
fn switch() -> (Arc<AtomicBool>, impl Fn() -> bool + Send + Sync + Clone) {
    let state = Arc::new(AtomicBool::new(false));
    let read = Arc::clone(&state);
    (state, move || read.load(Ordering::Relaxed))
}

#[track_caller]
fn is_turned_away(response: &Response) {
    assert_eq!(response.status(), 503);
    let wait: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=3600).contains(&wait), "{wait}");
}

#[tokio::test]
async fn a_slow_backend_turns_away_what_it_cannot_take_and_holds_up_no_other() {
    let (stuck, is_stuck) = switch();
    stuck.store(true, Ordering::Relaxed);
    let script = move |request: &Request| if is_stuck() { Vec::new() } else { json_answer(&mcp(&request.json())) };
    let (slow, quick) = (Backend::start(Arc::new(script)).await, Backend::plain().await);
    let limits = "max_concurrent: 2, max_queued: 1, connect_timeout: 1m";
    let builder = WorldBuilder::new(&slow).backend("crm", &quick.url()).backend_more(limits).policy(TWO);
    let world = builder.start().await;
    let (rita, max) = (token(&world, "rita"), token(&world, "max"));
    let post_as = |who: &str, backend: &str| {
        let request = world.http().post(format!("{}/{backend}/mcp", world.url())).json(&call()).bearer_auth(who);
        request.header("accept", "application/json, text/event-stream").send()
    };
    let post = |backend: &str| post_as(&rita, backend);
    let mut inside = JoinSet::new();
    for who in [&rita, &max] {
        inside.spawn(post_as(who, "weather"));
    }
    until("two are inside", async || calls(&slow) == 2).await;
    // One more waits, and with it there it is full: whoever comes then is told at once.
    let mut more = JoinSet::new();
    for _ in 0..4 {
        more.spawn(post("weather"));
    }
    for _ in 0..3 {
        is_turned_away(&more.join_next().await.unwrap().unwrap().unwrap());
    }
    for _ in 0..20 {
        assert_eq!(post("crm").await.unwrap().status(), 200, "the other backend");
    }
    // A place is given back behind the last byte of an answer, which its reader may see before.
    let empty = r#"portcullis_backend_waiting{backend="crm"} 0"#;
    until("the other backend's are over", async || world.probe("/metrics").await.contains(empty)).await;
    let metrics = world.probe("/metrics").await;
    assert!(metrics.contains(r#"portcullis_backend_waiting{backend="weather"} 2"#), "{metrics}");
    assert!(metrics.contains(r#"portcullis_backend_errors_total{backend="weather",error="full"} 3"#), "{metrics}");
    assert_eq!(calls(&slow), 2, "what is turned away does not arrive");

    // Those inside go away, and the one that waited gets in.
    stuck.store(false, Ordering::Relaxed);
    inside.shutdown().await;
    assert_eq!(more.join_next().await.unwrap().unwrap().unwrap().status(), 200);
    assert_eq!(post("weather").await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_answer_that_its_client_does_not_read_keeps_no_place() {
    let script = |request: &Request| {
        let text =
            if request.json()["params"]["arguments"]["large"] == true { "x".repeat(8 << 20) } else { String::new() };
        let result = json!({ "content": [{ "type": "text", "text": text }] });
        json_answer(&json!({ "jsonrpc": "2.0", "id": request.json()["id"], "result": result }))
    };
    let backend = Backend::start(Arc::new(script)).await;
    let care = "max_concurrent: 1, max_queued: 1, connect_timeout: 1s";
    let world = WorldBuilder::new(&backend).backend_more(care).start().await;
    let (rita, walt) = (token(&world, "rita"), token(&world, "walt"));
    let mut large = call();
    large["params"]["arguments"]["large"] = json!(true);
    let unread = world.post(&rita, &large).await;
    assert_eq!(unread.status(), 200);
    for _ in 0..3 {
        assert_eq!(world.post(&walt, &call()).await.status(), 200);
    }
    assert!(unread.text().await.unwrap().len() > 8 << 20, "nothing of it is lost");
}

/// A server that answers its health check, and says what its calls are answered by, while `is_ill` is not.
async fn patient(illness: &'static str, is_ill: impl Fn() -> bool + Send + Sync + 'static) -> Backend {
    let script = move |request: &Request| {
        let message = request.json();
        let probe = request.head.starts_with("GET /healthz") || message["method"] != "tools/call";
        match (probe && is_ill(), illness) {
            (true, "error") => answer("500 Internal Server Error", "application/json", "{}"),
            (true, "garbage") => answer("200 OK", "text/html", "<html>"),
            (true, _) => Vec::new(),
            (false, _) if request.head.starts_with("GET ") => answer("204 No Content", "text/plain", ""),
            (false, _) => json_answer(&mcp(&message)),
        }
    };
    Backend::start(Arc::new(script)).await
}

#[tokio::test]
async fn a_server_that_fails_its_health_check_gets_no_requests_until_it_passes() {
    let cases =
        [("path: /healthz", "error"), ("mcp: ping", "error"), ("mcp: ping", "garbage"), ("mcp: ping", "silence")];
    for (probe, illness) in cases {
        let ((one_ill, one_is_ill), (other_ill, other_is_ill)) = (switch(), switch());
        let (one, other) = (patient(illness, one_is_ill).await, patient(illness, other_is_ill).await);
        let health = format!("health: {{ {probe}, every: 100ms, timeout: 300ms, failures: 2 }}");
        let world = WorldBuilder::new(&one).replica(&other.url()).backend_more(&health).start().await;
        let rita = token(&world, "rita");
        let ready = async |text: &str| world.probe("/readyz").await == text;
        for _ in 0..4 {
            assert_eq!(world.post(&rita, &call()).await.status(), 200);
        }
        assert_eq!((calls(&one), calls(&other)), (2, 2));

        other_ill.store(true, Ordering::Relaxed);
        let note = "ready\nbackend `weather`: 1 of 2 servers are in use; see the log\n";
        until(probe, async || ready(note).await).await;
        for _ in 0..4 {
            assert_eq!(world.post(&rita, &call()).await.status(), 200);
        }
        assert_eq!((calls(&one), calls(&other)), (6, 2), "{probe}: {illness}");

        one_ill.store(true, Ordering::Relaxed);
        let note = "ready\nbackend `weather`: 0 of 2 servers are in use; see the log\n";
        until(probe, async || ready(note).await).await;
        is_turned_away(&world.post(&rita, &call()).await);
        assert_eq!((calls(&one), calls(&other)), (6, 2), "{probe}: {illness}");

        one_ill.store(false, Ordering::Relaxed);
        other_ill.store(false, Ordering::Relaxed);
        until(probe, async || ready("ready\n").await).await;
        for _ in 0..4 {
            assert_eq!(world.post(&rita, &call()).await.status(), 200);
        }
        assert_eq!((calls(&one), calls(&other)), (8, 4), "{probe}: {illness}");
    }
}

/// A ping speaks for nobody: it carries no token and goes through one introduction for each server.
#[tokio::test]
async fn a_ping_begins_one_session_and_stays_in_it() {
    let script = |request: &Request| {
        let message = request.json();
        let media = "application/json\r\nmcp-session-id: probe-session";
        match (message["method"].as_str(), request.header("mcp-session-id").as_deref()) {
            (Some("initialize"), None) => answer("200 OK", media, &mcp(&message).to_string()),
            (Some("ping"), Some("probe-session")) => {
                json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": {} }))
            }
            (Some("notifications/initialized"), Some(_)) => answer("202 Accepted", "text/plain", ""),
            _ => answer("400 Bad Request", "text/plain", "no session"),
        }
    };
    let backend = Backend::start(Arc::new(script)).await;
    let health = "health: { mcp: ping, every: 100ms, failures: 1 }";
    let world = WorldBuilder::new(&backend).backend_more(health).start().await;
    until("it pings", async || backend.requests().len() > 6).await;
    let requests = backend.requests();
    let methods: Vec<String> =
        requests.iter().map(|request| request.json()["method"].as_str().unwrap().to_owned()).collect();
    assert_eq!(methods[..3], ["initialize", "notifications/initialized", "ping"]);
    assert!(methods[2..].iter().all(|method| method == "ping"), "{methods:?}");
    assert!(requests.iter().all(|request| request.header("authorization").is_none()));
    assert_eq!(world.probe("/readyz").await, "ready\n");
}

/// What breaks a call, as its caller sees it.
fn broken(how: &str) -> Vec<u8> {
    match how {
        "garbage" => b"nonsense\r\n\r\nCLOSE".to_vec(),
        "error" => answer("500 Internal Server Error", "text/plain", "no"),
        "cut" => {
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{"
                .to_vec()
        }
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn a_server_that_breaks_calls_is_left_alone_by_the_one_whose_calls_it_breaks() {
    for (how, status) in [("garbage", 502), ("error", 502), ("cut", 502), ("silence", 504)] {
        let (broken_now, is_broken) = switch();
        let script = move |request: &Request| {
            let message = request.json();
            if is_broken() { broken(how) } else { json_answer(&mcp(&message)) }
        };
        let backend = Backend::start(Arc::new(script)).await;
        let care = "circuit: { failures: 3, open_for: 1h }, timeout: 200ms";
        let world = WorldBuilder::new(&backend).backend_more(care).start().await;
        let (rita, walt) = (token(&world, "rita"), token(&world, "walt"));
        assert_eq!(world.post(&rita, &call()).await.status(), 200);
        broken_now.store(true, Ordering::Relaxed);
        for _ in 0..3 {
            assert_eq!(world.post(&rita, &call()).await.status(), status, "{how}");
        }
        assert_eq!(calls(&backend), 4, "{how}: a call is never sent twice");
        is_turned_away(&world.post(&rita, &call()).await);
        assert_eq!(calls(&backend), 4, "{how}: it is left alone");
        let left = |metrics: &str| {
            metrics.lines().any(|line| line.starts_with("portcullis_backend_left_alone") && line.ends_with(" 1"))
        };
        assert!(left(&world.probe("/metrics").await));

        // The other's calls go on, and a good answer to one of them is one for both.
        broken_now.store(false, Ordering::Relaxed);
        assert_eq!(world.post(&walt, &call()).await.status(), 200, "{how}");
        assert_eq!(world.post(&rita, &call()).await.status(), 200, "{how}");
        assert!(!left(&world.probe("/metrics").await));

        // What fails for the one, and once for the other, is left alone by the one.
        broken_now.store(true, Ordering::Relaxed);
        for token in [&walt, &rita, &rita, &rita] {
            assert_eq!(world.post(token, &call()).await.status(), status, "{how}");
        }
        is_turned_away(&world.post(&rita, &call()).await);
        // What fails for both is left alone by all.
        for _ in 0..2 {
            assert_eq!(world.post(&walt, &call()).await.status(), status, "{how}: it is open to the other");
        }
        let before = calls(&backend);
        for user in ["rita", "walt", "alice"] {
            is_turned_away(&world.post(&token(&world, user), &call()).await);
        }
        assert_eq!(calls(&backend), before, "{how}");
    }
}

#[tokio::test]
async fn one_request_shows_whether_a_server_that_was_left_alone_is_back() {
    let (broken_now, is_broken) = switch();
    broken_now.store(true, Ordering::Relaxed);
    let script =
        move |request: &Request| if is_broken() { broken("error") } else { json_answer(&mcp(&request.json())) };
    let (backend, well) = (Backend::start(Arc::new(script)).await, Backend::plain().await);
    let care = "circuit: { failures: 2, open_for: 100ms }";
    let world = WorldBuilder::new(&backend).replica(&well.url()).backend_more(care).start().await;
    let rita = token(&world, "rita");
    let mut failed = 0;
    for _ in 0..4 {
        failed += usize::from(world.post(&rita, &call()).await.status() != 200);
    }
    assert_eq!((failed, calls(&backend)), (2, 2), "every other one, until it is left alone");
    broken_now.store(false, Ordering::Relaxed);
    let before = calls(&well);
    until("it is tried again", async || {
        assert_eq!(world.post(&rita, &call()).await.status(), 200, "the other server takes what this one does not get");
        calls(&backend) > 2
    })
    .await;
    assert!(calls(&well) >= before);
    let (one, other) = (calls(&backend), calls(&well));
    for _ in 0..4 {
        assert_eq!(world.post(&rita, &call()).await.status(), 200);
    }
    assert_eq!((calls(&backend), calls(&well)), (one + 2, other + 2), "both, in turn");
}

/// A server that asks something back before it does what it is told, and knows its own questions only.
async fn asking(state: &'static str) -> Backend {
    let script = move |request: &Request| {
        let message = request.json();
        let result = match message["params"]["requestState"].as_str() {
            Some(given) if given == state => json!({ "resultType": "complete", "content": [] }),
            Some(_) => json!({ "resultType": "complete", "content": [], "isError": true }),
            None => {
                let ask = json!({ "method": "elicitation/create", "params": { "message": "?", "requestedSchema": { "type": "object" } } });
                json!({ "resultType": "input_required", "inputRequests": { "a": ask }, "requestState": state })
            }
        };
        json_answer(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
    };
    Backend::start(Arc::new(script)).await
}

#[tokio::test]
async fn without_sessions_a_round_goes_to_the_server_that_began_it_and_all_else_goes_round() {
    let (one, other) = (asking("state-of-one").await, asking("state-of-other").await);
    let mut world = WorldBuilder::new(&one).replica(&other.url()).start().await;
    let alice = token(&world, "alice");
    let ask =
        async |world: &World, params: Value| world.ask_modern(&alice, "tools/call", Some("get_forecast"), params).await;
    let mut states = Vec::new();
    for _ in 0..6 {
        let begun = ask(&world, json!({ "name": "get_forecast" })).await;
        states.push(begun["result"]["requestState"].as_str().unwrap().to_owned());
    }
    assert_eq!((calls(&one), calls(&other)), (3, 3));
    let again = |state: &str| json!({ "name": "get_forecast", "requestState": state, "inputResponses": { "a": { "action": "accept" } } });
    for restarted in [false, true] {
        if restarted {
            world.restart().await;
        }
        for state in states.iter().chain(states.iter().rev()) {
            let ended = ask(&world, again(state)).await;
            assert_eq!(ended["result"]["resultType"], "complete", "{ended}");
            assert_ne!(ended["result"]["isError"], true, "it went to the other server");
        }
    }
    assert_eq!((calls(&one), calls(&other)), (15, 15));

    // A round whose server is gone is given to nobody else.
    other.stop().await;
    until("it is out", async || world.probe("/readyz").await.contains("1 of 2")).await;
    let (mut ended, mut lost) = (0, 0);
    for state in &states {
        let answer = ask(&world, again(state)).await;
        assert_ne!(answer["result"]["isError"], true, "it went to the other server");
        if answer["result"].is_object() { ended += 1 } else { lost += 1 }
    }
    assert_eq!((ended, lost), (3, 3));
}
