//! A network that loses packets, and is far away, on both sides of the gateway: no request is stuck, and both ledgers agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis_tests::backend::{Request, answer, mcp};
use portcullis_tests::lossy::Lossy;
use portcullis_tests::{Backend, World, WorldBuilder, fault, free_port};
use serde_json::{Value, json};
use tokio::time::Instant;

/// Of a request with everything: to connect on both sides, five seconds for the backend, and the way back.
const DEADLINE: Duration = Duration::from_secs(15);

/// What clients saw of their calls, and how long the slowest took.
#[derive(Debug, Default)]
struct Ledger {
    answered: BTreeSet<u64>,
    refused: BTreeSet<u64>,
    /// The gateway said that it has no answer.
    failed: BTreeSet<u64>,
    /// The connection ended.
    cut: BTreeSet<u64>,
    lists: usize,
    slowest: Duration,
}

/// A backend with long answers, every other one of them a stream.
async fn talkative() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        let message = request.json();
        let mut body = mcp(&message);
        if message["method"] != "tools/call" {
            return answer("200 OK", "application/json", &body.to_string());
        }
        body["result"]["content"][0]["text"] = json!("x".repeat(3000));
        if message["id"].as_u64().unwrap() % 8 < 4 {
            return answer("200 OK", "application/json", &body.to_string());
        }
        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "half" } });
        answer("200 OK", "text/event-stream", &format!("data: {progress}\n\ndata: {body}\n\n"))
    }))
    .await
}

fn message(id: u64) -> Value {
    let tool = if id % 4 == 1 { "delete_station" } else { "get_forecast" };
    match id % 4 {
        3 => json!({ "jsonrpc": "2.0", "id": id, "method": "tools/list" }),
        _ => {
            json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": { "n": id, "about": "y".repeat(2000) } } })
        }
    }
}

/// The answer to a message; nothing where the connection ended before it did.
async fn ask(http: &reqwest::Client, url: &str, token: &str, message: &Value) -> Option<Value> {
    let request = http.post(url).bearer_auth(token).header("accept", "application/json, text/event-stream");
    let text = request.json(message).send().await.ok()?.text().await.ok()?;
    let last = text.lines().rev().find_map(|line| line.strip_prefix("data:")).unwrap_or(&text);
    let answer = serde_json::from_str::<Value>(last).unwrap_or_else(|error| panic!("{error}: {text}"));
    Some(answer)
}

/// One client's requests, one after another.
async fn client(world: &World, port: u16, ids: std::ops::Range<u64>) -> Ledger {
    let (token, url) = (world.identity.mint("rita", &Value::Null), format!("http://127.0.0.1:{port}/mcp"));
    let http = reqwest::Client::builder().build().unwrap();
    let mut ledger = Ledger::default();
    for id in ids {
        let began = Instant::now();
        let message = message(id);
        let answer = tokio::time::timeout(DEADLINE, ask(&http, &url, &token, &message)).await;
        let answer = answer.unwrap_or_else(|_| panic!("request {id} is stuck"));
        ledger.slowest = ledger.slowest.max(began.elapsed());
        match answer {
            None => ledger.cut.insert(id),
            Some(answer) if answer["error"]["code"] == -32602 => ledger.refused.insert(id),
            Some(answer) if answer["error"].is_object() => ledger.failed.insert(id),
            Some(answer) => {
                assert_eq!(answer["id"], id, "somebody else's answer");
                if message["method"] == "tools/list" {
                    let tools = answer["result"]["tools"].to_string();
                    assert!(tools.contains("get_forecast") && !tools.contains("delete_station"), "{tools}");
                    ledger.lists += 1;
                    continue;
                }
                assert_eq!(answer["result"]["content"][0]["text"].as_str().map(str::len), Some(3000));
                ledger.answered.insert(id)
            }
        };
    }
    ledger
}

/// So many clients with so many requests each.
async fn far_away(clients: u64, requests: u64) {
    let backend = talkative().await;
    let server = backend.url().rsplit(':').next().unwrap().trim_end_matches("/mcp").parse().unwrap();
    let behind = Lossy::start(free_port(), server).await;
    let port = free_port();
    let builder = WorldBuilder::with_url(&format!("http://127.0.0.1:{}/mcp", behind.port));
    let builder = builder.server(&format!("hosts: ['127.0.0.1:{port}']")).backend_more("timeout: 5s");
    let world = builder.start().await;
    let before = Lossy::start(port, world.port).await;
    let ledgers = (0..clients).map(|number| client(&world, port, number * requests..(number + 1) * requests));
    let mut all = Ledger::default();
    for ledger in join_all(ledgers).await {
        all.answered.extend(ledger.answered);
        all.refused.extend(ledger.refused);
        all.failed.extend(ledger.failed);
        all.cut.extend(ledger.cut);
        all.lists += ledger.lists;
        all.slowest = all.slowest.max(ledger.slowest);
    }
    // Nothing is left behind in the gateway, either.
    world.until_metric("portcullis_budget_used{budget=\"requests\"} 0").await;
    let calls = backend
        .requests()
        .iter()
        .filter_map(|request| request.json()["params"]["arguments"]["n"].as_u64())
        .collect::<Vec<_>>();
    let done: BTreeSet<u64> = calls.iter().copied().collect();
    assert_eq!(done.len(), calls.len(), "a call was carried out twice");
    assert!(done.iter().all(|id| id % 4 != 1), "what is refused was carried out");
    assert!(all.answered.is_subset(&done), "an answer that the backend never gave");
    let unsure: BTreeSet<u64> = &all.failed | &all.cut;
    assert!(done.is_subset(&(&all.answered | &unsure)), "{:?}", &done - &(&all.answered | &unsure));
    let seen = |count: fn(&Lossy) -> usize| count(&before) + count(&behind);
    let lost = seen(|network| network.passed.lost.load(Ordering::Relaxed));
    let pieces = seen(|network| network.passed.pieces.load(Ordering::Relaxed));
    let cuts = seen(|network| network.passed.cut.load(Ordering::Relaxed));
    // The control: it is a bad network, and most requests come through it all the same.
    let (wanted, answered) = (clients * requests, all.answered.len() + all.refused.len() + all.lists);
    assert!(lost * 40 > pieces && cuts > 0, "{lost} of {pieces} lost, {cuts} cut");
    assert!(answered * 2 > usize::try_from(wanted).unwrap() && !all.refused.is_empty() && all.lists > 0, "{all:?}");
    let (failed, cut) = (all.failed.len(), all.cut.len());
    let figure = format!(
        "0 of {wanted} requests beyond {DEADLINE:?}, the slowest {:.1?}; {answered} answered, {failed} said to have failed, {cut} whose connection died; {} calls carried out, none twice, none that is refused; {lost} losses in {pieces} pieces, {cuts} connections reset, on both sides of the gateway (emulated above TCP)",
        all.slowest,
        done.len()
    );
    fault(30, &figure, "0 beyond the deadline");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_packets_no_request_is_stuck() {
    far_away(20, 10).await;
}

/// A minute; `make chaos` and `make test-all`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "two thousand requests over a slow network take a while"]
async fn of_two_thousand_requests_over_a_network_that_loses_packets_none_is_stuck() {
    far_away(40, 50).await;
}
