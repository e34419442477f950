//! What becomes of calls while the gateway changes under them: a reload, a new certificate, its end, its successor.
//!
//! Clients and backend each keep a ledger. Whatever happens, the two are the same: what was answered was carried out,
//! what was carried out was answered, and what was refused never arrived.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::process::binary;
use portcullis_tests::{Backend, World, WorldBuilder};
use reqwest::Client;
use serde_json::{Value, json};

const CLIENTS: u64 = 6;

/// What clients saw.
#[derive(Debug, Default)]
struct Ledger {
    answered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// Nobody answered: the connection was refused, or cut.
    failed: BTreeSet<u64>,
}

/// Clients that call until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Ledger>>,
}

impl Load {
    /// Each client calls these tools in turn.
    fn start(world: &World, client: &Client, tools: &'static [&'static str]) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let token = world.identity.mint("rita", &Value::Null);
        let clients = (0..CLIENTS).map(|number| {
            let (stop, calls, url) = (Arc::clone(&stop), Arc::clone(&calls), world.mcp());
            let (client, token) = (client.clone(), token.clone());
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                for call in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = number * 1_000_000 + call;
                    let tool = tools[usize::try_from(call).unwrap() % tools.len()];
                    let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": { "n": id } } });
                    let request = client.post(&url).bearer_auth(&token).json(&message);
                    let request = request.header("accept", "application/json, text/event-stream");
                    let answer = match request.send().await {
                        Ok(answer) => answer.json::<Value>().await.ok(),
                        Err(_) => None,
                    };
                    let place = match answer {
                        Some(answer) if answer["result"]["isError"] == false && answer["id"] == id => &mut ledger.answered,
                        Some(answer) if answer["error"]["code"] == -32602 => &mut ledger.refused,
                        Some(answer) => panic!("{answer}"),
                        None => &mut ledger.failed,
                    };
                    place.insert(id);
                    calls.fetch_add(1, Ordering::Relaxed);
                    if !ledger.failed.is_empty() {
                        // Nobody hammers a port that is shut.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
                ledger
            })
        });
        let clients = clients.collect();
        Self { stop, calls, clients }
    }

    /// Waits for so many more calls.
    async fn calls(&self, more: u64) {
        let until = self.calls.load(Ordering::Relaxed) + more;
        tokio::time::timeout(Duration::from_secs(30), async {
            while self.calls.load(Ordering::Relaxed) < until {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("calls come to a standstill");
    }

    /// Stops, and holds the ledgers against each other.
    async fn settle(self, what: &str, backend: &Backend) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Ledger::default();
        for client in self.clients {
            let ledger = client.await.unwrap();
            all.answered.extend(ledger.answered);
            all.refused.extend(ledger.refused);
            all.failed.extend(ledger.failed);
        }
        let executed: Vec<u64> = backend.requests().iter().filter_map(number).collect();
        let (answered, refused, failed) = (all.answered.len(), all.refused.len(), all.failed.len());
        let line = format!(
            "{what}: {answered} answered, {refused} refused, {failed} without an answer; {} carried out",
            executed.len()
        );
        let _ = writeln!(std::io::stderr(), "{line}");
        let once: BTreeSet<u64> = executed.iter().copied().collect();
        assert_eq!(once.len(), executed.len(), "{line}: a call was carried out twice");
        assert_eq!(once, all.answered, "{line}");
        assert!(answered > 50, "{line}: the control");
        all
    }
}

fn number(request: &Request) -> Option<u64> {
    request.json()["params"]["arguments"]["n"].as_u64()
}

/// A backend whose answers take their time, so that calls are always on their way.
async fn backend() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        std::thread::sleep(Duration::from_millis(2));
        json_answer(&mcp(&request.json()))
    }))
    .await
}

const MIXED: &[&str] = &["get_forecast", "delete_station"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_reloads_every_decision_is_of_one_policy_and_the_ledgers_agree() {
    let backend = backend().await;
    let world = WorldBuilder::new(&backend).start().await;
    let load = Load::start(&world, world.http(), &["get_forecast", "list_stations"]);
    let first = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    // One policy opens the one tool, and the other the other.
    let texts =
        ["get_*", "list_*"].map(|glob| first.replace("read: ['get_*', 'list_*']", &format!("read: ['{glob}']")));
    for number in 0..10 {
        world.configure(|_| texts[number % 2].clone());
        load.calls(60).await;
        world.until_metric(&format!("portcullis_config_reloads_total{{result=\"applied\"}} {}", number + 1)).await;
    }
    let ledger = load.settle("reload", &backend).await;
    assert!(ledger.failed.is_empty() && !ledger.refused.is_empty());
    let lines = world.audit(1).await;
    let mut verdicts = BTreeSet::new();
    for line in lines.iter().filter(|line| line["type"] == "mcp.decision") {
        let part = |pointer| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        verdicts.insert((part("/policy_hash"), part("/target/name"), part("/decision")));
    }
    // The first policy opens both; each of the others one and not the other; nothing is decided in two ways.
    let policies: BTreeSet<&String> = verdicts.iter().map(|(policy, ..)| policy).collect();
    assert_eq!(policies.len(), 3, "{verdicts:?}");
    assert_eq!(verdicts.len(), 6, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|(_, _, verdict)| verdict == "deny").count(), 2, "{verdicts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_change_of_certificates_no_call_fails() {
    let pair = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (pair(), pair());
    let backend = backend().await;
    let world = WorldBuilder::new(&backend).tls(&first.cert.pem(), &first.signing_key.serialize_pem()).start().await;
    // Clients that trust both, and connect anew for every call.
    let mut client = Client::builder().pool_max_idle_per_host(0);
    for made in [&first, &second] {
        client = client.add_root_certificate(reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap());
    }
    let load = Load::start(&world, &client.build().unwrap(), MIXED);
    for (number, made) in (1..).zip([&second, &first, &second]) {
        load.calls(60).await;
        world.certify(&made.cert.pem(), &made.signing_key.serialize_pem());
        world.until_metric(&format!("portcullis_tls_reloads_total{{result=\"applied\"}} {number}")).await;
    }
    load.calls(60).await;
    assert!(load.settle("certificate", &backend).await.failed.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_answers_what_it_took_and_takes_nothing_more() {
    let backend = backend().await;
    let mut world = WorldBuilder::new(&backend).server("drain_delay: 1s").start().await;
    let load = Load::start(&world, world.http(), MIXED);
    load.calls(100).await;
    world.gateway.signal("TERM").await;
    // First it says so, and goes on.
    let mut ready = String::new();
    while !ready.contains("shutting down") {
        ready = world.probe("/readyz").await;
    }
    load.calls(50).await;
    assert_eq!(world.gateway.ended().await, Some(0));
    load.calls(CLIENTS * 2).await;
    let ledger = load.settle("SIGTERM", &backend).await;
    assert!(!ledger.failed.is_empty(), "nobody is there any more");
    assert!(trail_is_intact(&world), "the end of the trail is there and signed");
    let text = std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap();
    assert_eq!(text.matches("\"decision\":\"allow\"").count(), ledger.answered.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_and_no_call_notices() {
    let backend = backend().await;
    let mut world = WorldBuilder::new(&backend).start().await;
    let load = Load::start(&world, world.http(), MIXED);
    load.calls(100).await;
    let mut old = world.upgrade();
    // It waits for the sockets from the moment that its end of the way is there.
    while !world.directory().join("state/upgrade.sock").exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    old.signal("QUIT").await;
    assert_eq!(old.ended().await, Some(0));
    load.calls(100).await;
    let ledger = load.settle("upgrade", &backend).await;
    assert!(ledger.failed.is_empty(), "{} failed", ledger.failed.len());
    world.gateway.terminate().await;
    // Two processes have written to one trail, and both chains are whole.
    assert!(trail_is_intact(&world));
    let text = std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap();
    assert_eq!(text.matches("\"audit.started\"").count(), 2);
    assert_eq!(text.matches("\"decision\":\"allow\"").count(), ledger.answered.len());
}

fn trail_is_intact(world: &World) -> bool {
    let trail = world.directory().join("audit.jsonl");
    let output =
        std::process::Command::new(binary("portcullis")).args(["audit", "verify"]).arg(trail).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let _ = writeln!(std::io::stderr(), "{said}");
    output.status.success()
}

/// A backend whose streams stay open, and whose slow tool never answers.
async fn streaming() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
        if request.head.starts_with("GET") || request.json()["params"]["name"] == "get_slow" {
            return format!("{head}10\r\n: from a server\n\r\n").into_bytes();
        }
        let answer = json_answer(&mcp(&request.json()));
        let text = String::from_utf8(answer).unwrap();
        text.replacen("\r\n\r\n", "\r\nmcp-session-id: raw-1\r\n\r\n", 1).into_bytes()
    }))
    .await
}

#[tokio::test]
async fn streams_end_in_order_and_say_what_to_do() {
    let mut world = WorldBuilder::new(&streaming().await).server("drain_delay: 0s").start().await;
    let token = world.identity.mint("rita", &Value::Null);
    let hello = json!({ "jsonrpc": "2.0", "id": 1, "method": "initialize", "params": { "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "x", "version": "1" } } });
    let session = world.post(&token, &hello).await.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let stream = |accept: &'static str| {
        world.http().get(world.mcp()).bearer_auth(&token).header("accept", accept).header("mcp-session-id", &session)
    };
    let news = stream("text/event-stream").send().await.unwrap();
    assert_eq!(news.status(), 200);
    let call = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": "get_slow" } });
    let waiting = world.post_with(&token, &call, &[("mcp-session-id", &session)]).await;
    assert_eq!(waiting.headers()["content-type"], "text/event-stream");
    // Another policy: who only listens is to come again, and who waits for an answer may go on waiting.
    world.configure(|text| text.replace("Task.Read: { opens: [read] }", "Task.Read: { opens: [read, delete] }"));
    let ended = news.text().await.expect("the stream ends, and is not cut");
    assert!(ended.ends_with("retry: 1000\n\n"), "{ended}");
    let news = stream("text/event-stream").send().await.unwrap();
    world.gateway.signal("TERM").await;
    let ended = news.text().await.expect("the stream ends, and is not cut");
    assert!(ended.ends_with("retry: 1000\n\n"), "{ended}");
    let ended = waiting.text().await.expect("the stream ends, and is not cut");
    assert!(ended.contains("\"id\":7") && ended.contains("not known whether"), "{ended}");
    assert_eq!(world.gateway.ended().await, Some(0));
}
