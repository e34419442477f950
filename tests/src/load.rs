//! Clients that call without a pause while something happens to the gateway, and the ledgers of both ends.
//!
//! What was answered was carried out, what was carried out was answered, and what was refused never arrived: at the end
//! the two ledgers are held against each other.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};

use crate::backend::{Request, json_answer, mcp};
use crate::{Backend, World};

/// Clients that call at once.
pub const CLIENTS: u64 = 6;
/// Tools of which the policy of most tests opens the first and not the second.
pub const MIXED: &[&str] = &["get_forecast", "delete_station"];

/// What clients saw.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Calls with an answer of the backend.
    pub answered: BTreeSet<u64>,
    /// Calls that the gateway answered as for an unknown tool.
    pub refused: BTreeSet<u64>,
    /// Nobody answered: the connection was refused, or cut.
    pub failed: BTreeSet<u64>,
}

/// A gateway that clients may call.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its endpoint.
    pub url: String,
    /// The bearer tokens: each client has one of them, and looks before each call.
    pub tokens: Arc<Mutex<Vec<String>>>,
    /// Whether a load balancer would send calls there.
    pub is_ready: Arc<AtomicBool>,
}

impl Target {
    /// A gateway with one token for everybody.
    #[must_use]
    pub fn new(url: String, token: String) -> Self {
        Self { url, tokens: Arc::new(Mutex::new(vec![token])), is_ready: Arc::new(AtomicBool::new(true)) }
    }
}

/// Clients that call until they are told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<Ledger>>,
}

impl Load {
    /// Each client calls these tools in turn.
    #[must_use]
    pub fn start(world: &World, client: &Client, tools: &'static [&'static str]) -> Self {
        let token = world.identity.mint("rita", &Value::Null);
        Self::at(&[Target::new(world.mcp(), token)], std::slice::from_ref(client), tools)
    }

    /// Calls go to the first target that is ready, and to the next when it refuses the connection. Each client uses one
    /// of the HTTP clients.
    #[must_use]
    pub fn at(targets: &[Target], http: &[Client], tools: &'static [&'static str]) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let clients = (0..CLIENTS).zip(http.iter().cycle()).map(|(number, http)| {
            let (stop, calls) = (Arc::clone(&stop), Arc::clone(&calls));
            let (http, targets) = (http.clone(), targets.to_vec());
            tokio::spawn(async move {
                let mut ledger = Ledger::default();
                for call in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = number * 1_000_000 + call;
                    let tool = tools[usize::try_from(call).unwrap() % tools.len()];
                    let answer = balanced(&http, &targets, number, (id, tool)).await;
                    let place = match answer {
                        Some(answer) if answer["result"]["isError"] == false && answer["id"] == id => {
                            &mut ledger.answered
                        }
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
    pub async fn calls(&self, more: u64) {
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
    pub async fn settle(self, what: &str, backend: &Backend) -> Ledger {
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

/// What a call is answered; nothing when nobody did.
async fn balanced(http: &Client, targets: &[Target], client: u64, call: (u64, &str)) -> Option<Value> {
    let (id, tool) = call;
    let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": { "name": tool, "arguments": { "n": id } } });
    let ready = targets.iter().filter(|target| target.is_ready.load(Ordering::Relaxed));
    for target in ready {
        let token = {
            let tokens = target.tokens.lock().unwrap();
            tokens[usize::try_from(client).unwrap() % tokens.len()].clone()
        };
        let request = http.post(&target.url).bearer_auth(token).json(&message);
        match request.header("accept", "application/json, text/event-stream").send().await {
            Ok(answer) => return answer.json::<Value>().await.ok(),
            // Nothing was sent: it may be sent elsewhere.
            Err(error) if error.is_connect() => {}
            Err(_) => return None,
        }
    }
    None
}

fn number(request: &Request) -> Option<u64> {
    request.json()["params"]["arguments"]["n"].as_u64()
}

/// A backend whose answers take their time, so that calls are always on their way.
pub async fn backend() -> Backend {
    Backend::start(Arc::new(|request: &Request| {
        std::thread::sleep(Duration::from_millis(2));
        json_answer(&mcp(&request.json()))
    }))
    .await
}
