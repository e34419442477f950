//! Asks the servers of a backend now and then whether they are well.
//!
//! A probe is the gateway's own and speaks for nobody. A server that answers it badly several times in a row is left
//! out until it answers well once. `ping` goes through the protocol's own introduction, once for each server: some
//! servers begin a session for every request that names none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::care::{HealthCheck, Probe};
use super::catalogue::wire::{self, Ask, FetchError, Reply};
use super::{Replicas, Upstream};
use crate::mcp::ProtocolVersion;

/// How often connections are tried.
const CONNECT_EVERY: Duration = Duration::from_secs(2);
/// More than an answer to a probe has.
const MAX_ANSWER: usize = 64 * 1024;
const VERSION: &str = ProtocolVersion::V2025_11_25.as_str();

/// Looks after the servers: connections are tried to each of several, and to a single one that is out; and each is
/// asked what its health check says.
pub async fn probe_forever(replicas: Arc<Replicas>) {
    let health = replicas.any().settings().care.health.clone();
    tokio::join!(connect_forever(&replicas), async {
        if let Some(check) = health {
            ask_forever(&replicas, &check).await;
        }
    });
}

async fn connect_forever(replicas: &Replicas) {
    let several = replicas.count() > 1;
    let mut rounds = tokio::time::interval(CONNECT_EVERY);
    loop {
        rounds.tick().await;
        let probed = replicas.iter().filter(|replica| several || !replica.is_up());
        // What comes of it is kept by the server itself.
        join_all(probed.map(|replica| async { drop(replica.connect().await) })).await;
    }
}

async fn ask_forever(replicas: &Replicas, check: &HealthCheck) {
    let prober = Prober::default();
    let mut rounds = tokio::time::interval(check.every);
    rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        rounds.tick().await;
        join_all(replicas.iter().map(|server| prober.ask(server, check))).await;
    }
}

/// What is known of the servers that are asked: the session of each, where it began one.
#[derive(Debug, Default)]
struct Prober {
    introduced: Mutex<HashMap<String, Option<String>>>,
}

impl Prober {
    /// Asks one server and keeps what it says with it.
    async fn ask(&self, server: &Upstream, check: &HealthCheck) {
        let answer = async {
            match &check.probe {
                Probe::Path(path) => get(server, path).await,
                Probe::Ping => self.ping(server).await,
            }
        };
        let answer = tokio::time::timeout(check.timeout, answer).await;
        server.probed(answer.unwrap_or(Err(FetchError::Timeout)));
    }

    async fn ping(&self, server: &Upstream) -> Result<(), FetchError> {
        let known = self.introduced.lock().await.get(server.mark()).cloned();
        if let Some(session) = known {
            let reply = post(server, "ping", None, session.as_deref()).await?;
            if reply.status != 404 {
                return answered(&reply);
            }
            self.introduced.lock().await.remove(server.mark());
        }
        let client = json!({ "name": "portcullis", "version": env!("CARGO_PKG_VERSION") });
        let params = json!({ "protocolVersion": VERSION, "capabilities": {}, "clientInfo": client });
        let reply = post(server, "initialize", Some(params), None).await?;
        answered(&reply)?;
        if reply.session.is_some() {
            let note = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
            send(server, &note, reply.session.as_deref()).await?;
        }
        self.introduced.lock().await.insert(server.mark().to_owned(), reply.session);
        Ok(())
    }
}

async fn get(server: &Upstream, path: &str) -> Result<(), FetchError> {
    let reply = wire::ask(server, Ask { method: "GET", path: Some(path), fields: &[], body: None }, MAX_ANSWER).await?;
    if (200..300).contains(&reply.status) { Ok(()) } else { Err(FetchError::Status(reply.status)) }
}

async fn post(
    server: &Upstream,
    method: &str,
    params: Option<Value>,
    session: Option<&str>,
) -> Result<Reply, FetchError> {
    let mut body = json!({ "jsonrpc": "2.0", "id": 1, "method": method });
    if let (Some(params), Some(members)) = (params, body.as_object_mut()) {
        members.insert("params".to_owned(), params);
    }
    send(server, &body, session).await
}

async fn send(server: &Upstream, body: &Value, session: Option<&str>) -> Result<Reply, FetchError> {
    let session = session.map(|session| ("mcp-session-id", session));
    let fields: Vec<_> = std::iter::once(("mcp-protocol-version", VERSION)).chain(session).collect();
    wire::ask(server, Ask { method: "POST", path: None, fields: &fields, body: Some(body) }, MAX_ANSWER).await
}

/// Any answer in JSON-RPC will do, an error too: a server of another revision does not know `ping`.
fn answered(reply: &Reply) -> Result<(), FetchError> {
    let is_answer = reply.result.is_some() || reply.error.is_some();
    if is_answer && reply.status < 500 { Ok(()) } else { Err(FetchError::Status(reply.status)) }
}
