//! What becomes of calls while the gateway changes under them: a reload, a new certificate, its end, its successor.
//!
//! Clients and backend each keep a ledger. Whatever happens, the two are the same: what was answered was carried out,
//! what was carried out was answered, and what was refused never arrived.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use portcullis_tests::backend::{Request, json_answer, mcp};
use portcullis_tests::load::{CLIENTS, Load, MIXED, backend};
use portcullis_tests::process::binary;
use portcullis_tests::{Backend, World, WorldBuilder, allowed, fault};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use reqwest::{Certificate, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::time::Instant;

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
    let verdicts = verdicts(&world).await;
    // The first policy opens both; each of the others one and not the other; nothing is decided in two ways.
    let policies: BTreeSet<&String> = verdicts.iter().map(|(policy, ..)| policy).collect();
    assert_eq!(policies.len(), 3, "{verdicts:?}");
    assert_eq!(verdicts.len(), 6, "{verdicts:?}");
    assert_eq!(verdicts.iter().filter(|(_, _, verdict)| verdict == "deny").count(), 2, "{verdicts:?}");
}

/// What each policy said of each tool: its hash, the tool, the verdict.
async fn verdicts(world: &World) -> BTreeSet<(String, String, String)> {
    let mut verdicts = BTreeSet::new();
    for line in world.audit(1).await.iter().filter(|line| line["type"] == "mcp.decision") {
        let part = |pointer| line.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        verdicts.insert((part("/policy_hash"), part("/target/name"), part("/decision")));
    }
    verdicts
}

/// A minute; `make chaos` and `make test-all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "ten changes a second take a minute to count"]
async fn ten_changes_a_second_for_a_minute_mix_nothing_and_drop_nothing() {
    let backend = backend().await;
    let world = WorldBuilder::new(&backend).start().await;
    let load = Load::start(&world, world.http(), &["get_forecast", "list_stations"]);
    let first = std::fs::read_to_string(world.directory().join("gateway.yaml")).unwrap();
    let glob = |glob: String| first.replace("read: ['get_*', 'list_*']", &format!("read: ['{glob}']"));
    let (began, mut changes) = (Instant::now(), 0_u32);
    while began.elapsed() < Duration::from_mins(1) {
        // Every text is another, so that each is a change; every third is no configuration at all.
        let text = match changes % 3 {
            0 => glob(format!("get_*', 'no_{changes}")),
            1 => glob(format!("list_*', 'no_{changes}")),
            _ => format!("{first}nonsense: {changes}\n"),
        };
        world.configure(|_| text);
        if changes.is_multiple_of(10) {
            world.gateway.signal("HUP").await;
        }
        changes += 1;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.configure(|_| glob("list_*', 'no_more".to_owned()));
    let ledger = load.settle("ten changes a second", &backend).await;
    let token = world.identity.mint("rita", &Value::Null);
    let is_open = async |tool: &str| world.ask(&token, "tools/call", json!({ "name": tool })).await["error"].is_null();
    let mut tries = 0;
    while is_open("get_forecast").await || !is_open("list_stations").await {
        tries += 1;
        assert!(tries < 200, "what was written last does not count");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(ledger.failed.is_empty() && !ledger.refused.is_empty());
    let verdicts = verdicts(&world).await;
    let mixed = verdicts
        .iter()
        .filter(|(policy, tool, _)| verdicts.iter().filter(|(other, of, _)| (other, of) == (policy, tool)).count() > 1);
    let (mixed, policies) = (mixed.count(), verdicts.iter().map(|(policy, ..)| policy).collect::<BTreeSet<_>>().len());
    assert!(mixed == 0 && policies > 5, "{verdicts:?}");
    let decided = ledger.answered.len() + ledger.refused.len();
    let figure = format!(
        "{mixed} of {decided} decisions mixed, {} requests dropped; {changes} changes, {policies} policies in use one after another, the last one in the end",
        ledger.failed.len()
    );
    fault(24, &figure, "0 mixed decisions, 0 dropped requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_a_change_of_certificates_no_call_fails() {
    let pair = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (first, second) = (pair(), pair());
    let over = {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.not_after = date_time_ymd(2020, 1, 1);
        let key = KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    };
    let backend = backend().await;
    let world = WorldBuilder::new(&backend).tls(&first.cert.pem(), &first.signing_key.serialize_pem()).start().await;
    // Clients that trust both, and connect anew for every call.
    let mut client = Client::builder().pool_max_idle_per_host(0);
    for made in [&first, &second] {
        client = client.add_root_certificate(Certificate::from_pem(made.cert.pem().as_bytes()).unwrap());
    }
    let load = Load::start(&world, &client.build().unwrap(), MIXED);
    let taken = async |result: &str, number: u32| {
        world.until_metric(&format!("portcullis_tls_reloads_total{{result=\"{result}\"}} {number}")).await;
        load.calls(60).await;
    };
    for (number, made) in (1..).zip([&second, &first, &second]) {
        load.calls(60).await;
        world.certify(&made.cert.pem(), &made.signing_key.serialize_pem());
        taken("applied", number).await;
        // One that is over, and one that is of another key: what counted goes on.
        world.certify(&over.0, &over.1);
        taken("refused", 2 * number - 1).await;
        world.certify(&made.cert.pem(), &over.1);
        taken("refused", 2 * number).await;
    }
    let ledger = load.settle("certificate", &backend).await;
    assert!(ledger.failed.is_empty());
    let calls = ledger.answered.len() + ledger.refused.len();
    let figure = format!("0 of {calls} handshakes failed in 3 changes and 6 pairs that cannot be used");
    fault(25, &figure, "0 handshake failures");
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
    assert_eq!(allowed(&text), ledger.answered.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_takes_over_and_no_call_notices() {
    let backend = backend().await;
    let mut world = WorldBuilder::new(&backend).start().await;
    let load = Load::start(&world, world.http(), MIXED);
    load.calls(100).await;
    // Nobody waits for the sockets: a hand-over now would be an outage.
    world.gateway.signal("QUIT").await;
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
    assert_eq!(allowed(&text), ledger.answered.len());
}

/// The gateway anew, with one of its outputs (`stdout`, `stderr`) in a pipe and the other in `said.log`.
async fn piped(world: &mut World, output: &str) -> Child {
    world.gateway.terminate().await;
    let said = || std::fs::File::create(world.directory().join("said.log")).unwrap();
    let mut command = Command::new(binary("portcullis"));
    command.args(["serve", "--config", "gateway.yaml"]).current_dir(world.directory()).env("RUST_LOG", "debug");
    match output {
        "stdout" => command.stdout(Stdio::piped()).stderr(said()),
        _ => command.stdout(said()).stderr(Stdio::piped()),
    };
    let child = command.kill_on_drop(true).spawn().unwrap();
    world.until_ready().await;
    child
}

/// Calls until a gauge or counter is so much, and at least so often; how many calls.
async fn calls_until(world: &World, metric: &str, least: u64, calls: usize) -> usize {
    let token = world.identity.mint("rita", &Value::Null);
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "get_forecast" } });
    for made in 1..20_000 {
        let answer = tokio::time::timeout(Duration::from_secs(30), world.post(&token, &message)).await;
        assert_eq!(answer.expect("a call is held up").status(), 200);
        if made % 50 == 0 && made >= calls {
            let metrics = world.probe("/metrics").await;
            let value = metrics.lines().find_map(|line| line.strip_prefix(metric)).unwrap();
            if value.trim().parse::<u64>().unwrap() >= least {
                return made;
            }
        }
    }
    panic!("`{metric}` never is {least}");
}

/// Tells it to stop, and waits; its exit code.
async fn stopped(mut child: Child) -> Option<i32> {
    let id = child.id().unwrap().to_string();
    assert!(Command::new("kill").arg(id).status().await.unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    ended.expect("it does not end").unwrap().code()
}

async fn everything(mut from: impl AsyncRead + Unpin) -> String {
    let mut all = String::new();
    from.read_to_string(&mut all).await.unwrap();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trail_in_a_pipe_that_nobody_reads_does_not_keep_the_gateway_from_ending() {
    let mut world = WorldBuilder::new(&Backend::plain().await).trail("path: '-'").start().await;
    // The control: with a reader, every line is there.
    let mut child = piped(&mut world, "stdout").await;
    let read = tokio::spawn(everything(child.stdout.take().unwrap()));
    let calls = calls_until(&world, "portcullis_audit_queue ", 0, 200).await;
    assert_eq!(stopped(child).await, Some(0));
    let all = read.await.unwrap();
    assert_eq!(allowed(&all), calls);
    assert_eq!(all.matches("\"mcp.outcome\"").count(), calls);
    std::fs::write(world.directory().join("audit.jsonl"), all).unwrap();
    assert!(trail_is_intact(&world));

    let mut child = piped(&mut world, "stdout").await;
    let unread = child.stdout.take().unwrap();
    calls_until(&world, "portcullis_audit_queue ", 100, 50).await;
    assert_eq!(stopped(child).await, Some(1), "and says that something is lost");
    let said = std::fs::read_to_string(world.directory().join("said.log")).unwrap();
    assert!(said.contains("the end of the audit trail cannot be written; at least"), "{said}");
    // How much a pipe holds is the system's affair.
    assert!(!everything(unread).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_in_a_pipe_that_nobody_reads_holds_up_neither_calls_nor_the_end() {
    let mut world = WorldBuilder::new(&Backend::plain().await).start().await;
    let mut child = piped(&mut world, "stderr").await;
    let read = tokio::spawn(everything(child.stderr.take().unwrap()));
    let lost = "portcullis_log_lines_lost_total ";
    let mut calls = calls_until(&world, lost, 0, 200).await;
    assert!(world.probe("/metrics").await.contains("portcullis_log_lines_lost_total 0"), "the control");
    assert_eq!(stopped(child).await, Some(0));
    let all = read.await.unwrap();
    // Last or nearly so: threads of Pingora that are on their way out may say a word after it.
    assert!(all.contains("the gateway has stopped"), "{all}");

    let mut child = piped(&mut world, "stderr").await;
    let unread = child.stderr.take().unwrap();
    calls += calls_until(&world, lost, 100, 50).await;
    assert_eq!(stopped(child).await, Some(0));
    let all = everything(unread).await;
    assert!(!all.contains("the gateway has stopped"));
    let lines: Vec<&str> = all.lines().collect();
    let (_cut, whole) = lines.split_last().unwrap();
    assert!(whole.iter().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{all}");
    assert!(trail_is_intact(&world), "and the trail has nothing to do with it");
    let trail = std::fs::read_to_string(world.directory().join("audit.jsonl")).unwrap();
    assert_eq!(allowed(&trail), calls);
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

#[tokio::test]
async fn an_address_that_is_in_use_is_waited_for_and_then_said_to_be() {
    let mut world = WorldBuilder::new(&Backend::plain().await).start().await;
    let address = world.url().replace("http://", "");
    world.gateway.terminate().await;
    let taken = std::net::TcpListener::bind(&address).unwrap();
    let output = world.command(&["serve"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains(&format!("`{address}` cannot be listened on")), "{said}");
    assert!(!said.contains("the gateway is up"), "{said}");
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(1));
        drop(taken);
    });
    // It listens once nobody else does.
    world.begin_again().await;
    world.until_ready().await;
}
